"""Dropout."""

from tinygen import random
from tinygen.autograd import array_of
from tinygen.backend import device_of
from tinygen.errors import UsageError
from tinygen.ops.arithmetic import where


def dropout(x, probability: float = 0.5, *, training: bool = True, stream: random.Stream | None = None):
    """Set each element to zero with a probability, and scale the others by 1 / (1 - probability)."""
    return _dropped("dropout", x, x.shape, probability, training, stream)


def dropout2d(x, probability: float = 0.5, *, training: bool = True, stream: random.Stream | None = None):
    """Set whole channels of each example (N, ..., C) to zero with a probability (Tompson et al. 2015)."""
    return _dropped("dropout2d", x, (x.shape[0], *(1,) * (x.ndim - 2), x.shape[-1]), probability, training, stream)


def _dropped(name: str, x, shape, probability: float, training: bool, stream: random.Stream | None):
    """x without what one draw of a shape drops, which broadcasts to that of x."""
    if not 0 <= probability < 1:
        raise UsageError(f"{name}: probability {probability} is not in [0, 1)")
    if not training or probability == 0:
        return x
    data = array_of(x)
    uniform = (stream or random.stream("train")).uniform(shape, dtype=data.dtype, device=device_of(data))
    return where(uniform >= probability, x * (1 / (1 - probability)), 0.0)
