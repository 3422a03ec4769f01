"""The array library of an array, for code that serves NumPy and CuPy."""

import sys

import numpy as np


def namespace(array):
    """The library that an array belongs to, the module numpy or cupy; numpy for a number."""
    if isinstance(array, (np.ndarray, np.generic, float, int)):
        return np
    return sys.modules[type(array).__module__.partition(".")[0]]


def zeros(shape, like):
    """An array of zeros, of the library, dtype and device of an array."""
    return namespace(like).zeros_like(like, shape=shape, order="C")
