"""Kernel dispatch: every kernel has one name and one signature; the device decides who serves it."""

import functools
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tinygen.backend.process import thread_count
from tinygen.kernels import reference

_wraps: list[Callable[[str, Callable], Callable]] = []


@functools.cache
def _cpu_kernels() -> dict[str, Any]:
    """The numba kernels by name; none, said once, where numba is missing or told not to compile."""
    thread_count()  # refuses a setting of the user's before anything is compiled
    try:
        import numba

        if not numba.config.DISABLE_JIT:  # type: ignore[attr-defined]
            from tinygen.kernels import cpu

            return cpu.KERNELS
        why = "numba's JIT is disabled"
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in ("numba", "llvmlite"):
            raise
        why = "numba cannot be imported"
    print(f"tinygen: {why}, so plain NumPy kernels are used (slower)", file=sys.stderr)
    return {}


@functools.cache
def kernel(name: str, device: str) -> Callable:
    """The kernel `name` for a device: numba's on the CPU where there is one, else the reference.

    Kernels take raw arrays and know nothing of autograd; see `kernels/reference.py` for their signatures.
    """
    function = (_cpu_kernels().get(name) if device == "cpu" else None) or getattr(reference, name)
    for wrap in _wraps:
        function = wrap(name, function)
    return function


@contextmanager
def wrapped(wrap: Callable[[str, Callable], Callable]) -> Iterator[None]:
    """Context in which `kernel` hands out `wrap(name, function)` in the place of a function."""
    _wraps.append(wrap)
    kernel.cache_clear()
    try:
        yield
    finally:
        _wraps.remove(wrap)
        kernel.cache_clear()
