// The adjoint of a convolution in its weights, and products with a transposed matrix: w = sum over places of x g.
//
// An implicit matrix product: rows are pairs of a tap and an input channel, from a table, columns are outputs, and
// steps are the places of all images. The places are cut into slices, by shape alone, which separate blocks sum;
// `add_slices` adds these sums in a fixed order. Counts are of numbers, also in `Bfloat16Pairs`, where a float of x or
// g holds two of them and channels are multiples of eight.
#include "jobs.cuh"
#include "tile.cuh"

// Rows of A: the inputs that each tap and channel reads at the places of a slice.
template <typename Lines, int ROWS>
struct Taps {
    using Layout = Lines;
    static constexpr int EACH = Layout::EACH, CHUNKS = ROWS / (CHUNK * EACH);
    static constexpr int COUNT = CHUNKS * Layout::STEPS / THREADS, DISTANCE = THREADS / CHUNKS;

    const Images& images;
    const int line = threadIdx.x % CHUNKS * CHUNK * EACH, first = threadIdx.x / CHUNKS;
    const int rows;  // from the first of the chunk on
    const Step* taps;
    const float* source;
    const int height, width;                           // of a grid of places
    const int image_step, row_step, column_step;  // from one place to the one DISTANCE later
    int image, row, column;                            // of the next place
    int places;                                        // from the next on
    Step tap;

    __device__ __forceinline__ Taps(const Images& images, const Job& job, const Step* table, const float* x,
                                    int first_row, int begin, int end)
        : images(images),
          rows(job.steps - first_row - line),
          taps(table + job.begin + first_row + line),
          source(x + job.source / EACH),
          height(job.rows),
          width(job.columns),
          image_step(DISTANCE / (height * width)),
          row_step(DISTANCE / width % height),
          column_step(DISTANCE % width),
          image((begin + first) / (height * width)),
          row((begin + first) / width % height),
          column((begin + first) % width),
          places(end - begin - first)
    {
        if (rows > 0) tap = *taps;
    }

    __device__ __forceinline__ void advance()
    {
        places -= DISTANCE;
        column += column_step;
        const bool next_row = column >= width;
        column -= next_row ? width : 0;
        row += row_step + next_row;
        const bool next_image = row >= height;
        row -= next_image ? height : 0;
        image += image_step + next_image;
    }

    __device__ __forceinline__ void fetch(float* stage, int)
    {
#pragma unroll
        for (int i = 0; i < COUNT; ++i) {
            float* target = stage + Layout::place(line, first) + Layout::place(0, i * DISTANCE);
            const int top = row * images.stride_down - images.above;
            const int left = column * images.stride_across - images.before;
            const float* corner =
                source + pixel_offset(image, top, left, images.height, images.width, images.channels) / EACH;
            if (EACH > 1 || images.source_by_fours) {
                copy_async<CHUNK>(target, corner + tap.offset / EACH,
                                  rows > 0 && places > 0 && is_inside(images, top + tap.row, left + tap.column));
            } else {
#pragma unroll
                for (int k = 0; k < CHUNK; ++k) {
                    const Step step = rows > k ? taps[k] : Step{};
                    copy_async<1>(target + k, corner + step.offset,
                                  rows > k && places > 0 && is_inside(images, top + step.row, left + step.column));
                }
            }
            advance();
        }
    }
};

// Columns of B: gradients of the outputs at the places of a slice.
template <typename Lines, int COLUMNS>
struct Gradients {
    using Layout = Lines;
    static constexpr int EACH = Layout::EACH, CHUNKS = COLUMNS / (CHUNK * EACH);
    static constexpr int COUNT = CHUNKS * Layout::STEPS / THREADS, DISTANCE = THREADS / CHUNKS;

    const Images& images;
    const int line = threadIdx.x % CHUNKS * CHUNK * EACH, first = threadIdx.x / CHUNKS;
    const int columns;  // from the first of the chunk on
    const int places;   // from the first on
    const float* source;

    __device__ __forceinline__ Gradients(const Images& images, const Job& job, const float* g, int first_column,
                                         int begin, int end)
        : images(images),
          columns(job.last - job.first - first_column - line),
          places(end - begin - first),
          source(g + (static_cast<long long>(begin + first) * images.target_channels + job.first + first_column +
                      line) / EACH)
    {
    }

