// Attention: a block has some rows of a matrix, a row for each warp, and walks through the rows of the other side in
// tiles of as many as a warp has lanes. A lane first makes the product of the warp's row with a row of the tile, and
// then some features of the sum of the tile's rows, weighted by all products.
#include "common.cuh"

constexpr unsigned ROWS = 8;  // warps of a block
constexpr int TILE = WARP;

// The mask is of bools or of floats, or there is none; its rows and columns are so many elements apart.
struct Attention {
    long long mask_row, mask_column;
    int queries, keys, channels, features, causal;
    float scale;
};

struct Mask {
    const bool* bools;
    const float* floats;
    const long long* starts;  // of each matrix
};

// A block's matrix, its first row, and the row of this warp; `rows` of a side are cut into blocks.
struct Place {
    int matrix, first, row, lane, warp;

    __device__ __forceinline__ explicit Place(int rows)
    {
        const int blocks = ceil_div(rows, int(ROWS));
        matrix = blockIdx.x / blocks;
        first = blockIdx.x % blocks * ROWS;
        lane = threadIdx.x % WARP;
        warp = threadIdx.x / WARP;
        row = first + warp;
    }
};

__device__ __forceinline__ float minus_infinity()
{
    return __uint_as_float(0xff800000u);
}

// The scaled and masked product of a query and a key: -infinity where the query may not look.
__device__ __forceinline__ float score(const Attention& a, const Mask& mask, int matrix, int query, int key,
                                       float product)
{
    if (a.causal && key > query) return minus_infinity();
    float s = product * a.scale;
    if (mask.starts) {
        const long long at = mask.starts[matrix] + query * a.mask_row + key * a.mask_column;
        if (mask.floats) s += mask.floats[at];
        else if (!mask.bools[at]) s = minus_infinity();
    }
    return s;
}

// Copies rows [first, first + TILE) of a matrix, `pitch` floats apart, with zeros for those that do not exist.
__device__ __forceinline__ void copy_tile(float* tile, int pitch, const float* matrix, int first, int rows, int columns)
{
    for (int i = threadIdx.x; i < TILE * columns; i += ROWS * WARP) {
        const int row = i / columns, column = i % columns;
        const long long place = static_cast<long long>(first + row) * columns + column;
        tile[row * pitch + column] = first + row < rows ? matrix[place] : 0.f;
    }
}

// Copies a row to shared memory, by the lanes of a warp; zeros if it does not exist.
__device__ __forceinline__ void copy_row(float* target, const float* source, int lane, int columns, bool exists)
{
    for (int i = lane; i < columns; i += WARP) target[i] = exists ? source[i] : 0.f;
}

__device__ __forceinline__ float dot(const float* a, const float* b, int n)
{
    float sum = 0.f;
    for (int i = 0; i < n; ++i) sum += a[i] * b[i];
    return sum;
}

// sums = sums * factor + the sum of the tile's rows, each times the weight of its lane.
__device__ __forceinline__ void add_weighted(float* sums, float factor, float weight, const float* tile, int pitch,
                                             int lane, int columns)
{
    for (int start = 0; start < columns; start += WARP) {
        const int column = start + lane;
        float sum = 0.f;
        for (int row = 0; row < TILE; ++row) {
            const float w = __shfl_sync(ALL_LANES, weight, row);
            if (column < columns) sum += w * tile[row * pitch + column];
        }
        if (column < columns) sums[column] = sums[column] * factor + sum;
    }
}

extern "C" __global__ void attention(Attention a, const float* query, const float* key, const float* value,
                                     const bool* bools, const float* floats, const long long* starts,
                                     float* y, float* log_sums)
{
    DYNAMIC_SHARED(float, shared);
    const Place place(a.queries);
    const Mask mask{bools, floats, starts};
    const int pitch = a.channels + 1;
    float* const keys = shared;
    float* const values = keys + TILE * pitch;
    float* const own = values + TILE * a.features + place.warp * (a.channels + a.features);
    float* const sums = own + a.channels;
    const bool exists = place.row < a.queries;
    const long long row = static_cast<long long>(place.matrix) * a.queries + place.row;
    const long long matrix_keys = static_cast<long long>(place.matrix) * a.keys;
    copy_row(own, query + row * a.channels, place.lane, a.channels, exists);
    copy_row(sums, nullptr, place.lane, a.features, false);
    float largest = minus_infinity(), total = 0.f;
    const int end = a.causal ? min(a.keys, place.first + int(ROWS)) : a.keys;
    for (int first = 0; first < end; first += TILE) {
        __syncthreads();  // no warp still reads the tile before
        copy_tile(keys, pitch, key + matrix_keys * a.channels, first, a.keys, a.channels);
        copy_tile(values, a.features, value + matrix_keys * a.features, first, a.keys, a.features);
        __syncthreads();
        const int j = first + place.lane;
        const float product = dot(own, keys + place.lane * pitch, a.channels);
        const float s = exists && j < a.keys ? score(a, mask, place.matrix, place.row, j, product) : minus_infinity();
        const float top = fmaxf(largest, warp_reduce<Max>(s)), shift = top == minus_infinity() ? 0.f : top;
        const float weight = expf(s - shift), factor = expf(largest - shift);
        total = total * factor + warp_reduce<Sum>(weight);
        largest = top;
        add_weighted(sums, factor, weight, values, a.features, place.lane, a.features);
    }
    if (!exists) return;
    for (int i = place.lane; i < a.features; i += WARP) y[row * a.features + i] = sums[i] / total;
    if (place.lane == 0) log_sums[row] = largest + logf(total);
}

