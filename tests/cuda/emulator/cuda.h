// CUDA C++ as far as our kernels use it, for g++: keywords, vector types, intrinsics.
#pragma once
#include <math.h>
#include <stdio.h>

#include <type_traits>

#include "machine.h"

#define __global__
#define __device__
#define __host__
#define __constant__ static const
#define __shared__ static
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __align__(bytes) __attribute__((aligned(bytes)))
#define __restrict__ __restrict
#define DYNAMIC_SHARED(type, name) type* const name = reinterpret_cast<type*>(machine::dynamic_shared)

#define threadIdx (machine::current->index)
#define blockIdx (machine::block_index)
#define blockDim (machine::block_size)
#define gridDim (machine::grid_size)
#define warpSize 32

#define HERE machine::Place place = {__builtin_FILE(), __builtin_LINE()}

// Vector types

#define VECTOR_TYPES(T, name)                                               \
    struct alignas(2 * sizeof(T)) name##2 { T x, y; };                      \
    struct alignas(sizeof(T) < 8 ? 4 * sizeof(T) : 16) name##4 { T x, y, z, w; }; \
    inline name##2 make_##name##2(T x, T y) { return {x, y}; }              \
    inline name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }
VECTOR_TYPES(float, float)
VECTOR_TYPES(double, double)
VECTOR_TYPES(int, int)
VECTOR_TYPES(unsigned, uint)
VECTOR_TYPES(unsigned short, ushort)
VECTOR_TYPES(unsigned char, uchar)
VECTOR_TYPES(long long, longlong)
VECTOR_TYPES(unsigned long long, ulonglong)

// Barriers and exchanges

inline void __syncthreads(HERE) { machine::block_barrier(place); }
inline void __syncwarp(unsigned mask = ~0u, HERE) { machine::meet("__syncwarp", mask, nullptr, 0, place); }
inline void __threadfence() {}
inline void __threadfence_block() {}

namespace machine {

inline unsigned lane() { return current->rank % WARP; }

template <typename T>
T shown(unsigned lane)
{
    T value;
    memcpy(&value, mail(lane), sizeof value);
    return value;
}

// The value of lane `source`; poison if the mask does not contain that lane, where CUDA's result is undefined.
template <typename T>
T shuffle(const char* what, unsigned mask, T value, unsigned source, Place place)
{
    static_assert(sizeof(T) <= MAIL, "too large to shuffle");
    unsigned met = meet(what, mask, &value, sizeof value, place);
    if (met >> source & 1) return shown<T>(source);
    memset(&value, 0xff, sizeof value);
    return value;
}

template <typename T, typename Combine>
T combined(const char* what, unsigned mask, T value, Combine combine, Place place)
{
    unsigned met = meet(what, mask, &value, sizeof value, place);
    bool first = true;
    T total{};
    for (unsigned i = 0; i < WARP; ++i)
        if (met >> i & 1) {
            total = first ? shown<T>(i) : combine(total, shown<T>(i));
            first = false;
        }
    return total;
}

}  // namespace machine

template <typename T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32, HERE)
{
    unsigned segment = machine::lane() / width * width;
    return machine::shuffle("__shfl_sync", mask, value, segment + (source & (width - 1)), place);
}
template <typename T>
T __shfl_up_sync(unsigned mask, T value, unsigned distance, int width = 32, HERE)
{
    unsigned lane = machine::lane();
    return machine::shuffle("__shfl_up_sync", mask, value, lane % width >= distance ? lane - distance : lane, place);
}
template <typename T>
T __shfl_down_sync(unsigned mask, T value, unsigned distance, int width = 32, HERE)
{
    unsigned lane = machine::lane();
    bool inside = lane % width + distance < unsigned(width);
    return machine::shuffle("__shfl_down_sync", mask, value, inside ? lane + distance : lane, place);
}
template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32, HERE)
{
    unsigned lane = machine::lane(), source = lane ^ bits;
    return machine::shuffle("__shfl_xor_sync", mask, value, source / width <= lane / width ? source : lane, place);
}

