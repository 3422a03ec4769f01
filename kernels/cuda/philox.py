"""Random words and numbers: the stream of `tinygen.random.Stream`, on the device.

A key is two 32-bit words, a counter an int of 128 bits. Beside words, these are made in one pass, of ceil(n / 4)
counters each, and are those that the methods of a Stream make of the words, to the bit (normals to 4 units in the last
place):

    uniform(key0, key1, counter, n, base=None)              float32 (n,)
    normal(key0, key1, counter, n, base=None)               float32 (n,)
    bernoulli(key0, key1, counter, probability, base=None)  float32 of the shape of a float32 probability
    integers(key0, key1, counter, high, n, base=None)       int64 (n,) in [0, high)

`base`, two uint64 on the device, is added to the low and to the high half of the counter when the kernel runs. So a
captured step counts its draws from 0, and what is written there before a replay says where it stands in the stream.
"""

from math import ceil

import numpy as np

from .launches import over_threads
from .runtime import Source, contiguous, empty

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


def uniform(key0: int, key1: int, counter: int, n: int, base=None):
    """float32 (n,) in the open interval (0, 1)."""
    return _draw("uniform", key0, key1, counter, base, empty(n))


def normal(key0: int, key1: int, counter: int, n: int, base=None):
    """Standard normal float32 (n,)."""
    return _draw("normal", key0, key1, counter, base, empty(n))


def bernoulli(key0: int, key1: int, counter: int, probability, base=None):
    """1 where a `uniform` is below a float32 probability, else 0; float32 of its shape."""
    return _draw("bernoulli", key0, key1, counter, base, empty(probability.shape), contiguous(probability))


def integers(key0: int, key1: int, counter: int, high: int, n: int, base=None):
    """int64 (n,) in [0, high), for high up to 2**32."""
    return _draw("integers", key0, key1, counter, base, empty(n, np.int64), np.uint64(high))
