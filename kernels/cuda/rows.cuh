// Work on rows of a matrix: a row belongs to a warp (threads = 32) or to a block. It is read again for each step, after
// the first from a cache.
#pragma once
#include "common.cuh"
#include "vectors.cuh"

// body(row, share) for each row of so many threads.
template <unsigned threads, typename Body>
__device__ __forceinline__ void for_each_row(long long rows, Body body)
{
    const Share grid = share_of_grid();
    for (long long row = grid.thread / threads; row < rows; row += grid.threads / threads)
        body(row, Share{threadIdx.x % threads, threads});
}

// A value of each thread of a row, combined; every one of them gets the result.
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
