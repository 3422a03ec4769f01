"""Which kernel computes: every kernel has one name and one signature; the device decides which implementation runs."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from . import notices
from .cores import thread_count

_wraps: list[Callable[[str, Callable], Callable]] = []


@functools.cache
def cpu_kernels() -> dict[str, Any]:
    """The numba kernels by name; none, with one notice, if numba cannot be imported or its compiler is disabled.

    ValueError for a bad TINYGEN_THREADS, before anything is compiled.
    """
    thread_count()
    try:
        import numba

        disabled = numba.config.DISABLE_JIT
    except ModuleNotFoundError:
        why = "numba cannot be imported"
    except Exception as error:  # numba is there, but not for this NumPy, or a library of its own is missing
        why = f"numba cannot be imported ({type(error).__name__}: {error})".replace("\n", " ")
    else:
        if not disabled:
            from . import cpu

            return cpu.KERNELS
        why = "numba's JIT is disabled"
    notices.note(f"{why}, so plain NumPy kernels are used (slower)")
    return {}


def has_compiled_kernels() -> bool:
    """Whether numba's kernels serve the CPU; otherwise those of plain NumPy do."""
    return bool(cpu_kernels())


@functools.cache
def cuda_kernels() -> dict[str, Any]:
    """The CUDA kernels by name; CuPy is imported when the first of them runs."""
    from . import cuda

    return cuda.KERNELS


@functools.cache
def kernel(name: str, device: str) -> Callable:
    """The kernel `name` for a device, "cpu" or "cuda": numba's, or CUDA's, else the reference.

    Kernels take raw arrays, never Tensors; see `kernels/reference.py` for their signatures.
    """
    from . import reference

    kernels = cpu_kernels() if device == "cpu" else cuda_kernels()
    function = kernels.get(name) or getattr(reference, name)
    for wrap in _wraps:
        function = wrap(name, function)
    return function


@contextmanager
def wrapped(wrap: Callable[[str, Callable], Callable]) -> Iterator[None]:
    """A context in which `kernel` returns `wrap(name, function)` in place of each function."""
    _wraps.append(wrap)
    kernel.cache_clear()
    try:
        yield
    finally:
        _wraps.remove(wrap)
        kernel.cache_clear()
