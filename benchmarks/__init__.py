"""Benchmarks of speed, size, start-up and exactness: `python -m benchmarks --list`.

Each file is one benchmark; the first line of its docstring says what it measures. In a comparison both sides
run in turns, and their results are compared before anything is timed.
"""

import os


def set_threads(count: int) -> None:
    """Set the number of threads of each side, for libraries that are imported afterwards and for new processes."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "TINYGEN_THREADS"):
        os.environ[name] = str(count)
