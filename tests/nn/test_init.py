"""Initialisers: variances, shapes and random streams."""

import math

import numpy as np
import pytest

from tinygen import nn, random
from tinygen.errors import ShapeError
from tinygen.nn import init


@pytest.mark.parametrize(
    ("make", "variance", "uniform"),
    [
        (lambda shape: init.uniform(shape, 0.3), 0.3**2 / 3, True),
        (lambda shape: init.normal(shape, 0.3), 0.3**2, False),
        (init.glorot_uniform, 2 / (360 + 90), True),
        (init.glorot_normal, 2 / (360 + 90), False),
        (lambda shape: init.glorot_uniform(shape, gain=3.0), 9 * 2 / (360 + 90), True),
        (init.he_uniform, 2 / 360, True),
        (init.he_normal, 2 / 360, False),
        (lambda shape: init.he_normal(shape, gain=1.0), 1 / 360, False),
        (init.fan_in_uniform, 1 / (3 * 360), True),
        (lambda shape: init.fan_in_uniform(shape, 10), 1 / (3 * 10), True),
    ],
)
@pytest.mark.parametrize("shape", [(360, 90), (3, 3, 40, 10)])
def test_initialisers_have_their_variance(make, variance, uniform, shape):
    """The second shape is a convolution's: fans count its nine taps."""
    x = make(shape)
    n, std = x.size, math.sqrt(variance)
    kurtosis, spread = (1.8, math.sqrt(0.8)) if uniform else (3.0, math.sqrt(2))
    assert (x.shape, x.dtype) == (shape, np.float32)
    assert abs(x.mean()) < 4 * std / math.sqrt(n)
    assert abs(x.var() / variance - 1) < 4 * spread / math.sqrt(n)
    assert abs((x.astype("float64") ** 4).mean() / variance**2 - kurtosis) < 4 * math.sqrt(96 / n)
    if uniform:
        assert np.abs(x).max() <= math.sqrt(3 * variance)


def test_layers_are_initialised_from_the_init_stream_in_order():
    in_a_network = [p.numpy() for p in nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)).parameters()]
    assert random.get_state()["counters"]["init"] == 3 + 1 + 2 + 1
    random.seed(0)
    separately = [*nn.Linear(3, 4).parameters(), *nn.Linear(4, 2).parameters()]
    for a, b in zip(in_a_network, separately, strict=True):
        np.testing.assert_array_equal(a, b.numpy())


@pytest.mark.parametrize("shape", [(40, 25), (25, 40), (3, 3, 4, 20), (3, 4, 50), (1, 1)])
def test_orthogonal_weights_have_orthogonal_columns_or_rows_of_length_gain(shape):
    x = init.orthogonal(shape, gain=1.5)
    matrix = x.reshape(-1, shape[-1]).astype("float64")
    matrix = matrix if matrix.shape[0] >= matrix.shape[1] else matrix.T
    assert (x.shape, x.dtype, x.flags.c_contiguous) == (shape, np.float32, True)
    np.testing.assert_allclose(matrix.T @ matrix, 1.5**2 * np.eye(matrix.shape[1]), atol=1e-6)


def test_orthogonal_weights_have_the_moments_of_the_uniform_distribution_and_repeat_with_the_seed():
    """Each element of an orthogonal n x n matrix has mean 0 and variance 1 / n, its determinant either sign."""
    first = init.orthogonal((3, 3))
    many = np.stack([init.orthogonal((3, 3)) for _ in range(2000)])
    assert (np.abs(many.mean(0)) < 4 / math.sqrt(3 * 2000)).all()
    assert (np.abs((many**2).mean(0) - 1 / 3) < 4 * 0.3 / math.sqrt(2000)).all()
    assert abs((np.linalg.det(many) > 0).mean() - 0.5) < 4 * 0.5 / math.sqrt(2000)
    assert random.get_state()["counters"]["init"] == 2001 * 3
    random.seed(0)
    np.testing.assert_array_equal(init.orthogonal((3, 3)), first)
    with pytest.raises(ShapeError, match=r"orthogonal: .* not \(3,\)"):
        init.orthogonal((3,))
