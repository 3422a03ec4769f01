// All inline PTX, in wrappers of a few lines. The tests' emulator, which compiles no CUDA, has a twin of each wrapper.
#pragma once
#ifdef __CUDACC__

// Starts to copy `floats` (1 or 4, aligned to their size) to shared memory; where they are not valid, writes zeros, and
// reads nothing. With `cached` they stay in the first-level cache, since neighbouring taps will read them again soon.
// Turing has no such copy: there it is done immediately, and other blocks of the multiprocessor hide the wait.
template <int floats, bool cached = false>
__device__ __forceinline__ void copy_async(float* target, const float* source, bool valid)
{
    static_assert(floats == 1 || floats == 4, "what the instruction copies");
#if __CUDA_ARCH__ >= 800
    const unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(target));
    if constexpr (floats == 4 && cached)
        asm volatile("cp.async.ca.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(address), "l"(source),
                     "r"(valid ? 16 : 0));
    else if constexpr (floats == 4)
        asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(address), "l"(source),
                     "r"(valid ? 16 : 0));
    else
        asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(address), "l"(source), "r"(valid ? 4 : 0));
#else
    if constexpr (floats == 4)
        *reinterpret_cast<float4*>(target) = valid ? *reinterpret_cast<const float4*>(source) : float4{};
    else
        *target = valid ? *source : 0.f;
#endif
}

// Ends a group of copies of this thread: all that it has started since the last one.
__device__ __forceinline__ void copy_commit()
{
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.commit_group;");
#endif
}

// Waits until no more than the `groups` latest groups of this thread are under way.
template <int groups>
__device__ __forceinline__ void copy_wait()
{
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_group %0;" ::"n"(groups) : "memory");
#endif
}

// The functions below need compute capability 8.0.

// The nearest TF32 number; of two equally near ones, the even one on architectures that round so in one instruction,
// and the one away from zero on older ones.
__device__ __forceinline__ unsigned to_tf32(float value)
{
    unsigned rounded;
#if __CUDA_ARCH__ >= 900
    asm("cvt.rn.tf32.f32 %0, %1;" : "=r"(rounded) : "f"(value));
#else
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(rounded) : "f"(value));
#endif
    return rounded;
}

// Two numbers rounded to bfloat16, to nearest, ties to even: `low` in the lower half.
__device__ __forceinline__ unsigned to_bf16x2(float low, float high)
{
    unsigned rounded;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(rounded) : "f"(high), "f"(low));
    return rounded;
}

// Reads four matrices (8 x 8) of 16-bit numbers from shared memory: lane l tells where row l % 8 of matrix l / 8
// begins, aligned to its 16 bytes. Lane 4 g + t gets rows 2 t and 2 t + 1 of column g of each.
__device__ __forceinline__ void load_transposed(unsigned (&matrices)[4], const float* row)
{
    const unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(matrices[0]), "=r"(matrices[1]), "=r"(matrices[2]), "=r"(matrices[3])
                 : "r"(address)
                 : "memory");
}

// C (16 x 8) += A (16 x 8) B (8 x 8) in TF32. With lane = 4 g + t: c is (g, 2 t), (g, 2 t + 1), (g + 8, 2 t),
// (g + 8, 2 t + 1); a is (g, t), (g + 8, t), (g, t + 4), (g + 8, t + 4); b is (t, g), (t + 4, g).
__device__ __forceinline__ void mma_tf32(float& c0, float& c1, float& c2, float& c3, const unsigned (&a)[4],
                                         const unsigned (&b)[2])
{
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(c0), "+f"(c1), "+f"(c2), "+f"(c3)
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// C (16 x 8) += A (16 x 16) B (16 x 8) in bfloat16, two numbers a register. With lane = 4 g + t: c as in `mma_tf32`;
// a begins at (g, 2 t), (g + 8, 2 t), (g, 2 t + 8), (g + 8, 2 t + 8), along the row; b at (2 t, g), (2 t + 8, g),
// along the column.
__device__ __forceinline__ void mma_bf16(float& c0, float& c1, float& c2, float& c3, const unsigned (&a)[4],
                                         const unsigned (&b)[2])
{
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
        "{%0, %1, %2, %3};"
        : "+f"(c0), "+f"(c1), "+f"(c2), "+f"(c3)
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

#endif
