"""Arrays for tests that compare devices, and the comparison of results."""

import numpy as np

from tinygen.backend import to_numpy
from tinygen.random import Stream


def normal(*shape):
    """Normal numbers that depend on the shape alone."""
    return Stream(1, "test").normal(shape)


def images(*shape):
    """Binary images that depend on the shape alone."""
    return (normal(*shape) > 0).astype(np.float32)


def assert_same(actual, expected, tolerance=1e-5):
    """Assert that arrays, or dicts, tuples or lists of them, on any devices, are equal up to the tolerance."""
    if isinstance(expected, dict):
        assert actual.keys() == expected.keys()
        actual, expected = [actual[key] for key in expected], list(expected.values())
    if isinstance(expected, tuple | list):
        for a, e in zip(actual, expected, strict=True):
            assert_same(a, e, tolerance)
        return
    actual, expected = (np.asarray(x if np.isscalar(x) else to_numpy(x)) for x in (actual, expected))
    assert (actual.dtype, actual.shape) == (expected.dtype, expected.shape)
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)