// Writes the gradient of the queries, and the inner product of each output and its gradient.
extern "C" __global__ void attention_query_grad(Attention a, const float* g, const float* query, const float* key,
                                                const float* value, const bool* bools, const float* floats,
                                                const long long* starts, const float* y, const float* log_sums,
                                                float* along, float* query_grad)
{
    DYNAMIC_SHARED(float, shared);
    const Place place(a.queries);
    const Mask mask{bools, floats, starts};
    const int pitch = a.channels + 1, value_pitch = a.features + 1;
    float* const keys = shared;
    float* const values = keys + TILE * pitch;
    float* const own = values + TILE * value_pitch + place.warp * (2 * a.channels + a.features);
    float* const gradient = own + a.channels;
    float* const sums = gradient + a.features;
    const bool exists = place.row < a.queries;
    const long long row = static_cast<long long>(place.matrix) * a.queries + place.row;
    const long long matrix_keys = static_cast<long long>(place.matrix) * a.keys;
    copy_row(own, query + row * a.channels, place.lane, a.channels, exists);
    copy_row(gradient, g + row * a.features, place.lane, a.features, exists);
    copy_row(sums, nullptr, place.lane, a.channels, false);
    float part = 0.f;
    if (exists)
        for (int i = place.lane; i < a.features; i += WARP) part += gradient[i] * y[row * a.features + i];
    const float inner = warp_reduce<Sum>(part), log_sum = exists ? log_sums[row] : 0.f;
    const int end = a.causal ? min(a.keys, place.first + int(ROWS)) : a.keys;
    for (int first = 0; first < end; first += TILE) {
        __syncthreads();  // no warp still reads the tile before
        copy_tile(keys, pitch, key + matrix_keys * a.channels, first, a.keys, a.channels);
        copy_tile(values, value_pitch, value + matrix_keys * a.features, first, a.keys, a.features);
        __syncthreads();
        const int j = first + place.lane;
        float d = 0.f;
        if (exists && j < a.keys) {
            const float product = dot(own, keys + place.lane * pitch, a.channels);
            const float weight = expf(score(a, mask, place.matrix, place.row, j, product) - log_sum);
            d = weight * (dot(gradient, values + place.lane * value_pitch, a.features) - inner) * a.scale;
        }
        add_weighted(sums, 1.f, d, keys, pitch, place.lane, a.channels);
    }
    if (!exists) return;
    for (int i = place.lane; i < a.channels; i += WARP) query_grad[row * a.channels + i] = sums[i];
    if (place.lane == 0) along[row] = inner;
}

// Writes the gradients of the keys and the values.
extern "C" __global__ void attention_key_grad(Attention a, const float* g, const float* query, const float* key,
                                              const float* value, const bool* bools, const float* floats,
                                              const long long* starts, const float* log_sums, const float* along,
                                              float* key_grad, float* value_grad)
{
    DYNAMIC_SHARED(float, shared);
    const Place place(a.keys);
    const Mask mask{bools, floats, starts};
    const int pitch = a.channels + 1, value_pitch = a.features + 1;
    float* const queries = shared;
    float* const gradients = queries + TILE * pitch;
    float* const own_key = gradients + TILE * value_pitch + place.warp * 2 * (a.channels + a.features);
    float* const own_value = own_key + a.channels;
    float* const key_sums = own_value + a.features;
    float* const value_sums = key_sums + a.channels;
    const bool exists = place.row < a.keys;
    const long long row = static_cast<long long>(place.matrix) * a.keys + place.row;
    const long long matrix_queries = static_cast<long long>(place.matrix) * a.queries;
    copy_row(own_key, key + row * a.channels, place.lane, a.channels, exists);
    copy_row(own_value, value + row * a.features, place.lane, a.features, exists);
    copy_row(key_sums, nullptr, place.lane, a.channels, false);
    copy_row(value_sums, nullptr, place.lane, a.features, false);
    for (int first = a.causal ? place.first / TILE * TILE : 0; first < a.queries; first += TILE) {
        __syncthreads();  // no warp still reads the tile before
        copy_tile(queries, pitch, query + matrix_queries * a.channels, first, a.queries, a.channels);
        copy_tile(gradients, value_pitch, g + matrix_queries * a.features, first, a.queries, a.features);
        __syncthreads();
        const int i = first + place.lane;
        float weight = 0.f, d = 0.f;
        if (exists && i < a.queries) {
            const float product = dot(own_key, queries + place.lane * pitch, a.channels);
            weight = expf(score(a, mask, place.matrix, i, place.row, product) - log_sums[matrix_queries + i]);
            const float through = dot(own_value, gradients + place.lane * value_pitch, a.features);
            d = weight * (through - along[matrix_queries + i]) * a.scale;
        }
        add_weighted(key_sums, 1.f, d, queries, pitch, place.lane, a.channels);
        add_weighted(value_sums, 1.f, weight, gradients, value_pitch, place.lane, a.features);
    }
    if (!exists) return;
    for (int i = place.lane; i < a.channels; i += WARP) key_grad[row * a.channels + i] = key_sums[i];
    for (int i = place.lane; i < a.features; i += WARP) value_grad[row * a.features + i] = value_sums[i];
}
