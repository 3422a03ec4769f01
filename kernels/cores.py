"""How many threads the kernels use."""

import functools
import os

UNLIMITED = 1 << 16


def available_cores() -> int:
    """Number of cores that this process may use now: by its affinity, at most the quota of its control group."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, _quota()))


def _quota(groups: str = "/sys/fs/cgroup") -> int:
    """Whole cores that the control group grants, rounded up; UNLIMITED if it sets no limit."""
    try:
        quota, period = _read(f"{groups}/cpu.max").split()
    except (OSError, ValueError):
        try:
            quota, period = (_read(f"{groups}/cpu/cpu.cfs_{part}_us").strip() for part in ("quota", "period"))
        except OSError:
            return UNLIMITED
    return -(-int(quota) // int(period)) if quota.isdecimal() else UNLIMITED


def _read(path: str) -> str:
    with open(path, encoding="ascii") as file:
        return file.read()


@functools.cache
def requested_threads() -> int | None:
    """The value of TINYGEN_THREADS, None if it is not set; ValueError if it is no whole number of at least 1."""
    value = os.environ.get("TINYGEN_THREADS", "")
    if not value:
        return None
    if not value.isdecimal() or not int(value):
        raise ValueError(f"TINYGEN_THREADS is {value!r}; it must be a whole number of at least 1")
    return int(value)


def thread_count() -> int:
    """TINYGEN_THREADS where it is set, else the number of cores that this process may use now.

    NUMBA_NUM_THREADS is a further limit: joblib and others set it for the processes that they start.
    """
    value = os.environ.get("NUMBA_NUM_THREADS", "")
    return requested_threads() or min(available_cores(), int(value) if value.isdecimal() and int(value) else UNLIMITED)


@functools.cache
def most_threads() -> int:
    """The most threads that this process can ever use: affinity and quota may change, the machine does not."""
    return requested_threads() or os.cpu_count() or 1
