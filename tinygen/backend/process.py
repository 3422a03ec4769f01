"""Process-wide settings, changed only when asked for."""

import os
import sys

from tinygen.errors import UsageError
from tinygen.kernels import cores
from tinygen.kernels.cores import available_cores

__all__ = ["available_cores", "thread_count", "tune_process"]


def thread_count() -> int:
    """Number of threads of the CPU kernels: TINYGEN_THREADS, UsageError if it is no number; else `available_cores`."""
    try:
        return cores.thread_count()
    except ValueError as error:
        raise UsageError(str(error)) from None


def tune_process() -> None:
    """Change settings of a process that trains; the command line and `fit` call it, `import tinygen` never does.

    Numba prefers OpenMP's threads, unless the user has chosen others. Freed memory is kept for the next step instead
    of being given back to the system: freshly mapped pages cost up to half of a step (measured; Linux with glibc only).
    """
    _prefer_openmp()
    _keep_memory()


def _prefer_openmp() -> None:
    if "NUMBA_THREADING_LAYER" in os.environ or "NUMBA_THREADING_LAYER_PRIORITY" in os.environ:
        return
    layers = ["omp", "tbb", "workqueue"]
    if "numba" in sys.modules:  # no effect once its threads have started
        sys.modules["numba"].config.THREADING_LAYER_PRIORITY = layers
    else:  # which numba reads when imported; importing it only for this would take 0.2 s (measured)
        os.environ["NUMBA_THREADING_LAYER_PRIORITY"] = " ".join(layers)


def _keep_memory() -> None:
    import ctypes

    M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(M_MMAP_MAX, 0)  # a threshold would not suffice: glibc accepts none above 32 MB
    mallopt(M_TRIM_THRESHOLD, 1 << 30)
