"""The kernels of the CPU by name: a decorator registers each where it stands."""

import functools
from collections.abc import Callable

import numpy as np

from .. import reference
from . import memory

FLOAT32 = np.dtype(np.float32)
KERNELS: dict[str, Callable] = {}


def registered(function):
    """Register a kernel, which has the name and the signature of its reference in `kernels.reference`."""
    KERNELS[function.__name__] = function
    return function


def single(function=None, *, strided: bool = False):
    """Register a kernel that takes contiguous float32 arrays, and extend it to all: the reference serves other dtypes.

    The dtype of the first argument decides. Arrays that are not contiguous are copied first, unless the kernel takes
    `strided` ones.
    """
    if function is None:
        return functools.partial(single, strided=strided)
    plain = getattr(reference, function.__name__)

    @registered
    @functools.wraps(function)
    def kernel(*arguments, **static):
        dtype = arguments[0].dtype
        if dtype is not FLOAT32 and dtype != FLOAT32:
            return plain(*arguments, **static)
        if not strided:
            arguments = [contiguous(a) for a in arguments]
            static = {name: contiguous(a) for name, a in static.items()}
        return function(*arguments, **static)

    return kernel


def contiguous(value):
    """An array as a contiguous one; anything else as it is."""
    if not isinstance(value, np.ndarray) or value.flags.c_contiguous:
        return value
    return memory.contiguous(value)
