// Tiles of a matrix product C = A B, wherever A and B come from: stages in shared memory, and the sums of a thread.
//
// A tile is some lines of A (rows of C) by some lines of B (columns of C). The sum runs over steps; DEPTH of them are a
// stage, a buffer in shared memory. Chunks of four floats are copied as they lie in device memory: `Deep` where steps
// of a line are neighbours there, `Wide` where the lines of a step are; `WidePairs` where each float is two lines in
// bfloat16. Gaps between some chunks keep the reads of a warp in different banks.
#pragma once
#include "common.cuh"
#include "ptx.cuh"

constexpr int CHUNK = 4;
constexpr int DEPTH = 16;
#if __CUDA_ARCH__ >= 800
constexpr int STAGES = 3;          // one is summed while the next two are being copied
constexpr int RESIDENT_LARGE = 3;  // blocks of a tile of 128 x 64 that a multiprocessor should hold
#else
constexpr int STAGES = 2;
constexpr int RESIDENT_LARGE = 2;  // shared memory does not suffice for more
#endif

// An address in a stage is a sum: place(line + i, step + k) = place(line, step) + place(i, k) where line or i, and step
// or k, is a multiple of four. So a thread computes its own once, and the others at constant distances.
template <int LINES>
struct Deep {
    static constexpr int STEPS = DEPTH, SIZE = LINES / 4 * 68;

    static __device__ constexpr int place(int line, int step) { return line / 4 * 68 + line % 4 * DEPTH + step; }

    // Four steps of a line.
    static __device__ float4 steps(const float* chunk) { return *reinterpret_cast<const float4*>(chunk); }
};

template <int LINES>
struct Wide {
    static constexpr int STEPS = DEPTH, EACH = 1, SIZE = STEPS * LINES + 32;

    static __device__ constexpr int place(int line, int step) { return step * LINES + step / 4 * 8 + line; }

    static __device__ float4 steps(const float* first)
    {
        return {first[0], first[LINES], first[2 * LINES], first[3 * LINES]};
    }

    // Four lines of a step.
    static __device__ float4 lines(const float* chunk) { return *reinterpret_cast<const float4*>(chunk); }
};

template <int LINES>
struct WidePairs {
    static constexpr int STEPS = 2 * DEPTH, EACH = 2, PITCH = LINES / 2 + 4, SIZE = STEPS * PITCH;

    static __device__ constexpr int place(int line, int step) { return step * PITCH + line / 2; }
};

template <typename Layout>
constexpr bool is_paired = false;
template <int LINES>
constexpr bool is_paired<WidePairs<LINES>> = true;

template <typename Layout>
constexpr bool is_deep = false;
template <int LINES>
constexpr bool is_deep<Deep<LINES>> = true;

constexpr int THREADS = 128;  // threads of a block

// Blocks that a multiprocessor should run at once: as many as its registers suffice for.
template <int ROWS, int COLUMNS>
constexpr int RESIDENT = ROWS * COLUMNS == 128 * 128 ? 2 : ROWS * COLUMNS == 128 * 64 ? RESIDENT_LARGE : 4;

// The sums of a thread: sum[i][j] is at (row(i), column(j)) of the tile, and RUN columns are neighbours.
template <typename Arithmetic, int ROWS, int COLUMNS>
struct Sums;

// float32 on CUDA cores. An element is summed step by step, whatever the size of the tile.
struct Float32 {
    template <int COLUMNS>
    using Order = Wide<COLUMNS>;
    template <int LINES>
    using Lines = Wide<LINES>;
};

template <int ROWS, int COLUMNS>
struct Sums<Float32, ROWS, COLUMNS> {
    static constexpr int EACH = ROWS * COLUMNS / THREADS;
    static constexpr int RUN = CHUNK, HEIGHT = EACH >= 32 ? 8 : 4, WIDTH = EACH / HEIGHT;
    static constexpr int WARPS_ACROSS = COLUMNS / WIDTH / 8;  // a warp is 4 threads high and 8 wide

