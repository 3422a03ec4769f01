// Functions that several kernels use: indices, activations, reductions of a warp and of a block.
#pragma once

// Dynamic shared memory as an array of a type; the tests' emulator, which compiles no CUDA, has its own definition.
#ifdef __CUDACC__
#define DYNAMIC_SHARED(type, name)                                  \
    extern __shared__ __align__(16) unsigned char name##_bytes[];   \
    type* const name = reinterpret_cast<type*>(name##_bytes)
#endif

constexpr unsigned WARP = 32;
constexpr unsigned ALL_LANES = 0xffffffffu;

template <typename T>
__host__ __device__ constexpr T ceil_div(T a, T b)
{
    return (a + b - 1) / b;
}

// x where a switch is positive (or NaN), else slope * x, which is 0 for a slope of 0 even if x is infinite.
__device__ __forceinline__ float leaky(float x, float on, float slope)
{
    const float rest = slope == 0.f ? 0.f : slope * x;
    return on <= 0.f ? rest : x;
}

// A slope of 1 is no activation, a slope of 0 a ReLU.
__device__ __forceinline__ float leaky_relu(float x, float slope)
{
    return leaky(x, x, slope);
}

__device__ __forceinline__ float logistic(float x)
{
    return 1.f / (1.f + expf(-x));
}

struct Sum {
    static constexpr float identity = 0.f;
    template <typename T>
    __device__ static T combine(T a, T b)
    {
        return a + b;
    }
};

struct Max {
    static constexpr float identity = -3.402823466e38f;
    __device__ static float combine(float a, float b) { return fmaxf(a, b); }
};

// Combines the values of all lanes of a warp, in a fixed order; every lane gets the result.
template <typename Operation, typename T>
__device__ __forceinline__ T warp_reduce(T value)
{
#pragma unroll
    for (unsigned distance = WARP / 2; distance > 0; distance /= 2)
        value = Operation::combine(value, __shfl_xor_sync(ALL_LANES, value, distance));
    return value;
}

// Combines the values of all threads of a block of `threads` (a multiple of 32, one dimension); every thread gets the
// result. Ends with a barrier, so that it may be called again.
template <typename Operation, unsigned threads, typename T>
__device__ __forceinline__ T block_reduce(T value)
{
    static_assert(threads % WARP == 0 && threads <= WARP * WARP, "a block of whole warps");
    __shared__ T partial[threads / WARP];
    value = warp_reduce<Operation>(value);
    if (threadIdx.x % WARP == 0) partial[threadIdx.x / WARP] = value;
    __syncthreads();
    value = Operation::identity;
#pragma unroll
    for (unsigned i = 0; i < threads / WARP; ++i) value = Operation::combine(value, partial[i]);
    __syncthreads();
    return value;
}
