// Weights in another order, for kernels that read them so.
#include "common.cuh"

// Each of some matrices (rows, columns), transposed. Grid (squares of a matrix, matrices), block (SIDE, any height).
template <int SIDE>
__global__ void transposed(const float* __restrict__ x, float* __restrict__ y, int rows, int columns)
{
    __shared__ float square[SIDE][SIDE + 1];  // so that neither rows nor columns meet in a bank
    const int across = ceil_div(columns, SIDE);
    const int top = blockIdx.x / across * SIDE, left = blockIdx.x % across * SIDE;
    const long long matrix = static_cast<long long>(blockIdx.y) * rows * columns;
    for (int i = threadIdx.y; i < SIDE; i += blockDim.y)
        if (top + i < rows && left + threadIdx.x < columns)
            square[i][threadIdx.x] = x[matrix + static_cast<long long>(top + i) * columns + left + threadIdx.x];
    __syncthreads();
    for (int i = threadIdx.y; i < SIDE; i += blockDim.y)
        if (left + i < columns && top + threadIdx.x < rows)
            y[matrix + static_cast<long long>(left + i) * rows + top + threadIdx.x] = square[threadIdx.x][i];
}
