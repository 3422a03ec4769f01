"""The processor that kernels are compiled for: its vectors, the tiles that fit its registers, and its caches."""

import os
import platform

import llvmlite.binding as llvm


def _features() -> set[str]:
    """Instruction sets of the processor that numba compiles for; NUMBA_CPU_FEATURES overrules the host's."""
    requested = os.environ.get("NUMBA_CPU_FEATURES")
    if requested is not None:
        return {feature[1:] for feature in requested.split(",") if feature.startswith("+")}
    try:
        return {feature for feature, present in llvm.get_host_cpu_features().items() if present}
    except RuntimeError:
        return set()


FEATURES = _features()
X86 = platform.machine().lower() in ("x86_64", "amd64")

LINE = 64  # bytes of a cache line: words that different threads write often lie in lines of their own

# The caches of a core that work is cut for, those of a Zen 4. They are not read from the processor: a cut decides the
# order of a sum, and results must be the same bits on processors with the same vectors. For the same reason a change of
# these two numbers changes results.
L1_BYTES, L2_BYTES = 1 << 15, 1 << 20

# Floats in a vector, vectors in a row of a tile, and the heights that a tile may have. A full tile fills the
# registers: rows * vectors accumulators, the vectors of one row of B, and one broadcast element of A. With 16 floats
# 14 rows would fit, but their addresses would not: 12 are faster (measured).
if "avx512f" in FEATURES:
    WIDTH, VECTORS, HEIGHTS = 16, 2, (12, 8, 4, 2, 1)
elif "avx" in FEATURES:
    WIDTH, VECTORS, HEIGHTS = 8, 2, (6, 4, 2, 1)
elif X86:
    WIDTH, VECTORS, HEIGHTS = 4, 2, (6, 4, 2, 1)
else:
    WIDTH, VECTORS, HEIGHTS = 4, 4, (5, 4, 2, 1)

# Rows that are neighbours in memory need one address.
ADJACENT_HEIGHTS = (14, *HEIGHTS) if WIDTH == 16 else HEIGHTS
