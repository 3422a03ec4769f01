// Normalisation, scale and shift and a leaky ReLU. An array is (samples, positions, groups, channels), with statistics
// over positions and channels; the groups * channels numbers of a position are its columns, each with its own scale and
// shift. Where positions and groups are 1, a sample is a row.
//
// Sums are taken about a number near the mean: a mean that is large beside the deviation costs no digits.
// Of the arrays of the size of x, only x is kept for backward, which computes again the signs before the leaky ReLU.
#include "columns.cuh"
#include "rows.cuh"

struct Affine {
    float mean, inverse, scale, shift;

    __device__ __forceinline__ float normal(float x) const { return (x - mean) * inverse; }
    __device__ __forceinline__ float before(float x) const { return normal(x) * scale + shift; }
    __device__ __forceinline__ float forward(float x, float slope) const
    {
        return leaky_relu(before(x), slope);
    }
    __device__ __forceinline__ float backward(float g, float x, float slope) const
    {
        return leaky(g, before(x), slope);
    }
};

// Normalisation by columns.

__device__ __forceinline__ long long group_of(const Tile& tile, int j, int groups, int channels)
{
    return tile.sample * groups + (tile.column + j) / channels;
}

template <int N>
__device__ __forceinline__ void load_affine(Affine (&affine)[N], const Tile& tile, int groups, int channels,
                                            const float* mean, const float* inverse, const float* scale,
                                            const float* shift)
{
    if (!tile.inside) return;
#pragma unroll
    for (int j = 0; j < N; ++j) {
        const long long group = group_of(tile, j, groups, channels);
        affine[j] = {mean[group], inverse[group], scale[tile.column + j], shift[tile.column + j]};
    }
}

// The mean of the first blockDim.y rows of a tile; every thread gets it.
template <int N>
__device__ __forceinline__ Pack<N> mean_of_first_rows(const Tile& tile, const float* x, int columns, bool packed)
{
    __shared__ Pack<N> means[TILE_THREADS];
    Pack<N> mean{};
    if (tile.first < tile.last) mean = load<N>(x + static_cast<long long>(tile.first) * columns, packed);
    mean = combine_rows(mean, sum<N>);
    if (threadIdx.y == 0) {
        const int count = min(static_cast<int>(blockDim.y), tile.last - tile.first);
#pragma unroll
        for (int j = 0; j < N; ++j) mean.at[j] /= count;
        means[threadIdx.x] = mean;
    }
    __syncthreads();
    return means[threadIdx.x];
}

// Count, mean, and the sum of squares about the mean (Welford 1962); `merged` unites two sets (Chan et al. 1983).
struct Moments {
    float count, mean, squares;

    __device__ __forceinline__ void add(float x, float inverse_count)
    {
        const float difference = x - mean;
        mean += difference * inverse_count;
        squares += difference * (x - mean);
    }

    __device__ __forceinline__ static Moments merged(Moments a, const Moments& b)
    {
        if (b.count == 0.f) return a;
        const float count = a.count + b.count, difference = b.mean - a.mean, share = b.count / count;
        return {count, a.mean + difference * share, a.squares + b.squares + difference * difference * a.count * share};
    }
};

// Writes moments (samples, chunks, 3, columns): for each column of a chunk an origin, mean - origin, and the squares.
template <int N>
__global__ void measure(int positions, int groups, int channels, int length, const float* x, float* moments)
{
    const int columns = groups * channels;
    const Tile tile = tile_of_block<N>(positions, columns, length);
    const bool packed = aligned(x, moments);
    x += tile.sample * positions * columns + tile.column;
    const Pack<N> origin = mean_of_first_rows<N>(tile, x, columns, packed);
    Moments own[N] = {};
    float count = 0.f;
#pragma unroll 4
    for (long long row = tile.first; row < tile.last; row += blockDim.y) {
        const Pack<N> values = load<N>(x + row * columns, packed);
        count += 1.f;
        const float inverse_count = 1.f / count;
#pragma unroll
        for (int j = 0; j < N; ++j) own[j].add(values.at[j] - origin.at[j], inverse_count);
    }
    Pack<N> mean, squares;
#pragma unroll
    for (int j = 0; j < N; ++j) {
        own[j].count = count;
        own[j] = combine_rows(own[j], Moments::merged);
        mean.at[j] = own[j].mean;
        squares.at[j] = own[j].squares;
    }
    if (threadIdx.y || !tile.inside) return;
    moments += 3 * tile.part * columns + tile.column;
    store<N>(moments, origin, packed);
    store<N>(moments + columns, mean, packed);
    store<N>(moments + 2 * columns, squares, packed);
}

