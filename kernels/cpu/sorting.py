"""The order of random words, by radix: three stable passes over 11, 11 and 10 bits."""

import functools

import numpy as np
from numba import types

from . import memory
from .jit import compiled
from .registry import registered


def _fill(words, first, second):
    """Sort words, with their indices; the indices in order are left in `first`."""
    size, mask = words.size, np.uint64(2047)
    counts = np.zeros((3, 2049), np.int64)
    for i in range(size):
        word = np.uint64(words[i])
        counts[0, (word & mask) + 1] += 1
        counts[1, ((word >> np.uint64(11)) & mask) + 1] += 1
        counts[2, (word >> np.uint64(22)) + 1] += 1
    for part in range(3):
        for i in range(2048):
            counts[part, i + 1] += counts[part, i]
    for i in range(size):  # a word and its index make one number of 64 bits
        word = np.uint64(words[i])
        place = word & mask
        first[counts[0, place]] = word << np.uint64(32) | np.uint64(i)
        counts[0, place] += 1
    for i in range(size):
        place = (first[i] >> np.uint64(43)) & mask
        second[counts[1, place]] = first[i]
        counts[1, place] += 1
    for i in range(size):
        place = second[i] >> np.uint64(54)
        first[counts[2, place]] = second[i] & np.uint64(0xFFFFFFFF)
        counts[2, place] += 1


@functools.cache
def _compiled_fill():
    arrays = types.uint32[::1], types.uint64[::1], types.uint64[::1]
    return compiled(_fill, types.void(*arrays))


@registered
def order_of(words):
    """The stable argsort of uint32 words, int64."""
    first, second = memory.empty(words.size, np.uint64), memory.empty(words.size, np.uint64)
    _compiled_fill()(memory.contiguous(words), first, second)
    return first.view(np.int64)
