// Twins of the wrappers of inline PTX in kernels/cuda/ptx.cuh, one for each.
#pragma once

// Asynchronous copies: the target holds poison until the wait, which copies what the source holds then. On Turing they
// are done at once.

template <int floats, bool cached = false>
void copy_async(float* target, const float* source, bool live, HERE)
{
#if __CUDA_ARCH__ >= 800
    machine::copy_async(target, live ? source : nullptr, sizeof(float) * floats, place);
#else
    for (int i = 0; i < floats; ++i) target[i] = live ? source[i] : 0.f;
#endif
}

inline void copy_commit() { machine::commit_copies(); }

template <int groups>
void copy_wait(HERE)
{
    machine::wait_copies(groups, place);
}

// Conversions

inline unsigned to_tf32(float value)
{
    const unsigned bits = __float_as_uint(value);
    return isfinite(value) ? (bits + 0x1000u) & 0xffffe000u : bits;
}

namespace machine {

inline unsigned to_bf16(float value)
{
    const unsigned bits = __float_as_uint(value);
    return isnan(value) ? 0x7fffu : (bits + 0x7fffu + (bits >> 16 & 1)) >> 16;
}

}  // namespace machine

inline unsigned to_bf16x2(float low, float high) { return machine::to_bf16(high) << 16 | machine::to_bf16(low); }

// Four matrices (8 x 8) of 16-bit numbers, whose rows begin where the lanes say.
inline void load_transposed(unsigned (&matrices)[4], const float* row, HERE)
{
    using namespace machine;
    if (reinterpret_cast<size_t>(row) % 16) fail("ldmatrix: a row is not aligned to 16 bytes", place);
    if (meet("ldmatrix", ~0u, &row, sizeof row, place) != ~0u) fail("ldmatrix lacks some lanes of its warp", place);
    for (unsigned i = 0; i < 4; ++i) {
        unsigned short pair[2];
        for (unsigned k = 0; k < 2; ++k)
            memcpy(&pair[k], reinterpret_cast<const char*>(shown<const float*>(8 * i + lane() % 4 * 2 + k)) + lane() / 4 * 2, 2);
        matrices[i] = unsigned(pair[1]) << 16 | pair[0];
    }
}

// Matrix products of a warp, with the fragments of the PTX ISA: sections "mma.m16n8k8" and "mma.m16n8k16".

namespace machine {

struct Fragments {
    unsigned a[4], b[2];
};

// c += A B; at_a(row, k) and at_b(k, column) find an element among the fragments that the lanes show.
template <int depth, typename AtA, typename AtB>
void multiply(const char* what, float* const (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2], AtA at_a,
              AtB at_b, Place place)
{
    const Fragments own = {{a[0], a[1], a[2], a[3]}, {b[0], b[1]}};
    if (meet(what, ~0u, &own, sizeof own, place) != ~0u) fail("a product of a warp lacks some of its lanes", place);
    for (unsigned i = 0; i < 4; ++i) {
        const unsigned row = lane() / 4 + i / 2 * 8, column = lane() % 4 * 2 + i % 2;
        for (unsigned k = 0; k < depth; ++k) *c[i] += at_a(row, k) * at_b(k, column);
    }
}

inline const Fragments& shown_by(unsigned lane) { return *static_cast<const Fragments*>(mail(lane)); }

inline float from_tf32(unsigned bits) { return __uint_as_float(bits & 0xffffe000u); }

inline float from_bf16(unsigned pair, unsigned which) { return __uint_as_float((pair >> 16 * which & 0xffffu) << 16); }

}  // namespace machine

inline void mma_tf32(float& c0, float& c1, float& c2, float& c3, const unsigned (&a)[4], const unsigned (&b)[2], HERE)
{
    using namespace machine;
    auto at_a = [](unsigned row, unsigned k) {
        return from_tf32(shown_by(row % 8 * 4 + k % 4).a[row / 8 + k / 4 * 2]);
    };
    auto at_b = [](unsigned k, unsigned column) { return from_tf32(shown_by(column * 4 + k % 4).b[k / 4]); };
    multiply<8>("mma.m16n8k8", {&c0, &c1, &c2, &c3}, a, b, at_a, at_b, place);
}

inline void mma_bf16(float& c0, float& c1, float& c2, float& c3, const unsigned (&a)[4], const unsigned (&b)[2], HERE)
{
    using namespace machine;
    auto at_a = [](unsigned row, unsigned k) {
        return from_bf16(shown_by(row % 8 * 4 + k % 8 / 2).a[row / 8 + k / 8 * 2], k % 2);
    };
    auto at_b = [](unsigned k, unsigned column) {
        return from_bf16(shown_by(column * 4 + k % 8 / 2).b[k / 8], k % 2);
    };
    multiply<16>("mma.m16n8k16", {&c0, &c1, &c2, &c3}, a, b, at_a, at_b, place);
}