    float sum[HEIGHT][WIDTH] = {};
    const int top = (threadIdx.x / WARP / WARPS_ACROSS * 4 + threadIdx.x % WARP / 8) * CHUNK;
    const int left = (threadIdx.x / WARP % WARPS_ACROSS * 8 + threadIdx.x % 8) * CHUNK;

    // The distance of a thread's chunks of rows and columns is the width of all threads.
    static __device__ constexpr int row_offset(int i) { return i / CHUNK * (ROWS / HEIGHT * CHUNK) + i % CHUNK; }
    static __device__ constexpr int column_offset(int j) { return j / CHUNK * (COLUMNS / WIDTH * CHUNK) + j % CHUNK; }
    __device__ int row(int i) const { return top + row_offset(i); }
    __device__ int column(int j) const { return left + column_offset(j); }

    template <typename A, typename B>
    __device__ __forceinline__ void add(const float* a, const float* b)
    {
        a += A::place(top, 0);
        b += B::place(left, 0);
#pragma unroll 2  // more loads ahead would not fit the registers
        for (int step = 0; step < DEPTH; step += CHUNK) {
            float row_values[HEIGHT][CHUNK];
            load_rows<A>(row_values, a, step);
            add_step_by_step<B>(row_values, b, step);
        }
    }

    template <typename A>
    static __device__ __forceinline__ void load_rows(float (&row_values)[HEIGHT][CHUNK], const float* a, int step)
    {
#pragma unroll
        for (int i = 0; i < HEIGHT; ++i)
            if constexpr (is_deep<A>) {
                const float4 steps = A::steps(a + A::place(row_offset(i), step));
                row_values[i][0] = steps.x, row_values[i][1] = steps.y;
                row_values[i][2] = steps.z, row_values[i][3] = steps.w;
            } else {
                const int first = i / CHUNK * CHUNK, k = i % CHUNK;
                const float4 lines = A::lines(a + A::place(row_offset(first), step + k));
                row_values[first][k] = lines.x, row_values[first + 1][k] = lines.y;
                row_values[first + 2][k] = lines.z, row_values[first + 3][k] = lines.w;
            }
    }

    template <typename B>
    __device__ __forceinline__ void add_step_by_step(const float (&row_values)[HEIGHT][CHUNK], const float* b, int step)
    {
#pragma unroll
        for (int k = 0; k < CHUNK; ++k) {
            float column_values[WIDTH];
#pragma unroll
            for (int j = 0; j < WIDTH; j += CHUNK)
                *reinterpret_cast<float4*>(column_values + j) = B::lines(b + B::place(column_offset(j), step + k));
#pragma unroll
            for (int i = 0; i < HEIGHT; ++i)
#pragma unroll
                for (int j = 0; j < WIDTH; ++j) sum[i][j] = fmaf(row_values[i][k], column_values[j], sum[i][j]);
        }
    }
};

// Formats of tensor cores: fragments of DEPTH steps, made of four steps that each lane reads. The order of the steps in
// a product is free, so that those of lane 4 g + t may be 4 t, 4 t + 1, ... in A and B alike.
struct Tf32 {
    template <int COLUMNS>
    using Order = Wide<COLUMNS>;
    template <int LINES>
    using Lines = Wide<LINES>;
    static constexpr int PRODUCTS = 2;

    static __device__ __forceinline__ void round_rows(unsigned (&a)[PRODUCTS][4], float4 upper, float4 lower)
    {
        a[0][0] = to_tf32(upper.x), a[0][1] = to_tf32(lower.x), a[0][2] = to_tf32(upper.y), a[0][3] = to_tf32(lower.y);
        a[1][0] = to_tf32(upper.z), a[1][1] = to_tf32(lower.z), a[1][2] = to_tf32(upper.w), a[1][3] = to_tf32(lower.w);
    }

    static __device__ __forceinline__ void round_column(unsigned (&b)[PRODUCTS][2], float4 steps)
    {
        b[0][0] = to_tf32(steps.x), b[0][1] = to_tf32(steps.y);
        b[1][0] = to_tf32(steps.z), b[1][1] = to_tf32(steps.w);
    }

