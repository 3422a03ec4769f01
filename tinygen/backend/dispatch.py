"""The kernel for a name and a device, as `kernels/choice.py` chooses it, and the precision of products."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tinygen.backend.process import thread_count
from tinygen.errors import UsageError
from tinygen.kernels import choice


@functools.cache
def kernel(name: str, device: str) -> Callable:
    """The kernel `name` for a device: numba's on the CPU, CUDA's on a GPU, else the reference.

    Kernels take raw arrays, never Tensors; see `kernels/reference.py` for their signatures. UsageError for a bad
    TINYGEN_THREADS.
    """
    thread_count()
    return choice.kernel(name, device)


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
    try:
        with choice.wrapped(wrap):
            kernel.cache_clear()
            yield
    finally:
        kernel.cache_clear()
