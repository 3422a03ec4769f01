"""Bits per dimension."""

import math


def bits_per_dim(nats, shape: tuple[int, ...]):
    """Convert nats per example of this shape to bits per dimension, which compare images of different sizes."""
    return nats * (1 / (math.prod(shape) * math.log(2)))
