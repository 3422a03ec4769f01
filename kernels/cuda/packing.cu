// Operands of products in the order, and in the format, in which kernels read them: each four bytes hold one float32,
// or a pair of numbers rounded to bfloat16. N is the number of them, 1 or 2.
#include "common.cuh"
#include "ptx.cuh"
#include "vectors.cuh"

constexpr int SIDE = 32;  // rows and columns of a tile

template <int N>
__device__ __forceinline__ float packed_float(const float* numbers)
{
    if constexpr (N == 2) return __uint_as_float(to_bf16x2(numbers[0], numbers[1]));
    else return numbers[0];
}

// Transposes matrices (rows, columns), and packs the numbers of N neighbouring rows. Grid (tiles of SIDE columns and
// N SIDE rows of a matrix, matrices), block (SIDE, any height).
template <int N>
__global__ void transposed(const float* __restrict__ x, float* __restrict__ y, int rows, int columns)
{
    __shared__ float tile[N * SIDE][SIDE + 1];  // a column more: no bank conflicts along rows or columns
    const int tiles_of_row = ceil_div(columns, SIDE), i = threadIdx.x;
    const int top = blockIdx.x / tiles_of_row * N * SIDE, left = blockIdx.x % tiles_of_row * SIDE;
    const long long matrix = static_cast<long long>(blockIdx.y) * rows * columns;
    for (int row = threadIdx.y; row < N * SIDE; row += blockDim.y)
        if (top + row < rows && left + i < columns)
            tile[row][i] = x[matrix + static_cast<long long>(top + row) * columns + left + i];
    __syncthreads();
    for (int column = threadIdx.y; column < SIDE; column += blockDim.y)
        if (left + column < columns && top + N * i < rows) {
            float numbers[N];
#pragma unroll
            for (int k = 0; k < N; ++k) numbers[k] = tile[N * i + k][column];
            y[(matrix + static_cast<long long>(left + column) * rows + top) / N + i] = packed_float<N>(numbers);
        }
}

// Packs `n` times N numbers, 4 N at a time.
template <int N>
__global__ void packed(long long n, const float* __restrict__ x, float* __restrict__ y)
{
    const Share grid = share_of_grid();
    for (long long i = 4 * grid.thread; i < n; i += 4 * grid.threads) {
        alignas(16) float numbers[4 * N];
#pragma unroll
        for (int j = 0; j < N; ++j) *reinterpret_cast<Pack<4>*>(numbers + 4 * j) = load<4>(x + N * i + 4 * j);
        store<4>(y + i, {packed_float<N>(numbers), packed_float<N>(numbers + N), packed_float<N>(numbers + 2 * N),
                         packed_float<N>(numbers + 3 * N)});
    }
}
