// Work on columns of a matrix. A block is (columns / N, rows): in x a thread has N columns side by side, in y it steps
// through the rows of a chunk. A grid is (chunks of all samples, tiles of columns).
#pragma once
#include "common.cuh"
#include "vectors.cuh"

constexpr int TILE_THREADS = 256;  // most threads of a block

struct Tile {
    long long sample, part;  // `part` counts the chunks of all samples
    int first, last;         // rows of the thread, blockDim.y apart; none where its columns do not exist
    int column;
    bool inside;
};

template <int N>
__device__ __forceinline__ Tile tile_of_block(int rows, int columns, int length)
{
    const int chunks = ceil_div(rows, length), chunk = blockIdx.x % chunks;
    const int column = N * (blockIdx.y * blockDim.x + threadIdx.x);
    const bool inside = column < columns;
    const int last = inside ? min(rows, (chunk + 1) * length) : 0;
    return {blockIdx.x / chunks, blockIdx.x, static_cast<int>(chunk * length + threadIdx.y), last, column, inside};
}

// Combines the values of all threads over the rows of their block, in a fixed order; the first row gets the result.
template <typename T, typename Combine>
__device__ __forceinline__ T combine_rows(T value, Combine combine)
{
    __shared__ T values[TILE_THREADS];
    const int place = threadIdx.y * blockDim.x + threadIdx.x;
    for (unsigned rows = blockDim.y, kept; rows > 1; rows = kept) {
        kept = (rows + 1) / 2;
        if (threadIdx.y < rows) values[place] = value;
        __syncthreads();
        if (threadIdx.y + kept < rows) value = combine(value, values[place + kept * blockDim.x]);
    }
    __syncthreads();
    return value;
}

template <int N>
__device__ __forceinline__ Pack<N> sum(Pack<N> a, const Pack<N>& b)
{
#pragma unroll
    for (int j = 0; j < N; ++j) a.at[j] += b.at[j];
    return a;
}
