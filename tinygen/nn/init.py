"""Initialisers: each returns a float32 array of the given shape, drawn from the random stream `init`.

Weights are (in, out) of a linear layer, or (..., C / groups, K) of a convolution, whose fans are taps times channels.
"""

import math

import numpy as np

from tinygen import random, words
from tinygen.errors import ShapeError


def _fans(shape: tuple[int, ...]) -> tuple[int, int]:
    taps = math.prod(shape[:-2])
    return shape[-2] * taps, shape[-1] * taps


def constant(shape, value: float):
    """One value everywhere."""
    return np.full(shape, value, np.float32)


def uniform(shape, bound: float):
    """Uniform on (-bound, bound)."""
    return (2 * random.stream("init").uniform(shape) - 1) * np.float32(bound)


def normal(shape, std: float):
    """Normal with mean 0 and standard deviation `std`."""
    return random.stream("init").normal(shape) * np.float32(std)


def glorot_uniform(shape, *, gain: float = 1.0):
    """Variance gain^2 * 2 / (fan_in + fan_out) (Glorot & Bengio 2010, equation 16)."""
    return uniform(shape, gain * math.sqrt(6 / sum(_fans(shape))))


def glorot_normal(shape, *, gain: float = 1.0):
    """Variance gain^2 * 2 / (fan_in + fan_out), normal."""
    return normal(shape, gain * math.sqrt(2 / sum(_fans(shape))))


def he_uniform(shape, *, gain: float = math.sqrt(2)):
    """Variance gain^2 / fan_in (He et al. 2015, equation 10; gain sqrt(2) is for ReLU)."""
    return uniform(shape, gain * math.sqrt(3 / _fans(shape)[0]))


def he_normal(shape, *, gain: float = math.sqrt(2)):
    """Variance gain^2 / fan_in, normal."""
    return normal(shape, gain / math.sqrt(_fans(shape)[0]))


def fan_in_uniform(shape, fan_in: int | None = None):
    """Uniform on (-1, 1) / sqrt(fan_in): the default of linear and convolutional layers, as in PyTorch."""
    return uniform(shape, 1 / math.sqrt(fan_in or _fans(shape)[0]))


def orthogonal(shape, *, gain: float = 1.0):
    """Orthogonal columns or rows, whichever are fewer, of length `gain` in the matrix (taps * in, out).

    Uniform among all such matrices (Saxe et al. 2014): the Q of a normal matrix, signed so that R has a positive
    diagonal (Mezzadri 2007).
    """
    if len(shape) < 2:
        raise ShapeError(f"orthogonal: takes the shape of a weight with two axes or more, not {tuple(shape)}")
    # In float64, so that rounding to float32 below hides the differences between LAPACK libraries.
    matrix = normal((math.prod(shape[:-1]), shape[-1]), 1.0).astype("float64")
    more_columns = matrix.shape[0] < matrix.shape[1]
    q, r = np.linalg.qr(matrix.T if more_columns else matrix)
    q *= np.where(r.diagonal() < 0, -gain, gain)
    return np.ascontiguousarray(q.T if more_columns else q, np.float32).reshape(shape)


def __getattr__(name: str):
    raise words.missing("module 'tinygen.nn.init'", name, words.INITIALISERS)
