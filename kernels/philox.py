"""Philox4x32-10, a counter-based generator.

Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3" (2011).
"""

import numpy as np

MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
KEY_STEPS = 0x9E3779B9, 0xBB67AE85
ROUNDS = 10
MASK32 = 0xFFFFFFFF
MASK64 = 0xFFFFFFFFFFFFFFFF


def philox(key0: int, key1: int, counter: int, blocks: int) -> np.ndarray:
    """uint32 words, shape (4 * blocks,): block i encrypts ``counter + i`` under the key (key0, key1).

    ``key0`` and ``key1`` are 32-bit; ``counter`` is 128-bit, its lowest word first. Only its low 64 bits
    count up, and wrap round without a carry into the high ones.
    """
    mask = np.uint64(MASK32)
    shift = np.uint64(32)
    low = np.arange(blocks, dtype=np.uint64) + np.uint64(counter & MASK64)
    high = np.full(blocks, counter >> 64, np.uint64)
    c0, c1, c2, c3 = low & mask, low >> shift, high & mask, high >> shift
    for n in range(ROUNDS):
        round_key0 = np.uint64((key0 + n * KEY_STEPS[0]) & MASK32)
        round_key1 = np.uint64((key1 + n * KEY_STEPS[1]) & MASK32)
        product0 = c0 * np.uint64(MULTIPLIERS[0])
        product1 = c2 * np.uint64(MULTIPLIERS[1])
        c0, c1 = (product1 >> shift) ^ c1 ^ round_key0, product1 & mask
        c2, c3 = (product0 >> shift) ^ c3 ^ round_key1, product0 & mask
    return np.stack([c0, c1, c2, c3], axis=1).astype(np.uint32).ravel()
