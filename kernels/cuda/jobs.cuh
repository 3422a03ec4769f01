// The arguments of the kernels of convolutions and their adjoints: images, jobs, and the steps of their sums.
#pragma once
#include "common.cuh"

// The images of a source (height, width, channels) and of a target, `count` of each. A place (i, j) of a job reads the
// source from row i * stride_down - above, column j * stride_across - before on; it is row top + i * down, column
// left + j * across of the target, whose channels have their weights `weight_pitch` apart. `source_by_fours` and
// `target_by_fours` say whether four neighbouring channels can be moved at once: in the source, or in the target and
// its weights. `read_again` says whether what a tile reads again for another tap is still in the first-level cache.
struct Images {
    int count, height, width, channels, stride_down, stride_across, above, before;
    int target_height, target_width, target_channels, down, across;
    int weight_pitch, source_by_fours, target_by_fours, read_again;
};

// A job computes channels [first, last) of the target at rows x columns places. It reads channels of the source from
// `source` on. Its sums have `steps` steps, from `begin` on in the table; `corner` is where its weights begin.
struct Job {
    int top, left, rows, columns, first, last, source, corner, begin, steps;
};

// A step of a sum is a tap and an input channel: (row, column) counts from a place's first input pixel, `offset` is the
// distance from there in floats, `weight` that from the corner of the job. Steps that add zero, whose row is outside
// every image and whose weight is negative, fill up the steps of each job to a multiple of DEPTH. DEPTH more of them
// follow the last job, since a kernel reads the steps of a stage before it knows whether there is one.
struct __align__(16) Step {
    int offset, row, column, weight;
};

constexpr int OUTSIDE = -(1 << 30);  // a row that is outside every image, also after the row of a step is added

__device__ __forceinline__ bool is_inside(const Images& images, int row, int column)
{
    return unsigned(row) < unsigned(images.height) && unsigned(column) < unsigned(images.width);
}

// The offset of a pixel, in floats from the beginning of the first image.
__device__ __forceinline__ long long pixel_offset(int image, int row, int column, int height, int width, int channels)
{
    return ((static_cast<long long>(image) * height + row) * width + column) * channels;
}

// The first row and column of this block's tile.
template <int ROWS, int COLUMNS>
struct Corner {
    int row, column;

    __device__ __forceinline__ explicit Corner(const Job& job)
    {
        const int tiles_of_row = ceil_div(job.last - job.first, COLUMNS);
        row = blockIdx.x / tiles_of_row * ROWS;
        column = blockIdx.x % tiles_of_row * COLUMNS;
    }
};