// Merges the moments of the columns of a group in all chunks; `threads` threads share a group.
template <unsigned threads>
__global__ void merge(long long samples, int positions, int groups, int channels, int length, double eps,
                      const float* moments, float* mean, float* var, float* inverse)
{
    const int columns = groups * channels, chunks = ceil_div(positions, length);
    for_each_row<threads>(samples * groups, [=](long long index, Share share) {
        const float* own = moments + 3 * (index / groups) * chunks * columns + index % groups * channels;
        // body(rows, mean, squares) for each column of the group in each chunk.
        auto for_each_part = [=](auto body) {
            for (int i = share.thread; i < chunks * channels; i += threads) {
                const int chunk = i / channels, channel = i % channels;
                const float* part = own + 3ll * chunk * columns + channel;
                const int rows = min(length, positions - chunk * length);
                body(double(rows), double(part[0]) + part[columns], part[2 * columns]);
            }
        };
        const double weight = 1. / (double(positions) * channels);
        double total = 0., squares = 0.;
        for_each_part([&](double rows, double centre, float) { total += rows * centre; });
        total = row_reduce<Sum, threads>(total) * weight;
        for_each_part([&](double rows, double centre, float about_centre) {
            squares += about_centre + rows * (centre - total) * (centre - total);
        });
        squares = row_reduce<Sum, threads>(squares) * weight;
        if (share.thread) return;
        mean[index] = total;
        var[index] = squares;
        inverse[index] = 1. / sqrt(squares + eps);
    });
}

template <int N>
__global__ void apply(int positions, int groups, int channels, int length, float slope, const float* x,
                      const float* mean, const float* inverse, const float* scale, const float* shift, float* y)
{
    const int columns = groups * channels;
    const Tile tile = tile_of_block<N>(positions, columns, length);
    const bool packed = aligned(x, y);
    const long long start = tile.sample * positions * columns + tile.column;
    Affine affine[N];
    load_affine(affine, tile, groups, channels, mean, inverse, scale, shift);
#pragma unroll 4
    for (long long row = tile.first; row < tile.last; row += blockDim.y) {
        Pack<N> values = load<N>(x + start + row * columns, packed);
#pragma unroll
        for (int j = 0; j < N; ++j) values.at[j] = affine[j].forward(values.at[j], slope);
        store<N>(y + start + row * columns, values, packed);
    }
}

// Backward. Let d be the gradient before the leaky ReLU, z = (x - mean) * inverse and e = d * scale. Then
// dx = (e - mean(e) - z mean(e z)) * inverse (Ioffe & Szegedy 2015, section 3).

// Writes sums (samples, chunks, 2, columns) of d z and d in a chunk; statistics are of groups, or of rows (`by_row`).
template <int N, bool by_row>
__global__ void measure_backward(int positions, int groups, int channels, int length, float slope, const float* g,
                                 const float* x, const float* mean, const float* inverse, const float* scale,
                                 const float* shift, float* sums)
{
    const int columns = groups * channels;
    const Tile tile = tile_of_block<N>(positions, columns, length);
    const bool packed = aligned(g, x, sums);
    const long long start = tile.sample * positions * columns + tile.column;
    Affine affine[N];
    load_affine(affine, tile, groups, channels, mean, inverse, scale, shift);
    Pack<N> sum_dz{}, sum_d{};
#pragma unroll 4
    for (long long row = tile.first; row < tile.last; row += blockDim.y) {
        const Pack<N> gradients = load<N>(g + start + row * columns, packed);
        const Pack<N> values = load<N>(x + start + row * columns, packed);
#pragma unroll
        for (int j = 0; j < N; ++j) {
            if constexpr (by_row) affine[j].mean = mean[row], affine[j].inverse = inverse[row];
            const float d = affine[j].backward(gradients.at[j], values.at[j], slope);
            sum_dz.at[j] += d * affine[j].normal(values.at[j]);
            sum_d.at[j] += d;
        }
    }
    sum_dz = combine_rows(sum_dz, sum<N>);
    sum_d = combine_rows(sum_d, sum<N>);
    if (threadIdx.y || !tile.inside) return;
    sums += 2 * tile.part * columns + tile.column;
    store<N>(sums, sum_dz, packed);
    store<N>(sums + columns, sum_d, packed);
}