    static __device__ __forceinline__ void multiply(float& c0, float& c1, float& c2, float& c3, const unsigned (&a)[4],
                                                    const unsigned (&b)[2])
    {
        mma_tf32(c0, c1, c2, c3, a, b);
    }
};

struct Bfloat16 {
    template <int COLUMNS>
    using Order = Wide<COLUMNS>;
    template <int LINES>
    using Lines = Wide<LINES>;
    static constexpr int PRODUCTS = 1;

    static __device__ __forceinline__ void round_rows(unsigned (&a)[PRODUCTS][4], float4 upper, float4 lower)
    {
        a[0][0] = to_bf16x2(upper.x, upper.y), a[0][1] = to_bf16x2(lower.x, lower.y);
        a[0][2] = to_bf16x2(upper.z, upper.w), a[0][3] = to_bf16x2(lower.z, lower.w);
    }

    static __device__ __forceinline__ void round_column(unsigned (&b)[PRODUCTS][2], float4 steps)
    {
        b[0][0] = to_bf16x2(steps.x, steps.y), b[0][1] = to_bf16x2(steps.z, steps.w);
    }

    static __device__ __forceinline__ void multiply(float& c0, float& c1, float& c2, float& c3, const unsigned (&a)[4],
                                                    const unsigned (&b)[2])
    {
        mma_bf16(c0, c1, c2, c3, a, b);
    }
};

// Each float holds two rounded numbers, those of neighbouring steps.
struct Bfloat16Pairs {
    template <int COLUMNS>
    using Order = Deep<COLUMNS>;
    template <int LINES>
    using Lines = WidePairs<LINES>;
    static constexpr int PRODUCTS = 2;

    static __device__ __forceinline__ void round_rows(unsigned (&a)[PRODUCTS][4], float4 upper, float4 lower)
    {
        a[0][0] = __float_as_uint(upper.x), a[0][1] = __float_as_uint(lower.x);
        a[0][2] = __float_as_uint(upper.y), a[0][3] = __float_as_uint(lower.y);
        a[1][0] = __float_as_uint(upper.z), a[1][1] = __float_as_uint(lower.z);
        a[1][2] = __float_as_uint(upper.w), a[1][3] = __float_as_uint(lower.w);
    }

    static __device__ __forceinline__ void round_column(unsigned (&b)[PRODUCTS][2], float4 steps)
    {
        b[0][0] = __float_as_uint(steps.x), b[0][1] = __float_as_uint(steps.y);
        b[1][0] = __float_as_uint(steps.z), b[1][1] = __float_as_uint(steps.w);
    }

    static __device__ __forceinline__ void multiply(float& c0, float& c1, float& c2, float& c3, const unsigned (&a)[4],
                                                    const unsigned (&b)[2])
    {
        mma_bf16(c0, c1, c2, c3, a, b);
    }
};

template <typename Format, int ROWS, int COLUMNS>
struct Sums {
    static constexpr int WARPS_ACROSS = 2, WARP_ROWS = ROWS / 2, WARP_COLUMNS = COLUMNS / WARPS_ACROSS;
    static constexpr int RUN = 2, HEIGHT = WARP_ROWS / 8, WIDTH = WARP_COLUMNS / 4;
    static constexpr int PRODUCTS = Format::PRODUCTS;

    float sum[HEIGHT][WIDTH] = {};
    const int above = threadIdx.x / WARP / WARPS_ACROSS * WARP_ROWS;
    const int left = threadIdx.x / WARP % WARPS_ACROSS * WARP_COLUMNS;

    __device__ int row(int i) const { return above + 8 * i + threadIdx.x % WARP / 4; }
    __device__ int column(int j) const { return left + j / 2 * 8 + threadIdx.x % 4 * 2 + j % 2; }

