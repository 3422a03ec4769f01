"""Library versions and the machine, on which results depend too."""

import importlib.metadata
import os
import platform
from collections.abc import Mapping
from pathlib import Path

import tinygen
from tinygen.backend.process import available_cores, thread_count

LIBRARIES = ("numpy", "numba", "llvmlite", "cupy-cuda12x", "cupy-cuda13x")
"""Libraries that compute; those that only draw or print cannot change a result."""


def versions() -> dict[str, str]:
    """Versions of tinygen, Python and the libraries that compute, where they are installed."""
    installed = {"tinygen": tinygen.__version__, "python": platform.python_version()}
    for name in LIBRARIES:
        try:
            installed[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return installed


def machine(device: str) -> dict[str, str]:
    """The system, the processor and the device that a run computes on."""
    names = {
        "system": platform.platform(terse=True),
        "cpu": _cpu_name(),
        "cores": str(available_cores()),
        "threads": str(thread_count()),
        "blas threads": _blas_threads(),
    }
    if device == "cuda":
        import cupy

        names["gpu"] = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)["name"].decode()
    return names


def changes(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Differences that can change the last bits of a result, each as `name old -> new`.

    The numbers of cores and threads cannot, since our reductions are split by shape; but OpenBLAS splits by thread.
    """
    names = [name for name in {**before, **now} if name not in ("cores", "threads", "system")]
    return [
        f"{name} {before.get(name, 'absent')} -> {now.get(name, 'absent')}"
        for name in names
        if before.get(name) != now.get(name)
    ]


def _blas_threads() -> str:
    """The number of threads of NumPy's matrix product, which affects its last bits; OpenBLAS ignores CPU quotas."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    requested = os.environ.get("OPENBLAS_NUM_THREADS") or os.environ.get("OMP_NUM_THREADS") or ""
    return str(min(int(requested), cores) if requested.isdecimal() and int(requested) else cores)


def _cpu_name() -> str:
    if os.path.exists("/proc/cpuinfo"):
        for line in Path("/proc/cpuinfo").read_text("utf-8", "replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
