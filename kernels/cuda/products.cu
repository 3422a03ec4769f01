// Convolution and its adjoint in x, masked or not, and matrix products: y = activation(bias + sum over steps of x w).
//
// An implicit matrix product: rows are places, columns are channels of the target, and steps are pairs of a tap and an
// input channel, from a table. A block computes one tile of one job. In `Bfloat16Pairs` two input channels are one.
#include "jobs.cuh"
#include "tile.cuh"

// Rows of A: the inputs that each place reads from the source.
template <int ROWS>
struct Windows {
    using Layout = Deep<ROWS>;
    static constexpr int COUNT = ROWS * DEPTH / CHUNK / THREADS, DISTANCE = THREADS / 4;

    const Images& images;
    const int line = threadIdx.x / 4, chunk = threadIdx.x % 4 * CHUNK;
    const Step* table;
    const int begin; // index of the job's first step in the table
    const float* corners[COUNT];
    int tops[COUNT], lefts[COUNT];
    Step next_step;  // of the next stage, read before its addresses are needed

    __device__ __forceinline__ Windows(const Images& images, const Job& job, const Step* table, const float* x,
                                       int first_row)
        : images(images), table(table), begin(job.begin + chunk), next_step(table[begin])
    {
#pragma unroll
        for (int i = 0; i < COUNT; ++i) {
            const int row = first_row + line + i * DISTANCE, places = job.rows * job.columns;
            const int image = row / places, place = row % places;
            tops[i] = image < images.count ? place / job.columns * images.stride_down - images.above : OUTSIDE;
            lefts[i] = place % job.columns * images.stride_across - images.before;
            corners[i] = x + job.source +
                         pixel_offset(image, tops[i], lefts[i], images.height, images.width, images.channels);
        }
    }

    template <int floats, bool cached>
    __device__ __forceinline__ void copy(float* target, const Step& step) const
    {
#pragma unroll
        for (int i = 0; i < COUNT; ++i)
            copy_async<floats, cached>(target + Layout::place(i * DISTANCE, 0), corners[i] + step.offset,
                                       is_inside(images, tops[i] + step.row, lefts[i] + step.column));
    }

    __device__ __forceinline__ void fetch(float* stage, int step)
    {
        float* target = stage + Layout::place(line, chunk);
        if (images.source_by_fours && images.read_again) {
            copy<CHUNK, true>(target, next_step);
        } else if (images.source_by_fours) {
            copy<CHUNK, false>(target, next_step);
        } else {
#pragma unroll
            for (int k = 0; k < CHUNK; ++k) copy<1, false>(target + k, table[begin + step + k]);
        }
        next_step = table[begin + step + DEPTH];
    }
};

// Columns of B: weights, in which the channels of the target, or those of the source, are neighbours.
template <typename Layout>
struct Weights;

template <int COLUMNS>
struct Weights<Wide<COLUMNS>> {
    using Layout = Wide<COLUMNS>;
    static constexpr int COUNT = COLUMNS * DEPTH / CHUNK / THREADS, CHUNKS = COLUMNS / CHUNK;
    static constexpr int DISTANCE = THREADS / CHUNKS;

    const bool by_fours;
    const int line = threadIdx.x % CHUNKS * CHUNK, first = threadIdx.x / CHUNKS;
    const int columns; // number of columns, from the first of the chunk on
    const Step* table;
    const int begin; // index of the job's first step in the table
    const float* corner;
    int weights[COUNT];  // offsets of those of the next stage

    __device__ __forceinline__ Weights(const Images& images, const Job& job, const Step* table, const float* w,
                                       int first_column)
        : by_fours(images.target_by_fours),
          columns(job.last - job.first - first_column - line),
          table(table),
          begin(job.begin + first),
          corner(w + job.corner + first_column + line)
    {
        read_next(0);
    }

    __device__ __forceinline__ void read_next(int step)
    {
#pragma unroll
        for (int i = 0; i < COUNT; ++i) weights[i] = table[begin + step + i * DISTANCE].weight;
    }