    template <typename A, typename B>
    __device__ __forceinline__ void add(const float* a, const float* b)
    {
        a += A::place(above, 0) + share<A>();
        b += B::place(left, 0) + share<B>();
        unsigned column_values[WIDTH / 2][PRODUCTS][2];
#pragma unroll
        for (int j = 0; j < WIDTH; j += 4)
            load_columns<B>(column_values[j / 2], column_values[j / 2 + 1], b + B::place(4 * j, 0));
#pragma unroll
        for (int i = 0; i < HEIGHT; i += 2) {
            unsigned row_values[PRODUCTS][4];
            load_rows<A>(row_values, a + A::place(8 * i, 0));
#pragma unroll
            for (int k = 0; k < PRODUCTS; ++k)
#pragma unroll
                for (int j = 0; j < WIDTH; j += 2)
                    Format::multiply(sum[i][j], sum[i][j + 1], sum[i + 1][j], sum[i + 1][j + 1], row_values[k],
                                     column_values[j / 2][k]);
        }
    }

    // The part of 16 lines that the lane reads, as offsets from the beginning of the first.
    template <typename Layout>
    __device__ __forceinline__ static int share()
    {
        const int lane = threadIdx.x % WARP;
        if constexpr (is_paired<Layout>) return Layout::place(lane / 8 % 2 * 8, lane / 16 * 8 + lane % 8);
        else return Layout::place(lane / 4, lane % 4 * 4);
    }

    template <typename A>
    __device__ __forceinline__ static void load_rows(unsigned (&row_values)[PRODUCTS][4], const float* a)
    {
        if constexpr (is_paired<A>) {
#pragma unroll
            for (int k = 0; k < PRODUCTS; ++k) load_transposed(row_values[k], a + A::place(0, 16 * k));
        } else {
            Format::round_rows(row_values, A::steps(a), A::steps(a + A::place(8, 0)));
        }
    }

    template <typename B>
    __device__ __forceinline__ static void load_columns(unsigned (&first)[PRODUCTS][2], unsigned (&second)[PRODUCTS][2],
                                                        const float* b)
    {
        if constexpr (is_paired<B>) {
#pragma unroll
            for (int k = 0; k < PRODUCTS; ++k) {
                unsigned both[4];
                load_transposed(both, b + B::place(0, 16 * k));
                first[k][0] = both[0], second[k][0] = both[1], first[k][1] = both[2], second[k][1] = both[3];
            }
        } else {
            Format::round_column(first, B::steps(b));
            Format::round_column(second, B::steps(b + B::place(8, 0)));
        }
    }
};

// Adds up `steps` steps. Calls `fetch(stage, step)` of A and B, which starts their copies into one stage after another.
template <typename Sums, typename A, typename B>
__device__ __forceinline__ void multiply(Sums& sums, A& a, B& b, int steps)
{
    constexpr int SIZE = A::Layout::SIZE + B::Layout::SIZE, DEEP = A::Layout::STEPS;
    DYNAMIC_SHARED(float, stages);
    int fetched = 0, next = 0; // `next` is the offset of the next stage in the shared memory
    const auto fetch = [&] {
        if (fetched < steps) {
            a.fetch(stages + next, fetched);
            b.fetch(stages + next + A::Layout::SIZE, fetched);
        }
        copy_commit();
        fetched += DEEP;
        next = next == (STAGES - 1) * SIZE ? 0 : next + SIZE;
    };
#pragma unroll
    for (int i = 0; i < STAGES - 1; ++i) fetch();
    while (fetched < steps + (STAGES - 1) * DEEP) {
        copy_wait<STAGES - 2>();
        __syncthreads();  // all threads have copied the oldest stage, and none still reads the one before it
        fetch();
        const float* oldest = stages + next;
        sums.template add<typename A::Layout, typename B::Layout>(oldest, oldest + A::Layout::SIZE);
    }
}

// Stores RUN neighbours, of which `count` exist; all at once where the address is aligned to them.
template <int RUN>
__device__ __forceinline__ void store_run(float* target, const float (&values)[RUN], int count, bool aligned)
{
    if (aligned && count >= RUN) {
        if constexpr (RUN == 4)
            *reinterpret_cast<float4*>(target) = {values[0], values[1], values[2], values[3]};
        else
            *reinterpret_cast<float2*>(target) = {values[0], values[1]};
    } else {
#pragma unroll
        for (int i = 0; i < RUN; ++i)
            if (i < count) target[i] = values[i];
    }
}
