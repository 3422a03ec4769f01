// Philox4x32-10, a counter-based generator (Salmon et al. 2011), and the numbers that `tinygen.random` makes of its
// words: a thread encrypts a counter and makes four numbers.
#include "vectors.cuh"

struct Key {
    unsigned of[2];
};

// Low and high 64 bits; only the low half counts up.
struct Counter {
    unsigned long long low, high;
};

template <typename T>
struct alignas(16) Four {
    T of[4];
};

__device__ __forceinline__ Four<unsigned> encrypted(Key key, Counter counter)
{
    unsigned c0 = counter.low, c1 = counter.low >> 32, c2 = counter.high, c3 = counter.high >> 32;
#pragma unroll
    for (int round = 0; round < 10; ++round) {
        const unsigned high0 = __umulhi(0xD2511F53u, c0), low0 = 0xD2511F53u * c0;
        const unsigned high1 = __umulhi(0xCD9E8D57u, c2), low1 = 0xCD9E8D57u * c2;
        c0 = high1 ^ c1 ^ key.of[0];
        c1 = low1;
        c2 = high0 ^ c3 ^ key.of[1];
        c3 = low0;
        key.of[0] += 0x9E3779B9u;
        key.of[1] += 0xBB67AE85u;
    }
    return {{c0, c1, c2, c3}};
}

// Writes n numbers y, four for each counter from `counter` on, as f(words, index of the first) gives them. In a
// captured step `base` is added to the counter, word by word.
template <typename T, typename F>
__device__ __forceinline__ void draw(Key key, Counter counter, const Counter* base, long long n, T* y, F f)
{
    if (base) {
        counter.low += base->low;
        counter.high += base->high;
    }
    const Share share = share_of_grid();
    for (long long i = share.thread; 4 * i < n; i += share.threads) {
        const Four<T> numbers = f(encrypted(key, {counter.low + i, counter.high}), 4 * i);
        if (4 * i + 4 <= n) {
            *reinterpret_cast<Four<T>*>(y + 4 * i) = numbers;
        } else {
#pragma unroll
            for (int j = 0; j < 4; ++j)
                if (4 * i + j < n) y[4 * i + j] = numbers.of[j];
        }
    }
}

// (k + 0.5) 2^-24 of the upper 24 bits k, rounded to nearest even; the top value stays below one.
__device__ __forceinline__ float unit_interval(unsigned word)
{
    return fminf((static_cast<float>(word >> 8) + 0.5f) * 0x1p-24f, 0x1.fffffep-1f);
}

// (k + 0.5) 2^-24 of the upper 24 bits k, exactly.
__device__ __forceinline__ double exact_unit_interval(unsigned word)
{
    return (static_cast<double>(word >> 8) + 0.5) * 0x1p-24;
}

extern "C" __global__ void philox(Key key, Counter counter, const Counter* base, long long n, unsigned* y)
{
    draw(key, counter, base, n, y, [](const Four<unsigned>& words, long long) { return words; });
}

extern "C" __global__ void uniform(Key key, Counter counter, const Counter* base, long long n, float* y)
{
    draw(key, counter, base, n, y, [](const Four<unsigned>& words, long long) {
        Four<float> numbers;
#pragma unroll
        for (int j = 0; j < 4; ++j) numbers.of[j] = unit_interval(words.of[j]);
        return numbers;
    });
}

// Box and Muller (1958), in float64: words 2i and 2i + 1 give numbers 2i and 2i + 1.
extern "C" __global__ void normal(Key key, Counter counter, const Counter* base, long long n, float* y)
{
    draw(key, counter, base, n, y, [](const Four<unsigned>& words, long long) {
        Four<float> numbers;
#pragma unroll
        for (int j = 0; j < 4; j += 2) {
            const double radius = sqrt(-2. * log(exact_unit_interval(words.of[j])));
            double sine, cosine;
            sincospi(2. * exact_unit_interval(words.of[j + 1]), &sine, &cosine);
            numbers.of[j] = radius * cosine;
            numbers.of[j + 1] = radius * sine;
        }
        return numbers;
    });
}

extern "C" __global__ void bernoulli(Key key, Counter counter, const Counter* base, long long n, float* y,
                                     const float* probability)
{
    draw(key, counter, base, n, y, [=](const Four<unsigned>& words, long long first) {
        Four<float> numbers{};
#pragma unroll
        for (int j = 0; j < 4; ++j)
            if (first + j < n) numbers.of[j] = unit_interval(words.of[j]) < probability[first + j];
        return numbers;
    });
}

// word * high / 2^32, rounded down.
extern "C" __global__ void integers(Key key, Counter counter, const Counter* base, long long n, long long* y,
                                    unsigned long long high)
{
    draw(key, counter, base, n, y, [=](const Four<unsigned>& words, long long) {
        Four<long long> numbers;
#pragma unroll
        for (int j = 0; j < 4; ++j) numbers.of[j] = words.of[j] * high >> 32;
        return numbers;
    });
}
