"""Bits per dimension."""

import math


def bits_per_dim(nats, shape: tuple[int, ...]):
    """Nats per example of this shape in bits per dimension, by which images of different sizes are compared."""
    return nats * (1 / (math.prod(shape) * math.log(2)))