inline unsigned __ballot_sync(unsigned mask, int predicate, HERE)
{
    unsigned bit = unsigned(predicate != 0) << machine::lane();
    return machine::combined("__ballot_sync", mask, bit, [](unsigned a, unsigned b) { return a | b; }, place);
}
inline int __any_sync(unsigned mask, int predicate, HERE)
{
    return machine::combined("__any_sync", mask, predicate != 0, [](bool a, bool b) { return a || b; }, place);
}
inline int __all_sync(unsigned mask, int predicate, HERE)
{
    return machine::combined("__all_sync", mask, predicate != 0, [](bool a, bool b) { return a && b; }, place);
}

// Atomic operations: threads of the emulator never run at the same time. They race with none.

#define ATOMIC __attribute__((no_sanitize("thread"), noinline))
template <typename T, typename V>
ATOMIC T atomicAdd(T* address, V value) { T old = *address; *address = old + value; return old; }
template <typename T, typename V>
ATOMIC T atomicMax(T* address, V value) { T old = *address; if (old < T(value)) *address = value; return old; }
template <typename T, typename V>
ATOMIC T atomicMin(T* address, V value) { T old = *address; if (T(value) < old) *address = value; return old; }
template <typename T, typename V>
ATOMIC T atomicOr(T* address, V value) { T old = *address; *address = old | value; return old; }
template <typename T, typename V>
ATOMIC T atomicExch(T* address, V value) { T old = *address; *address = value; return old; }
template <typename T, typename V, typename W>
ATOMIC T atomicCAS(T* address, V expected, W value) { T old = *address; if (old == T(expected)) *address = value; return old; }
#undef ATOMIC

// Loads and stores with a hint for the caches

template <typename T> T __ldg(const T* address) { return *address; }
template <typename T> T __ldcg(const T* address) { return *address; }
template <typename T> T __ldcs(const T* address) { return *address; }
template <typename T> void __stcg(T* address, T value) { *address = value; }
template <typename T> void __stcs(T* address, T value) { *address = value; }

// Arithmetic

namespace machine {
template <typename To, typename From>
To bits(From value)
{
    static_assert(sizeof(To) == sizeof(From), "of one size");
    To result;
    memcpy(&result, &value, sizeof result);
    return result;
}
}  // namespace machine

inline int __float_as_int(float x) { return machine::bits<int>(x); }
inline unsigned __float_as_uint(float x) { return machine::bits<unsigned>(x); }
inline float __int_as_float(int x) { return machine::bits<float>(x); }
inline float __uint_as_float(unsigned x) { return machine::bits<float>(x); }

template <typename A, typename B>
std::common_type_t<A, B> max(A a, B b)
{
    if constexpr (std::is_floating_point_v<std::common_type_t<A, B>>) return fmax(a, b);
    else return std::common_type_t<A, B>(a) < std::common_type_t<A, B>(b) ? b : a;
}
template <typename A, typename B>
std::common_type_t<A, B> min(A a, B b)
{
    if constexpr (std::is_floating_point_v<std::common_type_t<A, B>>) return fmin(a, b);
    else return std::common_type_t<A, B>(b) < std::common_type_t<A, B>(a) ? b : a;
}

inline float rsqrtf(float x) { return 1.f / sqrtf(x); }
inline float __expf(float x) { return expf(x); }
inline float __logf(float x) { return logf(x); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __frcp_rn(float x) { return 1.f / x; }
inline float __fsqrt_rn(float x) { return sqrtf(x); }
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __saturatef(float x) { return fminf(fmaxf(x, 0.f), 1.f); }
inline float sinpif(float x) { return float(sin(M_PI * x)); }
inline float cospif(float x) { return float(cos(M_PI * x)); }
inline void sincospif(float x, float* s, float* c) { *s = sinpif(x); *c = cospif(x); }
inline void sincospi(double x, double* s, double* c) { *s = sin(M_PI * x); *c = cos(M_PI * x); }
inline float normcdff(float x) { return float(0.5 * erfc(-x * M_SQRT1_2)); }

inline unsigned __umulhi(unsigned a, unsigned b) { return uint64_t(a) * b >> 32; }
inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b)
{
    return static_cast<unsigned __int128>(a) * b >> 64;
}
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __clz(int x) { return x ? __builtin_clz(x) : 32; }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline size_t __cvta_generic_to_shared(const void* address) { return reinterpret_cast<size_t>(address); }

#include "ptx.h"
