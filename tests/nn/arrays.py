"""Arrays of normal numbers as arguments of layers."""

import numpy as np


def real(*shape):
    """Normal float32 numbers that depend on the shape alone."""
    return np.random.default_rng(shape).standard_normal(shape).astype(np.float32)
