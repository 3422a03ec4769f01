"""Process-wide settings, changed only when asked for."""

import os


def available_cores() -> int:
    """Processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def tune_process() -> None:
    """Settings for a process that trains; the command line and `fit` call it, `import tinygen` never does.

    Returned memory is kept for the next step instead of being given back to the system: freshly mapped pages
    cost up to half of a step (measured). Linux with glibc only; elsewhere nothing happens.
    """
    import ctypes

    M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(M_MMAP_THRESHOLD, 1 << 25)  # glibc accepts no more
    mallopt(M_TRIM_THRESHOLD, 1 << 30)
