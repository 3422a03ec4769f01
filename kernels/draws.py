"""Random numbers made from a generator's words: the definition of the numbers that every device draws.

n numbers of a key (two 32-bit words) use ceil(n / 4) blocks from `counter` (128 bits) on. `base`, two uint64 on the
device, is added to the low and to the high half of the counter; reading it here waits for a GPU.
"""

import math

import numpy as np

from .namespace import namespace

LARGEST_BELOW_ONE = 1 - 2.0**-24


def words(philox, key0, key1, counter, n, base):
    """n words of a generator."""
    if base is not None:
        low, high = base.tolist()
        counter = ((counter >> 64) + high) % 2**64 << 64 | (counter + low) % 2**64
    return philox(key0, key1, counter, -(-n // 4))[:n]


def draws(philox):
    """Make the functions `uniform`, `normal`, `bernoulli` and `integers` from a generator of words."""

    def uniform(key0, key1, counter, n, base=None, dtype="float32"):
        """Uniform (n,) on the open interval (0, 1): (k + 0.5) 2^-24 for a random 24-bit integer k."""
        return _unit_interval(words(philox, key0, key1, counter, n, base), dtype)

    def normal(key0, key1, counter, n, base=None, dtype="float32"):
        """Standard normal (n,), computed in float64: words 2i and 2i + 1 give numbers 2i and 2i + 1."""
        pairs = words(philox, key0, key1, counter, n + n % 2, base)
        u1, u2 = (_unit_interval(pairs[i::2], "float64") for i in (0, 1))
        xp = namespace(pairs)
        radius, angle = xp.sqrt(-2 * xp.log(u1)), 2 * math.pi * u2
        numbers = xp.empty(pairs.shape, dtype)
        numbers[0::2], numbers[1::2] = radius * xp.cos(angle), radius * xp.sin(angle)
        return numbers[:n]

    def bernoulli(key0, key1, counter, probability, base=None):
        """1 if a `uniform` of the dtype of an array `probability` is below it, else 0."""
        numbers = uniform(key0, key1, counter, probability.size, base, probability.dtype)
        numbers = namespace(probability).asarray(numbers).reshape(probability.shape)
        return (numbers < probability).astype(probability.dtype)

    def integers(key0, key1, counter, high, n, base=None):
        """int64 (n,) in [0, high), for high up to 2**32: word * high / 2**32, rounded down."""
        numbers = words(philox, key0, key1, counter, n, base).astype("uint64")
        return ((numbers * np.uint64(high)) >> np.uint64(32)).astype("int64")

    return uniform, normal, bernoulli, integers


def _unit_interval(words, dtype):
    words >>= 8  # in place, since nobody else uses the words: fresh pages cost more than the arithmetic
    numbers = words.astype(dtype)
    numbers += 0.5
    numbers *= 2.0**-24
    return numbers.clip(0, LARGEST_BELOW_ONE, out=numbers) if numbers.dtype == "float32" else numbers
