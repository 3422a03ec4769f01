// Update rules over flat buffers, and the norm of the gradient. Gradients are read where backward left them, many
// arrays in a launch; their addresses, and how they are cut into blocks, are passed by value.
#include "common.cuh"
#include "vectors.cuh"

constexpr int ARRAYS = 128;         // most arrays of a launch
constexpr int BLOCK_NUMBERS = 4096;  // most numbers of a block
constexpr unsigned BLOCK_THREADS = 256;

struct Addresses {
    float* of[ARRAYS];
};

struct Cuts {
    long long begin[ARRAYS + 1]; // of each array, counted over all arrays; last, the end of all
    int block[ARRAYS + 1];        // the first block of each array, counted over all launches
    int arrays;
};

struct Piece {
    int array, block, count;  // `block` counts over all launches
    long long start;          // in the array
};

__device__ __forceinline__ Piece piece_of_block(const Cuts& cuts)
{
    const int block = cuts.block[0] + blockIdx.x;
    int low = 0, high = cuts.arrays;
    while (high - low > 1) {
        const int middle = (low + high) / 2;
        if (cuts.block[middle] <= block) low = middle;
        else high = middle;
    }
    const long long start = static_cast<long long>(block - cuts.block[low]) * BLOCK_NUMBERS;
    const long long left = cuts.begin[low + 1] - cuts.begin[low] - start;
    return {low, block, static_cast<int>(min(left, static_cast<long long>(BLOCK_NUMBERS))), start};
}

__device__ __forceinline__ Share share_of_block()
{
    return {threadIdx.x, BLOCK_THREADS};
}

// NaN stays NaN.
__device__ __forceinline__ float clipped(float x, float bound)
{
    return x < -bound ? -bound : x > bound ? bound : x;
}

// A state that decays below the smallest normal number becomes zero.
__device__ __forceinline__ float normal(float x)
{
    return fabsf(x) < 1.17549435e-38f ? 0.f : x;
}

struct Sgd {
    float factor, bound, rate, momentum, decay, nesterov;

    __device__ explicit Sgd(const float* s)
        : factor(s[0]), bound(s[1]), rate(s[2]), momentum(s[3]), decay(s[4]), nesterov(s[5])
    {
    }

    __device__ void operator()(float& p, float gradient, float& velocity, float&) const
    {
        const float g = factor * clipped(gradient, bound) + decay * p;
        velocity = normal(momentum * velocity + g);
        p -= rate * (nesterov * (g + momentum * velocity) + (1.f - nesterov) * velocity);
    }
};

struct Adagrad {
    float factor, bound, rate, eps, decay;

    __device__ explicit Adagrad(const float* s) : factor(s[0]), bound(s[1]), rate(s[2]), eps(s[3]), decay(s[4]) {}

    __device__ void operator()(float& p, float gradient, float& square, float&) const
    {
        const float g = factor * clipped(gradient, bound) + decay * p;
        square = normal(square + g * g);
        p -= rate * g / (sqrtf(square) + eps);
    }
};

struct RmsProp {
    float factor, bound, rate, alpha, eps, decay;

    __device__ explicit RmsProp(const float* s)
        : factor(s[0]), bound(s[1]), rate(s[2]), alpha(s[3]), eps(s[4]), decay(s[5])
    {
    }

    __device__ void operator()(float& p, float gradient, float& square, float&) const
    {
        const float g = factor * clipped(gradient, bound) + decay * p;
        square = normal(alpha * square + (1.f - alpha) * g * g);
        p -= rate * g / (sqrtf(square) + eps);
    }
};

// root = 1 / sqrt(1 - beta2^t) corrects the bias; shrink is the factor of a weight decay that bypasses the gradient.
struct Adam {
    float factor, bound, rate, beta1, beta2, root, eps, decay, shrink;

    __device__ explicit Adam(const float* s)
        : factor(s[0]), bound(s[1]), rate(s[2]), beta1(s[3]), beta2(s[4]), root(s[5]), eps(s[6]), decay(s[7]),
          shrink(s[8])
    {
    }

    __device__ void operator()(float& p, float gradient, float& mean, float& square) const
    {
        p *= shrink;
        const float g = factor * clipped(gradient, bound) + decay * p;
        mean = normal(beta1 * mean + (1.f - beta1) * g);
        square = normal(beta2 * square + (1.f - beta2) * g * g);
        p -= rate * mean / (sqrtf(square) * root + eps);
    }
};

// Updates the parameter and its one or two state arrays by a rule; `second` is null for a rule with one.
template <typename Rule>
__global__ void update(Addresses gradients, Cuts cuts, float* parameter, float* first, float* second,
                       const float* scalars)
{
    const Rule rule(scalars);
    const Piece piece = piece_of_block(cuts);
    const float* gradient = gradients.of[piece.array] + piece.start;
    const long long start = cuts.begin[piece.array] + piece.start;
    parameter += start;
    first += start;
    if (second) second += start;
    for_each(share_of_block(), piece.count, aligned(gradient, parameter, first, second), [=](auto width, long long i) {
        constexpr int N = decltype(width)::value;
        const Pack<N> g = load<N>(gradient + i);
        Pack<N> p = load<N>(parameter + i), m = load<N>(first + i), v{};
        if (second) v = load<N>(second + i);
#pragma unroll
        for (int j = 0; j < N; ++j) rule(p.at[j], g.at[j], m.at[j], v.at[j]);
        store<N>(parameter + i, p);
        store<N>(first + i, m);
        if (second) store<N>(second + i, v);
    });
}

// average <- average + share * (parameter - average); the share is 1 - keep where that is given on the device.
extern "C" __global__ void ema(Addresses averages, Addresses parameters, Cuts cuts, float share, const float* keep)
{
    const Piece piece = piece_of_block(cuts);
    float* average = averages.of[piece.array] + piece.start;
    const float* parameter = parameters.of[piece.array] + piece.start;
    if (keep) share = 1.f - *keep;
    map(share_of_block(), piece.count, [=](float a, float p) { return a + share * (p - a); }, average, average,
        parameter);
}

// The sum of the squares of a block's numbers, clipped to +-bound; NaN where one is not finite. It is in float64, in
// which the squares of all finite numbers are finite. The bound may be given on the device.
extern "C" __global__ void sum_squares(Addresses arrays, Cuts cuts, float bound, const float* given, double* sums)
{
    const Piece piece = piece_of_block(cuts);
    const float* x = arrays.of[piece.array] + piece.start;
    if (given) bound = *given;
    double sum = 0.;
    for_each(share_of_block(), piece.count, aligned(x), [&](auto width, long long i) {
        constexpr int N = decltype(width)::value;
        const Pack<N> values = load<N>(x + i);
#pragma unroll
        for (int j = 0; j < N; ++j) {
            const double value = clipped(values.at[j], bound);
            const double nan_or_zero = values.at[j] - values.at[j];  // NaN for an infinite number, and for NaN
            sum += value * value + nan_or_zero;
        }
    });
    sum = block_reduce<Sum, BLOCK_THREADS>(sum);
    if (threadIdx.x == 0) sums[piece.block] = sum;
}

extern "C" __global__ void root_of_sum(int count, const double* sums, float* root)
{
    double sum = 0.;
    for (int i = threadIdx.x; i < count; i += BLOCK_THREADS) sum += sums[i];
    sum = block_reduce<Sum, BLOCK_THREADS>(sum);
    if (threadIdx.x == 0) *root = sqrt(sum);
}
