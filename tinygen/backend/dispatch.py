"""Kernel dispatch: every kernel has one name and one signature; the device decides which implementation runs."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tinygen.backend.process import thread_count
from tinygen.errors import UsageError
from tinygen.kernels import notices

_wraps: list[Callable[[str, Callable], Callable]] = []


@functools.cache
def _cpu_kernels() -> dict[str, Any]:
    """The numba kernels by name; none, with one notice, if numba cannot be imported or its compiler is disabled."""
    thread_count()  # raises UsageError for a bad TINYGEN_THREADS before anything is compiled
    try:
        import numba

        disabled = numba.config.DISABLE_JIT  # type: ignore[attr-defined]
    except ModuleNotFoundError:
        why = "numba cannot be imported"
    except Exception as error:  # numba is there, but not for this NumPy, or a library of its own is missing
        why = f"numba cannot be imported ({type(error).__name__}: {error})".replace("\n", " ")
    else:
        if not disabled:
            from tinygen.kernels import cpu

            return cpu.KERNELS
        why = "numba's JIT is disabled"
    notices.note(f"{why}, so plain NumPy kernels are used (slower)")
    return {}


def has_compiled_kernels() -> bool:
    """Whether numba's kernels serve the CPU; otherwise those of plain NumPy do."""
    return bool(_cpu_kernels())


@functools.cache
def _cuda_kernels() -> dict[str, Any]:
    """The CUDA kernels by name; CuPy is imported when the first of them runs."""
    from tinygen.kernels import cuda

    return cuda.KERNELS


@functools.cache
def kernel(name: str, device: str) -> Callable:
    """The kernel `name` for a device: numba's on the CPU, CUDA's on a GPU, else the reference.

    Kernels take raw arrays, never Tensors; see `kernels/reference.py` for their signatures.
    """
    from tinygen.kernels import reference

    kernels = _cpu_kernels() if device == "cpu" else _cuda_kernels()
    function = kernels.get(name) or getattr(reference, name)
    for wrap in _wraps:
        function = wrap(name, function)
    return function


def set_precision(name: str) -> None:
    """Choose the arithmetic of matrix products and convolutions in float32 on "cuda"; the CPU's is always float32.

    "float32", the default, multiplies and adds in single precision; "tf32" and "bfloat16" round the operands to 10 and
    7 bits and multiply them on tensor cores, which needs a GPU of compute capability 8.0 or newer. Arrays stay float32.
    """
    from tinygen.kernels.cuda import runtime

    try:
        runtime.set_precision(name)
    except ValueError as error:
        raise UsageError(str(error)) from None


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
