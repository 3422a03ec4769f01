"""Kernel dispatch: every kernel has one name and one signature; the device decides who serves it."""

import functools
import sys

from tinygen.kernels import reference


@functools.cache
def _cpu_kernels():
    """The numba kernels by name; none, said once, where numba is missing."""
    try:
        from tinygen.kernels import cpu
    except ImportError:
        print("tinygen: numba cannot be imported, so plain NumPy kernels are used (slower)", file=sys.stderr)
        return {}
    return cpu.KERNELS


@functools.cache
def kernel(name: str, device: str):
    """The kernel `name` for a device: numba's on the CPU where there is one, else the reference.

    Kernels take raw arrays and know nothing of autograd; see `kernels/reference.py` for their signatures.
    """
    return (_cpu_kernels().get(name) if device == "cpu" else None) or getattr(reference, name)
