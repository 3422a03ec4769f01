// Reading and writing of float32 arrays, four numbers at once where their addresses allow it.
#pragma once

template <int N>
struct alignas(4 * N) Pack {
    float at[N];
};

template <int N>
struct Width {
    static constexpr int value = N;
};

template <typename... T>
__device__ __forceinline__ bool aligned(const T*... arrays)
{
    return (reinterpret_cast<size_t>(arrays) | ...) % 16 == 0;
}

template <int N>
__device__ __forceinline__ Pack<N> load(const float* x)
{
    return *reinterpret_cast<const Pack<N>*>(x);
}

template <int N>
__device__ __forceinline__ void store(float* x, const Pack<N>& values)
{
    *reinterpret_cast<Pack<N>*>(x) = values;
}

// The same for numbers that may not be aligned.
template <int N>
__device__ __forceinline__ Pack<N> load(const float* x, bool packed)
{
    if (packed) return load<N>(x);
    Pack<N> values;
#pragma unroll
    for (int j = 0; j < N; ++j) values.at[j] = x[j];
    return values;
}

template <int N>
__device__ __forceinline__ void store(float* x, const Pack<N>& values, bool packed)
{
    if (packed) return store<N>(x, values);
#pragma unroll
    for (int j = 0; j < N; ++j) x[j] = values.at[j];
}

// One of the threads that share some work.
struct Share {
    long long thread, threads;
};

__device__ __forceinline__ Share share_of_grid()
{
    return {static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x,
            static_cast<long long>(gridDim.x) * blockDim.x};
}

// Calls body(Width<N>(), i) for the numbers i to i + N of n that a thread has: first by fours if they are `packed`.
template <typename Body>
__device__ __forceinline__ void for_each(Share share, long long n, bool packed, Body body)
{
    const long long packs = packed ? n / 4 : 0;
    for (long long i = share.thread; i < packs; i += share.threads) body(Width<4>(), 4 * i);
    for (long long i = 4 * packs + share.thread; i < n; i += share.threads) body(Width<1>(), i);
}

// Writes y = f(x...), elementwise.
template <typename F, typename... Inputs>
__device__ __forceinline__ void map(Share share, long long n, F f, float* y, const Inputs*... x)
{
    for_each(share, n, aligned(y, x...), [&](auto width, long long i) {
        constexpr int N = decltype(width)::value;
        auto apply = [&](const auto&... values) {
            Pack<N> result;
#pragma unroll
            for (int j = 0; j < N; ++j) result.at[j] = f(values.at[j]...);
            store<N>(y + i, result);
        };
        apply(load<N>(x + i)...);
    });
}

// Writes two arrays, y and z: for each element, f(x...) returns a pack of both values.
template <typename F, typename... Inputs>
__device__ __forceinline__ void map_to_two(Share share, long long n, F f, float* y, float* z, const Inputs*... x)
{
    for_each(share, n, aligned(y, z, x...), [&](auto width, long long i) {
        constexpr int N = decltype(width)::value;
        auto apply = [&](const auto&... values) {
            Pack<N> first, second;
#pragma unroll
            for (int j = 0; j < N; ++j) {
                const Pack<2> pair = f(values.at[j]...);
                first.at[j] = pair.at[0];
                second.at[j] = pair.at[1];
            }
            store<N>(y + i, first);
            store<N>(z + i, second);
        };
        apply(load<N>(x + i)...);
    });
}

// The sum of f(x...) over the numbers of a thread.
template <typename F, typename... Inputs>
__device__ __forceinline__ float partial_sum(Share share, long long n, F f, const Inputs*... x)
{
    float sum = 0.f;
    for_each(share, n, aligned(x...), [&](auto width, long long i) {
        constexpr int N = decltype(width)::value;
        auto add = [&](const auto&... values) {
            float part = 0.f;
#pragma unroll
            for (int j = 0; j < N; ++j) part += f(values.at[j]...);
            sum += part;
        };
        add(load<N>(x + i)...);
    });
    return sum;
}
