// Attention: each warp of a block has some rows of a matrix, and walks with the others through the rows of the other
// side, in tiles of as many as it has lanes. A lane first makes the products of the warp's rows with a row of the tile,
// and then some features of the sums of the tile's rows, weighted by all products. In shared memory, rows are filled up
// with zeros to whole packs of four floats.
#include "common.cuh"
#include "vectors.cuh"

constexpr int WARPS = 4, EACH = 4, ROWS = WARPS * EACH;  // warps of a block, rows of a warp, and of a block
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

// A row in shared memory, in floats, and the distance of rows in a tile, in which few of them share banks.
__device__ __forceinline__ int row_size(int columns)
{
    return ceil_div(columns, 4) * 4;
}

__device__ __forceinline__ int pitch_of(int columns)
{
    return row_size(columns) + 4;
}

// A block's matrix, its first row, and the first row of this warp; the rows of a side are cut into blocks.
struct Place {
    int matrix, first, row, lane, warp;

    __device__ __forceinline__ explicit Place(int rows)
    {
        const int blocks = ceil_div(rows, ROWS);
        matrix = blockIdx.x / blocks;
        first = blockIdx.x % blocks * ROWS;
        lane = threadIdx.x % WARP;
        warp = threadIdx.x / WARP;
        row = first + warp * EACH;
    }
};

// Hands out the dynamic shared memory of a block, first for all, then for each warp.
struct Memory {
    float* next;

    __device__ __forceinline__ float* of_block(int size)
    {
        next += size;
        return next - size;
    }
    __device__ __forceinline__ float* of_warp(int size, const Place& place)
    {
        return of_block(WARPS * size) + place.warp * size;
    }
};

__device__ __forceinline__ float minus_infinity()
{
    return __uint_as_float(0xff800000u);
}

// The scaled and masked product of a query and a key: -infinity where the query may not look, or one does not exist.
__device__ __forceinline__ float score(const Attention& a, const Mask& mask, int matrix, int query, int key,
                                       float product)
{
    if (query >= a.queries || key >= a.keys || (a.causal && key > query)) return minus_infinity();
    float s = product * a.scale;
    if (mask.starts) {
        const long long at = mask.starts[matrix] + query * a.mask_row + key * a.mask_column;
        if (mask.floats) s += mask.floats[at];
        else if (!mask.bools[at]) s = minus_infinity();
    }
    return s;
}

// Copies `count` rows of a matrix from row `first` on, `pitch` floats apart, with zeros for what does not exist.
__device__ __forceinline__ void copy_rows(Share share, float* target, int pitch, const float* matrix, int first,
                                          int count, int rows, int columns)
{
    const int size = row_size(columns);
    for (int i = share.thread; i < count * size; i += share.threads) {
        const int row = i / size, column = i % size;
        const long long place = static_cast<long long>(first + row) * columns + column;
        target[row * pitch + column] = first + row < rows && column < columns ? matrix[place] : 0.f;
    }
}

// Zeros for the sums of a warp: each lane those features that it adds to.
__device__ __forceinline__ void clear_sums(float* sums, int lane, int columns)
{
    for (int i = lane; i < columns; i += WARP)
#pragma unroll
        for (int r = 0; r < EACH; ++r) sums[r * columns + i] = 0.f;
}

// The products of the warp's rows with one row of a tile.
__device__ __forceinline__ Pack<EACH> products(const float* own, const float* other, int columns)
{
    const int size = row_size(columns);
    Pack<EACH> sums = {};
    for (int i = 0; i < size; i += 4) {
        const Pack<4> b = load<4>(other + i);
#pragma unroll
        for (int r = 0; r < EACH; ++r) {
            const Pack<4> a = load<4>(own + r * size + i);
#pragma unroll
            for (int k = 0; k < 4; ++k) sums.at[r] += a.at[k] * b.at[k];
        }
    }
    return sums;
}

// sums = sums * factor + the sum of the tile's rows, each times the weights of its lane, for each row of the warp.
__device__ __forceinline__ void add_weighted(float* sums, Pack<EACH> factors, const float* weights, const float* tile,
                                             int lane, int columns)
{
    const int pitch = pitch_of(columns);
    for (int column = lane; column < columns; column += WARP) {
        Pack<EACH> parts = {};
        for (int row = 0; row < TILE; ++row) {
            const Pack<EACH> weight = load<EACH>(weights + row * EACH);
            const float x = tile[row * pitch + column];
#pragma unroll
            for (int r = 0; r < EACH; ++r) parts.at[r] += weight.at[r] * x;
        }
#pragma unroll
        for (int r = 0; r < EACH; ++r) {
            float& sum = sums[r * columns + column];
            sum = sum * factors.at[r] + parts.at[r];
        }
    }
}