// From the sums of `measure_backward`, writes totals (samples, 2, columns) over all chunks, and mean(e) and mean(e z)
// of each group.
template <unsigned threads>
__global__ void merge_backward(long long samples, int positions, int groups, int channels, int length,
                               const float* sums, const float* scale, float* totals, float* mean_e, float* mean_ez)
{
    const int columns = groups * channels, chunks = ceil_div(positions, length);
    for_each_row<threads>(samples * groups, [=](long long index, Share share) {
        const long long sample = index / groups;
        const int first = index % groups * channels;
        float sum_ez = 0.f, sum_e = 0.f;
        for (int column = first; column < first + channels; ++column) {
            float sum_dz = 0.f, sum_d = 0.f;
            for (int chunk = share.thread; chunk < chunks; chunk += threads) {
                const float* part = sums + 2 * (sample * chunks + chunk) * columns + column;
                sum_dz += part[0];
                sum_d += part[columns];
            }
            sum_dz = row_reduce<Sum, threads>(sum_dz);
            sum_d = row_reduce<Sum, threads>(sum_d);
            sum_ez += sum_dz * scale[column];
            sum_e += sum_d * scale[column];
            if (share.thread) continue;
            totals[2 * sample * columns + column] = sum_dz;
            totals[(2 * sample + 1) * columns + column] = sum_d;
        }
        if (share.thread) return;
        const float count = float(positions) * channels;
        mean_e[index] = sum_e / count;
        mean_ez[index] = sum_ez / count;
    });
}

template <int N>
__global__ void apply_backward(int positions, int groups, int channels, int length, float slope, const float* g,
                               const float* x, const float* mean, const float* inverse, const float* scale,
                               const float* shift, const float* mean_e, const float* mean_ez, float* dx)
{
    const int columns = groups * channels;
    const Tile tile = tile_of_block<N>(positions, columns, length);
    if (!tile.inside) return;
    const bool packed = aligned(g, x, dx);
    const long long start = tile.sample * positions * columns + tile.column;
    Affine affine[N];
    load_affine(affine, tile, groups, channels, mean, inverse, scale, shift);
    Pack<N> e_mean, ez_mean;
#pragma unroll
    for (int j = 0; j < N; ++j) {
        const long long group = group_of(tile, j, groups, channels);
        e_mean.at[j] = mean_e[group];
        ez_mean.at[j] = mean_ez[group];
    }
#pragma unroll 4
    for (long long row = tile.first; row < tile.last; row += blockDim.y) {
        const Pack<N> gradients = load<N>(g + start + row * columns, packed);
        Pack<N> values = load<N>(x + start + row * columns, packed);
#pragma unroll
        for (int j = 0; j < N; ++j) {
            const float x = values.at[j], e = affine[j].backward(gradients.at[j], x, slope) * affine[j].scale;
            values.at[j] = (e - e_mean.at[j] - affine[j].normal(x) * ez_mean.at[j]) * affine[j].inverse;
        }
        store<N>(dx + start + row * columns, values, packed);
    }
}

// Normalisation by rows.

template <unsigned threads>
__global__ void normalize_rows(long long rows, long long columns, float eps, float slope, const float* x,
                               const float* scale, const float* shift, float* y, float* mean, float* var,
                               float* inverse)
{
    for_each_row<threads>(rows, [=](long long row, Share share) {
        const long long start = row * columns;
        const float weight = 1.f / columns;
        const float origin = row_sum<threads>(share, columns, [](float x) { return x; }, x + start) * weight;
        const float rest = row_sum<threads>(share, columns, [=](float x) { return x - origin; }, x + start) * weight;
        auto square = [=](float x) { return (x - origin - rest) * (x - origin - rest); };
        const float variance = row_sum<threads>(share, columns, square, x + start) * weight;
        const Affine own{origin + rest, 1.f / sqrtf(variance + eps)};
        auto result = [=](float x, float scale, float shift) {
            return Affine{own.mean, own.inverse, scale, shift}.forward(x, slope);
        };
        map(share, columns, result, y + start, x + start, scale, shift);
        if (share.thread) return;
        mean[row] = own.mean;
        var[row] = variance;
        inverse[row] = own.inverse;
    });
}

template <unsigned threads>
__global__ void normalize_rows_backward(long long rows, long long columns, float slope, const float* g,
                                        const float* x, const float* mean, const float* inverse, const float* scale,
                                        const float* shift, float* dx)
{
    for_each_row<threads>(rows, [=](long long row, Share share) {
        const long long start = row * columns;
        const float centre = mean[row], own_inverse = inverse[row], weight = 1.f / columns;
        auto e = [=](float g, float x, float scale, float shift) {
            return Affine{centre, own_inverse, scale, shift}.backward(g, x, slope) * scale;
        };
        auto z = [=](float x) { return (x - centre) * own_inverse; };
        auto ez = [=](float g, float x, float scale, float shift) { return e(g, x, scale, shift) * z(x); };
        const float mean_e = row_sum<threads>(share, columns, e, g + start, x + start, scale, shift) * weight;
        const float mean_ez = row_sum<threads>(share, columns, ez, g + start, x + start, scale, shift) * weight;
        auto gradient = [=](float g, float x, float scale, float shift) {
            return (e(g, x, scale, shift) - mean_e - z(x) * mean_ez) * own_inverse;
        };
        map(share, columns, gradient, dx + start, g + start, x + start, scale, shift);
    });
}
