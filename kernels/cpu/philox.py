"""Philox4x32-10 in numba: one pass over the blocks, which LLVM turns into vector instructions."""

import functools

import numpy as np
from numba import types

from ..philox import KEY_STEPS, MASK64, MULTIPLIERS, ROUNDS
from . import memory
from .jit import compiled
from .registry import registered


def _fill(words, key0, key1, low, high):
    shift = np.uint64(32)
    for i in range(words.size // 4):
        counter = low + np.uint64(i)
        c0, c1 = np.uint32(counter), np.uint32(counter >> shift)
        c2, c3 = np.uint32(high), np.uint32(high >> shift)
        k0, k1 = key0, key1
        for _ in range(ROUNDS):
            product0 = np.uint64(c0) * np.uint64(MULTIPLIERS[0])
            product1 = np.uint64(c2) * np.uint64(MULTIPLIERS[1])
            c0, c1 = np.uint32(product1 >> shift) ^ c1 ^ k0, np.uint32(product1)
            c2, c3 = np.uint32(product0 >> shift) ^ c3 ^ k1, np.uint32(product0)
            k0 = np.uint32(k0 + np.uint32(KEY_STEPS[0]))
            k1 = np.uint32(k1 + np.uint32(KEY_STEPS[1]))
        words[4 * i], words[4 * i + 1], words[4 * i + 2], words[4 * i + 3] = c0, c1, c2, c3


@functools.cache
def _compiled_fill():
    return compiled(_fill, types.void(types.uint32[::1], types.uint32, types.uint32, types.uint64, types.uint64))


@registered
def philox(key0: int, key1: int, counter: int, blocks: int) -> np.ndarray:
    """uint32 words, shape (4 * blocks,), as ``kernels.philox.philox`` makes them."""
    words = memory.empty(4 * blocks, np.uint32)
    _compiled_fill()(words, np.uint32(key0), np.uint32(key1), np.uint64(counter & MASK64), np.uint64(counter >> 64))
    return words
