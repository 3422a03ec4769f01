// Softmax and functions of it, over rows.
#include "rows.cuh"

struct Exponentials {
    float largest, sum;  // of a row x, and of exp(x - largest)
};

template <unsigned threads>
__device__ __forceinline__ Exponentials exponentials(Share share, long long columns, const float* x)
{
    float largest = Max::identity;
    for_each(share, columns, aligned(x), [&](auto width, long long i) {
        constexpr int N = decltype(width)::value;
        const Pack<N> values = load<N>(x + i);
#pragma unroll
        for (int j = 0; j < N; ++j) largest = fmaxf(largest, values.at[j]);
    });
    largest = row_reduce<Max, threads>(largest);
    return {largest, row_sum<threads>(share, columns, [=](float x) { return expf(x - largest); }, x)};
}

template <unsigned threads>
__global__ void softmax(long long rows, long long columns, const float* x, float* y)
{
    for_each_row<threads>(rows, [=](long long row, Share share) {
        const long long start = row * columns;
        const Exponentials e = exponentials<threads>(share, columns, x + start);
        const float scale = 1.f / e.sum;
        map(share, columns, [=](float x) { return expf(x - e.largest) * scale; }, y + start, x + start);
    });
}

template <unsigned threads>
__global__ void softmax_backward(long long rows, long long columns, const float* g, const float* y, float* dx)
{
    for_each_row<threads>(rows, [=](long long row, Share share) {
        const long long start = row * columns;
        auto product = [](float g, float y) { return g * y; };
        const float along = row_sum<threads>(share, columns, product, g + start, y + start);
        map(share, columns, [=](float g, float y) { return y * (g - along); }, dx + start, g + start, y + start);
    });
}

template <unsigned threads>
__global__ void log_softmax(long long rows, long long columns, const float* x, float* y)
{
    for_each_row<threads>(rows, [=](long long row, Share share) {
        const long long start = row * columns;
        const Exponentials e = exponentials<threads>(share, columns, x + start);
        const float shift = logf(e.sum);
        map(share, columns, [=](float x) { return (x - e.largest) - shift; }, y + start, x + start);
    });
}

template <unsigned threads>
__global__ void log_softmax_backward(long long rows, long long columns, const float* g, const float* y, float* dx)
{
    for_each_row<threads>(rows, [=](long long row, Share share) {
        const long long start = row * columns;
        const float sum = row_sum<threads>(share, columns, [](float g) { return g; }, g + start);
        map(share, columns, [=](float g, float y) { return g - expf(y) * sum; }, dx + start, g + start, y + start);
    });
}

// A target outside the classes gives NaN, and no memory is read for it.
template <unsigned threads>
__global__ void cross_entropy(long long rows, long long columns, const float* x, const long long* target,
                              float* probability, float* y)
{
    for_each_row<threads>(rows, [=](long long row, Share share) {
        const long long start = row * columns, own = target[row];
        const Exponentials e = exponentials<threads>(share, columns, x + start);
        const float scale = 1.f / e.sum;
        map(share, columns, [=](float x) { return expf(x - e.largest) * scale; }, probability + start, x + start);
        if (share.thread == 0)
            y[row] = own >= 0 && own < columns ? logf(e.sum) - (x[start + own] - e.largest) : nanf("");
    });
}

template <unsigned threads>
__global__ void cross_entropy_backward(long long rows, long long columns, const float* g, const float* probability,
                                       const long long* target, float* dx)
{
    for_each_row<threads>(rows, [=](long long row, Share share) {
        const float scale = g[row];
        const long long start = row * columns, own = target[row];
        for_each(share, columns, aligned(dx + start, probability + start), [&](auto width, long long i) {
            constexpr int N = decltype(width)::value;
            Pack<N> values = load<N>(probability + start + i);
#pragma unroll
            for (int j = 0; j < N; ++j) values.at[j] = scale * (values.at[j] - (i + j == own ? 1.f : 0.f));
            store<N>(dx + start + i, values);
        });
    });
}
