// Work on rows of a matrix: a warp (threads = 32) or a block does a row. The row is read again for each step, from a
// cache after the first time.
#pragma once
#include "common.cuh"
#include "vectors.cuh"

// Calls body(row, share) for each row, which `threads` threads share.
template <unsigned threads, typename Body>
__device__ __forceinline__ void for_each_row(long long rows, Body body)
{
    const Share grid = share_of_grid();
    for (long long row = grid.thread / threads; row < rows; row += grid.threads / threads)
        body(row, Share{threadIdx.x % threads, threads});
}

// Combines the values of the threads that share a row; each of them gets the result.
template <typename Operation, unsigned threads, typename T>
__device__ __forceinline__ T row_reduce(T value)
{
    if constexpr (threads == WARP) return warp_reduce<Operation>(value);
    else return block_reduce<Operation, threads>(value);
}

// The sum of f(x...) along a row.
template <unsigned threads, typename F, typename... Inputs>
__device__ __forceinline__ float row_sum(Share share, long long n, F f, const Inputs*... x)
{
    return row_reduce<Sum, threads>(partial_sum(share, n, f, x...));
}
