"""New leaf Tensors: of constants, of a range, of random numbers. In float32 unless another dtype is given.

A shape is given as lengths, `zeros(2, 3)`, or as one tuple. Random numbers come from the stream `train`.
"""

from typing import Any

import numpy as np

from tinygen import random
from tinygen.errors import ShapeError
from tinygen.tensor import Tensor, one_by_one, tensor
from tinygen.words import explained


def _filled(shape, value, dtype, requires_grad: bool, device: str | None) -> Tensor:
    shape = one_by_one(shape)
    try:
        array = np.full(shape, value, dtype)
    except (TypeError, ValueError):
        raise ShapeError(f"a shape consists of whole numbers of at least 0, not {shape}") from None
    return tensor(array, dtype, requires_grad=requires_grad, device=device)


@explained
def zeros(*shape: Any, dtype="float32", requires_grad: bool = False, device: str | None = None) -> Tensor:
    """A Tensor of zeros."""
    return _filled(shape, 0, dtype, requires_grad, device)


@explained
def ones(*shape: Any, dtype="float32", requires_grad: bool = False, device: str | None = None) -> Tensor:
    """A Tensor of ones."""
    return _filled(shape, 1, dtype, requires_grad, device)


@explained
def full(shape, value: float, *, dtype="float32", requires_grad: bool = False, device: str | None = None) -> Tensor:
    """A Tensor of one value."""
    return _filled((shape,), value, dtype, requires_grad, device)


@explained
def arange(
    start: float,
    stop: float | None = None,
    step: float = 1,
    *,
    dtype="float32",
    requires_grad: bool = False,
    device: str | None = None,
) -> Tensor:
    """Numbers from `start` to below `stop`, or from 0 to below a single argument; dtype="int64" for indices."""
    start, stop = (0, start) if stop is None else (start, stop)
    return tensor(np.arange(start, stop, step), dtype, requires_grad=requires_grad, device=device)


@explained
def linspace(start: float, stop: float, steps: int, *, dtype="float32", requires_grad=False, device=None) -> Tensor:
    """`steps` equally spaced numbers from `start` to `stop`, both included."""
    return tensor(np.linspace(start, stop, steps), dtype, requires_grad=requires_grad, device=device)


@explained
def eye(rows: int, columns: int | None = None, *, dtype="float32", requires_grad=False, device=None) -> Tensor:
    """A matrix of ones on the diagonal and zeros elsewhere, square by default."""
    return tensor(np.eye(rows, columns), dtype, requires_grad=requires_grad, device=device)


@explained
def rand(
    *shape: Any,
    dtype="float32",
    requires_grad: bool = False,
    device: str | None = None,
    stream: random.Stream | None = None,
) -> Tensor:
    """Random numbers, uniform between 0 and 1."""
    stream = stream or random.stream("train")
    return Tensor(stream.uniform(one_by_one(shape), dtype=dtype, device=device or "cpu"), requires_grad)


@explained
def randn(
    *shape: Any,
    dtype="float32",
    requires_grad: bool = False,
    device: str | None = None,
    stream: random.Stream | None = None,
) -> Tensor:
    """Random numbers, normal with mean 0 and standard deviation 1."""
    stream = stream or random.stream("train")
    return Tensor(stream.normal(one_by_one(shape), dtype=dtype, device=device or "cpu"), requires_grad)


def _alike(x, dtype):
    """What a Tensor like x has by default: its dtype, and its device."""
    data = x if isinstance(x, Tensor) else tensor(x, getattr(x, "dtype", None))
    return {"dtype": dtype or data.dtype, "device": data.device}, data.shape


@explained
def zeros_like(x, *, dtype=None, requires_grad: bool = False) -> Tensor:
    """A Tensor of zeros with the shape, dtype and device of x."""
    options, shape = _alike(x, dtype)
    return zeros(*shape, requires_grad=requires_grad, **options)


@explained
def ones_like(x, *, dtype=None, requires_grad: bool = False) -> Tensor:
    """A Tensor of ones with the shape, dtype and device of x."""
    options, shape = _alike(x, dtype)
    return ones(*shape, requires_grad=requires_grad, **options)


@explained
def full_like(x, value: float, *, dtype=None, requires_grad: bool = False) -> Tensor:
    """A Tensor of one value with the shape, dtype and device of x."""
    options, shape = _alike(x, dtype)
    return full(shape, value, requires_grad=requires_grad, **options)


@explained
def rand_like(x, *, dtype=None, requires_grad: bool = False, stream: random.Stream | None = None) -> Tensor:
    """Random numbers between 0 and 1 with the shape, dtype and device of x."""
    options, shape = _alike(x, dtype)
    return rand(*shape, requires_grad=requires_grad, stream=stream, **options)


@explained
def randn_like(x, *, dtype=None, requires_grad: bool = False, stream: random.Stream | None = None) -> Tensor:
    """Normal random numbers with the shape, dtype and device of x."""
    options, shape = _alike(x, dtype)
    return randn(*shape, requires_grad=requires_grad, stream=stream, **options)
