"""The decorator of the fast kernels, which take contiguous float32 arrays: the reference serves other dtypes."""

import functools

import numpy as np

from .. import reference
from . import memory

FLOAT32 = np.dtype(np.float32)


def single(function=None, *, strided: bool = False):
    """Extend a kernel for float32 arrays to all arrays: `kernels.reference` serves other dtypes.

    The dtype of the first argument decides. Arrays that are not contiguous are copied first, unless the kernel takes
    `strided` ones.
    """
    if function is None:
        return functools.partial(single, strided=strided)
    plain = getattr(reference, function.__name__)

    @functools.wraps(function)
    def kernel(*arguments, **static):
        dtype = arguments[0].dtype
        if dtype is not FLOAT32 and dtype != FLOAT32:
            return plain(*arguments, **static)
        if not strided:
            arguments = [_contiguous(a) for a in arguments]
            static = {name: _contiguous(a) for name, a in static.items()}
        return function(*arguments, **static)

    return kernel


def _contiguous(value):
    """An array as a contiguous one; anything else as it is."""
    if not isinstance(value, np.ndarray) or value.flags.c_contiguous:
        return value
    return memory.contiguous(value)