    __device__ __forceinline__ void fetch(float* stage, int step)
    {
#pragma unroll
        for (int i = 0; i < COUNT; ++i) {
            float* target = stage + Layout::place(line, first) + Layout::place(0, i * DISTANCE);
            const float* source = corner + weights[i];
            if (by_fours) {
                copy_async<CHUNK>(target, source, weights[i] >= 0 && columns > 0);
            } else {
#pragma unroll
                for (int k = 0; k < CHUNK; ++k) copy_async<1>(target + k, source + k, weights[i] >= 0 && columns > k);
            }
        }
        read_next(step + DEPTH);
    }
};

template <int COLUMNS>
struct Weights<Deep<COLUMNS>> {
    using Layout = Deep<COLUMNS>;
    static constexpr int COUNT = COLUMNS * DEPTH / CHUNK / THREADS, DISTANCE = THREADS / 4;

    const int line = threadIdx.x / 4, chunk = threadIdx.x % 4 * CHUNK;
    const int columns; // number of columns, from the first copied on
    const Step* table;
    const int begin; // index of the job's first step in the table
    const int pitch;
    const float* corner;
    int weight;  // offset of that of the next stage

    __device__ __forceinline__ Weights(const Images& images, const Job& job, const Step* table, const float* w,
                                       int first_column)
        : columns(job.last - job.first - first_column - line),
          table(table),
          begin(job.begin + chunk),
          pitch(images.weight_pitch),
          corner(w + job.corner + static_cast<long long>(first_column + line) * pitch),
          weight(table[begin].weight)
    {
    }

    __device__ __forceinline__ void fetch(float* stage, int step)
    {
        float* target = stage + Layout::place(line, chunk);
#pragma unroll
        for (int i = 0; i < COUNT; ++i)
            copy_async<CHUNK>(target + Layout::place(i * DISTANCE, 0),
                              corner + static_cast<long long>(pitch) * (i * DISTANCE) + weight,
                              weight >= 0 && columns > i * DISTANCE);
        weight = table[begin + step + DEPTH].weight;
    }
};

// Grid (most tiles of a job, jobs).
template <typename Arithmetic, int ROWS, int COLUMNS>
__global__ void __launch_bounds__(THREADS, RESIDENT<ROWS, COLUMNS>)
products(const float* __restrict__ x, const float* __restrict__ w, const float* __restrict__ bias,
         float* __restrict__ y, const Job* jobs, const Step* __restrict__ table, const Images images, float slope)
{
    Sums<Arithmetic, ROWS, COLUMNS> sums;
    {
        const Job& job = jobs[blockIdx.y];
        const Corner<ROWS, COLUMNS> corner(job);
        if (corner.row >= images.count * job.rows * job.columns) return;
        Windows<ROWS> windows(images, job, table, x, corner.row);
        Weights<typename Arithmetic::template Order<COLUMNS>> weights(images, job, table, w, corner.column);
        multiply(sums, windows, weights, job.steps);
    }
    // Read again: keeping these values would take registers from the sums.
    const Job& job = jobs[blockIdx.y];
    const Corner<ROWS, COLUMNS> corner(job);
    const int first = job.first + corner.column, columns = job.last - first, places = job.rows * job.columns;
    constexpr int RUN = decltype(sums)::RUN;
#pragma unroll
    for (int i = 0; i < sums.HEIGHT; ++i) {
        const int row = corner.row + sums.row(i), image = row / places, place = row % places;
        if (image >= images.count) break;
        float* line = y + first +
                      pixel_offset(image, job.top + place / job.columns * images.down,
                                   job.left + place % job.columns * images.across, images.target_height,
                                   images.target_width, images.target_channels);
#pragma unroll
        for (int j = 0; j < sums.WIDTH; j += RUN) {
            const int column = sums.column(j);
            float values[RUN];
#pragma unroll
            for (int k = 0; k < RUN; ++k) {
                const float shift = bias && column + k < columns ? bias[first + column + k] : 0.f;
                values[k] = leaky_relu(sums.sum[i][j + k] + shift, slope);
            }
            store_run(line + column, values, columns - column, images.target_by_fours);
        }
    }
}
