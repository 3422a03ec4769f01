"""Process-wide settings, changed only when asked for."""

import os
import sys

from tinygen.errors import UsageError
from tinygen.kernels import cores
from tinygen.kernels.cores import available_cores

__all__ = ["available_cores", "thread_count", "tune_process"]


def thread_count() -> int:
    """Threads of the CPU kernels: TINYGEN_THREADS where it is set, else `available_cores`. UsageError for no number."""
    try:
        return cores.thread_count()
    except ValueError as error:
        raise UsageError(str(error)) from None


def tune_process() -> None:
    """Settings for a process that trains; the command line and `fit` call it, `import tinygen` never does.

    Kernels run on OpenMP's threads where numba finds it, unless the user has chosen.

    Returned memory is kept for the next step instead of being given back to the system: freshly mapped pages
    cost up to half of a step (measured). Linux with glibc only; elsewhere nothing happens.
    """
    _prefer_openmp()
    _keep_memory()


def _prefer_openmp() -> None:
    if "NUMBA_THREADING_LAYER" in os.environ or "NUMBA_THREADING_LAYER_PRIORITY" in os.environ:
        return
    layers = ["omp", "tbb", "workqueue"]
    if "numba" in sys.modules:  # without effect once its threads have started
        sys.modules["numba"].config.THREADING_LAYER_PRIORITY = layers
    else:  # it will read this; to import it for the sake of a setting would cost each command 0.2 s (measured)
        os.environ["NUMBA_THREADING_LAYER_PRIORITY"] = " ".join(layers)


def _keep_memory() -> None:
    import ctypes

    M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(M_MMAP_MAX, 0)  # a threshold would not do: glibc takes none above 32 MB
    mallopt(M_TRIM_THRESHOLD, 1 << 30)