    __device__ __forceinline__ void fetch(float* stage, int step)
    {
#pragma unroll
        for (int i = 0; i < COUNT; ++i) {
            float* target = stage + Layout::place(line, first) + Layout::place(0, i * DISTANCE);
            const bool valid = step + i * DISTANCE < places;
            const float* from = source + static_cast<long long>(step + i * DISTANCE) * images.target_channels / EACH;
            if (EACH > 1 || images.target_by_fours) {
                copy_async<CHUNK>(target, from, valid && columns > 0);
            } else {
#pragma unroll
                for (int k = 0; k < CHUNK; ++k) copy_async<1>(target + k, from + k, valid && columns > k);
            }
        }
    }
};

// Grid (most tiles of a job, jobs, slices). Slice s of `sums` begins s * size floats from the first.
template <typename Arithmetic, int ROWS, int COLUMNS>
__global__ void __launch_bounds__(THREADS, RESIDENT<ROWS, COLUMNS>)
weight_sums(const float* __restrict__ x, const float* __restrict__ g, float* __restrict__ sums_of_slices,
            const Job* jobs, const Step* __restrict__ table, const Images images, int slice, long long size)
{
    Sums<Arithmetic, ROWS, COLUMNS> sums;
    {
        const Job& job = jobs[blockIdx.y];
        const Corner<ROWS, COLUMNS> corner(job);
        if (corner.row >= job.steps) return;
        const int begin = blockIdx.z * slice, end = min(begin + slice, images.count * job.rows * job.columns);
        Taps<typename Arithmetic::template Lines<ROWS>, ROWS> taps(images, job, table, x, corner.row, begin, end);
        Gradients<typename Arithmetic::template Lines<COLUMNS>, COLUMNS> gradients(images, job, g, corner.column, begin,
                                                                                    end);
        multiply(sums, taps, gradients, end - begin);
    }
    // Read again: keeping these values would take registers from the sums.
    const Job& job = jobs[blockIdx.y];
    const Corner<ROWS, COLUMNS> corner(job);
    const int columns = job.last - job.first - corner.column;
    float* target = sums_of_slices + blockIdx.z * size + job.corner + corner.column;
    constexpr int RUN = decltype(sums)::RUN;
#pragma unroll
    for (int i = 0; i < sums.HEIGHT; ++i) {
        const int row = corner.row + sums.row(i);
        if (row >= job.steps) break;
        float* line = target + table[job.begin + row].weight;
#pragma unroll
        for (int j = 0; j < sums.WIDTH; j += RUN) {
            float values[RUN];
#pragma unroll
            for (int k = 0; k < RUN; ++k) values[k] = sums.sum[i][j + k];
            store_run(line + sums.column(j), values, columns - sums.column(j), images.target_by_fours);
        }
    }
}

// Grid (most weights of a job / WEIGHTS, jobs), block (WEIGHTS, up to MOST_LANES): lane l of a weight adds slices l,
// l + lanes, ... in order, and the first lane the sums of the lanes.
template <int WEIGHTS, int MOST_LANES>
__global__ void add_slices(const float* __restrict__ sums, float* __restrict__ w, const Job* __restrict__ jobs,
                           const Step* __restrict__ table, int slices, long long size)
{
    __shared__ float partial[MOST_LANES][WEIGHTS];
    const Job job = jobs[blockIdx.y];
    const int index = blockIdx.x * WEIGHTS + threadIdx.x, columns = job.last - job.first;
    const int row = index / columns, lanes = blockDim.y;
    const bool valid = row < job.steps;
    const long long place = valid ? table[job.begin + row].weight + job.corner + index % columns : 0;
    float sum = 0.f;
#pragma unroll 4
    for (int slice = threadIdx.y; slice < slices; slice += lanes) sum += valid ? sums[slice * size + place] : 0.f;
    partial[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (!valid || threadIdx.y) return;
    for (int lane = 1; lane < lanes; ++lane) sum += partial[lane][threadIdx.x];
    w[place] = sum;
}