// Writes the warp's rows, as far as they exist; they begin at `first`.
__device__ __forceinline__ void store_rows(float* matrix, const float* sums, Pack<EACH> divisors, int lane, int first,
                                           int rows, int columns)
{
#pragma unroll
    for (int r = 0; r < EACH; ++r) {
        if (first + r >= rows) return;
        float* const target = matrix + static_cast<long long>(first + r) * columns;
        for (int i = lane; i < columns; i += WARP) target[i] = sums[r * columns + i] / divisors.at[r];
    }
}

__device__ __forceinline__ Pack<EACH> ones()
{
    Pack<EACH> values;
#pragma unroll
    for (int r = 0; r < EACH; ++r) values.at[r] = 1.f;
    return values;
}

__device__ __forceinline__ Share share_of_block()
{
    return {threadIdx.x, WARPS * WARP};
}

// One past the last key that a query of this block sees.
__device__ __forceinline__ int end_of_keys(const Attention& a, const Place& place)
{
    return a.causal ? min(a.keys, place.first + ROWS) : a.keys;
}

extern "C" __global__ void attention(Attention a, const float* query, const float* key, const float* value,
                                     const bool* bools, const float* floats, const long long* starts, float* y,
                                     float* log_sums)
{
    DYNAMIC_SHARED(float, shared);
    const Place place(a.queries);
    const Mask mask{bools, floats, starts};
    Memory memory{shared};
    float* const keys = memory.of_block(TILE * pitch_of(a.channels));
    float* const values = memory.of_block(TILE * pitch_of(a.features));
    float* const own = memory.of_warp(EACH * row_size(a.channels), place);
    float* const weights = memory.of_warp(EACH * TILE, place);
    float* const sums = memory.of_warp(EACH * a.features, place);
    const long long matrix_queries = static_cast<long long>(place.matrix) * a.queries;
    const long long matrix_keys = static_cast<long long>(place.matrix) * a.keys;
    const Share lanes{place.lane, WARP};
    copy_rows(lanes, own, row_size(a.channels), query + matrix_queries * a.channels, place.row, EACH, a.queries,
              a.channels);
    clear_sums(sums, place.lane, a.features);
    Pack<EACH> largest, totals = {};
#pragma unroll
    for (int r = 0; r < EACH; ++r) largest.at[r] = minus_infinity();
    const int end = end_of_keys(a, place);
    for (int first = 0; first < end; first += TILE) {
        __syncthreads();  // no warp still reads the tile before
        copy_rows(share_of_block(), keys, pitch_of(a.channels), key + matrix_keys * a.channels, first, TILE, a.keys,
                  a.channels);
        copy_rows(share_of_block(), values, pitch_of(a.features), value + matrix_keys * a.features, first, TILE,
                  a.keys, a.features);
        __syncthreads();
        Pack<EACH> weight = products(own, keys + place.lane * pitch_of(a.channels), a.channels), factors;
#pragma unroll
        for (int r = 0; r < EACH; ++r) {
            const float s = score(a, mask, place.matrix, place.row + r, first + place.lane, weight.at[r]);
            const float top = fmaxf(largest.at[r], warp_reduce<Max>(s)), shift = top == minus_infinity() ? 0.f : top;
            weight.at[r] = expf(s - shift);
            factors.at[r] = expf(largest.at[r] - shift);
            totals.at[r] = totals.at[r] * factors.at[r] + warp_reduce<Sum>(weight.at[r]);
            largest.at[r] = top;
        }
        store<EACH>(weights + place.lane * EACH, weight);
        __syncwarp();
        add_weighted(sums, factors, weights, values, place.lane, a.features);
    }
    store_rows(y + matrix_queries * a.features, sums, totals, place.lane, place.row, a.queries, a.features);
#pragma unroll
    for (int r = 0; r < EACH; ++r)
        if (place.lane == 0 && place.row + r < a.queries)
            log_sums[matrix_queries + place.row + r] = largest.at[r] + logf(totals.at[r]);
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
    Memory memory{shared};
    float* const keys = memory.of_block(TILE * pitch_of(a.channels));
    float* const values = memory.of_block(TILE * pitch_of(a.features));
    float* const own = memory.of_warp(EACH * row_size(a.channels), place);
    float* const gradients = memory.of_warp(EACH * row_size(a.features), place);
    float* const weights = memory.of_warp(EACH * TILE, place);
    float* const sums = memory.of_warp(EACH * a.channels, place);
    const long long matrix_queries = static_cast<long long>(place.matrix) * a.queries;
    const long long matrix_keys = static_cast<long long>(place.matrix) * a.keys;
    const Share lanes{place.lane, WARP};
    copy_rows(lanes, own, row_size(a.channels), query + matrix_queries * a.channels, place.row, EACH, a.queries,
              a.channels);
    copy_rows(lanes, gradients, row_size(a.features), g + matrix_queries * a.features, place.row, EACH, a.queries,
              a.features);
    clear_sums(sums, place.lane, a.channels);
    Pack<EACH> inner = {}, log_sum = {};
#pragma unroll
    for (int r = 0; r < EACH; ++r) {
        if (place.row + r >= a.queries) continue;
        const long long row = matrix_queries + place.row + r;
        float part = 0.f;
        for (int i = place.lane; i < a.features; i += WARP) part += g[row * a.features + i] * y[row * a.features + i];
        inner.at[r] = warp_reduce<Sum>(part);
        log_sum.at[r] = log_sums[row];
        if (place.lane == 0) along[row] = inner.at[r];
    }
    const int end = end_of_keys(a, place);
    for (int first = 0; first < end; first += TILE) {
        __syncthreads();  // no warp still reads the tile before
        copy_rows(share_of_block(), keys, pitch_of(a.channels), key + matrix_keys * a.channels, first, TILE, a.keys,
                  a.channels);
        copy_rows(share_of_block(), values, pitch_of(a.features), value + matrix_keys * a.features, first, TILE,
                  a.keys, a.features);
        __syncthreads();
        Pack<EACH> d = products(own, keys + place.lane * pitch_of(a.channels), a.channels);
        const Pack<EACH> through = products(gradients, values + place.lane * pitch_of(a.features), a.features);
#pragma unroll
        for (int r = 0; r < EACH; ++r) {
            const float s = score(a, mask, place.matrix, place.row + r, first + place.lane, d.at[r]);
            const bool exists = first + place.lane < a.keys;
            d.at[r] = exists ? expf(s - log_sum.at[r]) * (through.at[r] - inner.at[r]) * a.scale : 0.f;
        }
        store<EACH>(weights + place.lane * EACH, d);
        __syncwarp();
        add_weighted(sums, ones(), weights, keys, place.lane, a.channels);
    }
    store_rows(query_grad + matrix_queries * a.channels, sums, ones(), place.lane, place.row, a.queries, a.channels);
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
    Memory memory{shared};
    float* const queries = memory.of_block(TILE * pitch_of(a.channels));
    float* const gradients = memory.of_block(TILE * pitch_of(a.features));
    float* const own_keys = memory.of_warp(EACH * row_size(a.channels), place);
    float* const own_values = memory.of_warp(EACH * row_size(a.features), place);
    float* const weights = memory.of_warp(EACH * TILE, place);
    float* const derivatives = memory.of_warp(EACH * TILE, place);
    float* const key_sums = memory.of_warp(EACH * a.channels, place);
    float* const value_sums = memory.of_warp(EACH * a.features, place);
    const long long matrix_queries = static_cast<long long>(place.matrix) * a.queries;
    const long long matrix_keys = static_cast<long long>(place.matrix) * a.keys;
    const Share lanes{place.lane, WARP};
    copy_rows(lanes, own_keys, row_size(a.channels), key + matrix_keys * a.channels, place.row, EACH, a.keys,
              a.channels);
    copy_rows(lanes, own_values, row_size(a.features), value + matrix_keys * a.features, place.row, EACH, a.keys,
              a.features);
    clear_sums(key_sums, place.lane, a.channels);
    clear_sums(value_sums, place.lane, a.features);
    for (int first = a.causal ? place.first / TILE * TILE : 0; first < a.queries; first += TILE) {
        __syncthreads();  // no warp still reads the tile before
        copy_rows(share_of_block(), queries, pitch_of(a.channels), query + matrix_queries * a.channels, first, TILE,
                  a.queries, a.channels);
        copy_rows(share_of_block(), gradients, pitch_of(a.features), g + matrix_queries * a.features, first, TILE,
                  a.queries, a.features);
        __syncthreads();
        const int i = first + place.lane;
        const bool exists = i < a.queries;
        const float log_sum = exists ? log_sums[matrix_queries + i] : 0.f;
        const float inner = exists ? along[matrix_queries + i] : 0.f;
        Pack<EACH> weight = products(own_keys, queries + place.lane * pitch_of(a.channels), a.channels);
        Pack<EACH> d = products(own_values, gradients + place.lane * pitch_of(a.features), a.features);
#pragma unroll
        for (int r = 0; r < EACH; ++r) {
            weight.at[r] = expf(score(a, mask, place.matrix, i, place.row + r, weight.at[r]) - log_sum);
            d.at[r] = weight.at[r] * (d.at[r] - inner) * a.scale;
        }
        store<EACH>(weights + place.lane * EACH, weight);
        store<EACH>(derivatives + place.lane * EACH, d);
        __syncwarp();
        add_weighted(key_sums, ones(), derivatives, queries, place.lane, a.channels);
        add_weighted(value_sums, ones(), weights, gradients, place.lane, a.features);
    }
    store_rows(key_grad + matrix_keys * a.channels, key_sums, ones(), place.lane, place.row, a.keys, a.channels);
    store_rows(value_grad + matrix_keys * a.features, value_sums, ones(), place.lane, place.row, a.keys, a.features);
}
