// Elementwise functions of one or more arrays: activations, the terms of a variational bound, and their gradients.
// A chain of CuPy's operations would pass over memory once for each operation.
#include "common.cuh"
#include "vectors.cuh"

// log(1 + e^x), without overflow.
__device__ __forceinline__ float log_one_plus_exp(float x)
{
    return fmaxf(x, 0.f) + log1pf(expf(-fabsf(x)));
}

// The normal distribution function; erfc keeps the digits of its lower tail.
__device__ __forceinline__ float normal_cdf(float x)
{
    return 0.5f * erfcf(-0.70710678f * x);
}

extern "C" __global__ void sigmoid(long long n, float* y, const float* x)
{
    map(share_of_grid(), n, [](float x) { return logistic(x); }, y, x);
}

extern "C" __global__ void softplus(long long n, float* y, const float* x)
{
    map(share_of_grid(), n, [](float x) { return log_one_plus_exp(x); }, y, x);
}

extern "C" __global__ void silu(long long n, float* y, const float* x)
{
    map(share_of_grid(), n, [](float x) { return x * logistic(x); }, y, x);
}

extern "C" __global__ void silu_backward(long long n, float* dx, const float* g, const float* x)
{
    map(share_of_grid(), n, [](float g, float x) {
        const float s = logistic(x);
        return g * (s * (1.f + x * (1.f - s)));
    }, dx, g, x);
}

extern "C" __global__ void gelu(long long n, float* y, const float* x)
{
    map(share_of_grid(), n, [](float x) { return x * normal_cdf(x); }, y, x);
}

extern "C" __global__ void gelu_backward(long long n, float* dx, const float* g, const float* x)
{
    map(share_of_grid(), n, [](float g, float x) {
        const float density = 0.39894228f * expf(-0.5f * x * x);
        return g * (normal_cdf(x) + x * density);
    }, dx, g, x);
}

// A row has its two halves one after the other.
extern "C" __global__ void gated_tanh(long long n, long long half, float* y, const float* x)
{
    const Share share = share_of_grid();
    for (long long i = share.thread; i < n; i += share.threads) {
        const float* const row = x + i / half * 2 * half + i % half;
        y[i] = tanhf(row[0]) * logistic(row[half]);
    }
}

extern "C" __global__ void gated_tanh_backward(long long n, long long half, float* dx, const float* g, const float* x)
{
    const Share share = share_of_grid();
    for (long long i = share.thread; i < n; i += share.threads) {
        const long long at = i / half * 2 * half + i % half;
        const float t = tanhf(x[at]), s = logistic(x[at + half]);
        dx[at] = g[i] * s * (1.f - t * t);
        dx[at + half] = g[i] * t * (s * (1.f - s));
    }
}

extern "C" __global__ void leaky_relu_grad(long long n, float slope, float* y, const float* g, const float* switches)
{
    map(share_of_grid(), n, [=](float g, float on) { return leaky(g, on, slope); }, y, g, switches);
}

extern "C" __global__ void binary_cross_entropy_with_logits(long long n, float* y, float* difference, const float* x,
                                                            const float* target)
{
    map_to_two(share_of_grid(), n, [](float x, float t) {
        const float weight = x < 0.f ? t : 1.f - t;  // where it is 0, |x| may be infinite
        return Pack<2>{log1pf(expf(-fabsf(x))) + (weight == 0.f ? 0.f : weight * fabsf(x)), logistic(x) - t};
    }, y, difference, x, target);
}

extern "C" __global__ void gaussian_kl(long long n, float* y, const float* mean, const float* log_var)
{
    map(share_of_grid(), n, [](float m, float v) { return 0.5f * (m * m + expf(v) - v - 1.f); }, y, mean, log_var);
}

extern "C" __global__ void gaussian_kl_backward(long long n, float* dmean, float* dlog_var, const float* g,
                                                const float* mean, const float* log_var)
{
    map_to_two(share_of_grid(), n, [](float g, float m, float v) {
        return Pack<2>{g * m, 0.5f * g * (expf(v) - 1.f)};
    }, dmean, dlog_var, g, mean, log_var);
}

extern "C" __global__ void reparameterize(long long n, float* y, float* deviation, const float* mean,
                                          const float* log_var, const float* noise)
{
    map_to_two(share_of_grid(), n, [](float m, float v, float e) {
        const float d = expf(0.5f * v) * e;
        return Pack<2>{m + d, d};
    }, y, deviation, mean, log_var, noise);
}

extern "C" __global__ void reparameterize_backward(long long n, float* dlog_var, const float* g,
                                                   const float* deviation)
{
    map(share_of_grid(), n, [](float g, float d) { return 0.5f * g * d; }, dlog_var, g, deviation);
}
