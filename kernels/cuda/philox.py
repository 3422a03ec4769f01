"""Random words and numbers: the stream of `tinygen.random.Stream`, on the device.

A key is two 32-bit words, a counter an int of 128 bits. Beside words, these are made in one pass, of ceil(n / 4)
counters each, and are those that the methods of a Stream make of the words, to the bit (normals to 4 units in the last
place):

    uniform(key0, key1, counter, n, base=None)              float32 (n,)
    normal(key0, key1, counter, n, base=None)               float32 (n,)
    bernoulli(key0, key1, counter, probability, base=None)  float32 of the shape of a float32 probability
    integers(key0, key1, counter, high, n, base=None)       int64 (n,) in [0, high)

Numbers in float64 are made of words, as everywhere.

`base`, two uint64 on the device, is added to the low and to the high half of the counter when the kernel runs. So a
captured step counts its draws from 0, and what is written there before a replay says where it stands in the stream.
"""

from math import ceil

import numpy as np

from ..draws import draws
from .launches import over_threads
from .runtime import FLOAT32, Source, contiguous, empty

KEY = np.dtype([("of", np.uint32, 2)])
COUNTER = np.dtype([("low", np.uint64), ("high", np.uint64)])

_source = Source("philox.cu", "philox", "uniform", "normal", "bernoulli", "integers")


def _draw(name: str, key0: int, key1: int, counter: int, base, numbers, *arguments):
    if numbers.size:
        key, start = np.array([((key0, key1),)], KEY), np.array([(counter % 2**64, counter >> 64)], COUNTER)
        arguments = key, start, base, np.int64(numbers.size), numbers, *arguments
        _source[name](*over_threads(ceil(numbers.size / 4)), arguments)
    return numbers


def philox(key0: int, key1: int, counter: int, blocks: int):
    """uint32 words, shape (4 * blocks,), as `kernels.philox.philox` makes them."""
    return _draw("philox", key0, key1, counter, None, empty(4 * blocks, np.uint32))


_uniform, _normal, _bernoulli, _ = draws(philox)


def uniform(key0, key1, counter, n, base=None, dtype="float32"):
    """Uniform (n,) on the open interval (0, 1)."""
    if dtype != FLOAT32:
        return _uniform(key0, key1, counter, n, base, dtype)
    return _draw("uniform", key0, key1, counter, base, empty(n))


def normal(key0, key1, counter, n, base=None, dtype="float32"):
    """Standard normal (n,)."""
    if dtype != FLOAT32:
        return _normal(key0, key1, counter, n, base, dtype)
    return _draw("normal", key0, key1, counter, base, empty(n))


def bernoulli(key0, key1, counter, probability, base=None):
    """1 if a `uniform` is below the array `probability`, else 0; the result has its dtype and shape."""
    if probability.dtype != FLOAT32:
        return _bernoulli(key0, key1, counter, probability, base)
    return _draw("bernoulli", key0, key1, counter, base, empty(probability.shape), contiguous(probability))


def integers(key0, key1, counter, high, n, base=None):
    """int64 (n,) in [0, high), for high up to 2**32."""
    return _draw("integers", key0, key1, counter, base, empty(n, np.int64), np.uint64(high))
