"""Dropout."""

from tinygen import random
from tinygen.backend import array_module, device_of
from tinygen.errors import UsageError
from tinygen.ops.arithmetic import where
from tinygen.tensor import Tensor


def dropout(x, probability: float = 0.5, *, training: bool = True, stream: random.Stream | None = None):
    """Set each element to zero with a probability, and scale the others by 1 / (1 - probability)."""
    if not 0 <= probability < 1:
        raise UsageError(f"dropout: probability {probability} is not in [0, 1)")
    if not training or probability == 0:
        return x
    data = _data(x)
    uniform = (stream or random.stream("train")).uniform(data.shape, dtype=data.dtype, device=device_of(data))
    return where(uniform >= probability, x * (1 / (1 - probability)), 0.0)


def dropout2d(x, probability: float = 0.5, *, training: bool = True, stream: random.Stream | None = None):
    """Set whole channels of each example (N, ..., C) to zero with a probability (Tompson et al. 2015)."""
    ones = array_module(_data(x)).ones((x.shape[0], *(1,) * (x.ndim - 2), x.shape[-1]), x.dtype)
    return x * dropout(ones, probability, training=training, stream=stream)


def _data(x):
    return x.data if isinstance(x, Tensor) else x
