"""Elementwise functions that NumPy has not."""

import math

import numpy as np

from .jit import jit


@jit
def _erf(x, y):
    for i in range(x.size):
        y[i] = math.erf(x[i])


def erf(x):
    """Error function, elementwise."""
    y = np.empty(x.shape, x.dtype)
    _erf(np.ascontiguousarray(x).reshape(-1), y.reshape(-1))
    return y
