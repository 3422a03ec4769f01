// Sums of columns: first over each chunk of rows, then, by the same kernel, over the sums of the chunks.
#include "columns.cuh"

template <int N>
__global__ void column_sums(int rows, int columns, int length, const float* x, float* sums)
{
    const Tile tile = tile_of_block<N>(rows, columns, length);
    const bool packed = aligned(x, sums);
    Pack<N> total{};
#pragma unroll 4
    for (long long row = tile.first; row < tile.last; row += blockDim.y)
        total = sum(total, load<N>(x + row * columns + tile.column, packed));
    total = combine_rows(total, sum<N>);
    if (threadIdx.y == 0 && tile.inside) store<N>(sums + tile.part * columns + tile.column, total, packed);
}
