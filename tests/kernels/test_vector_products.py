"""Products of a matrix and a column, which have kernels of their own, against float64."""

import numpy as np
import pytest

from tests.kernels.calls import cpu_kernel

SIZES = [(1, 1), (1, 700), (700, 1), (3, 5), (130, 2000), (2000, 130), (70_001, 3), (3, 70_001)]


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_matrices_times_a_column(size, transposed):
    rng = np.random.default_rng(0)
    matrix = rng.random(size[::-1] if transposed else size, np.float32) + np.float32(0.5)
    matrix = matrix.T if transposed else matrix
    column = rng.random((size[1], 1), np.float32)
    ours, theirs = cpu_kernel("matmul")(matrix, column), matrix.astype(np.float64) @ column
    assert ours.shape == theirs.shape
    assert np.abs(ours / theirs - 1).max() < 1e-6


def test_bias_and_slope_of_a_last_layer():
    rng = np.random.default_rng(0)
    x, w, bias = (
        rng.standard_normal((64, 300), np.float32),
        rng.standard_normal((300, 1), np.float32),
        np.float32([0.5]),
    )
    y = x.astype(np.float64) @ w + bias
    ours = cpu_kernel("matmul")(x, w, bias, 0.2)
    np.testing.assert_allclose(ours, np.maximum(y, 0.2 * y), atol=1e-5)


def test_a_row_is_the_same_for_every_number_of_rows():
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((500, 999), np.float32), rng.standard_normal((999, 1), np.float32)
    whole = cpu_kernel("matmul")(x, w)
    assert whole[:7].tobytes() == cpu_kernel("matmul")(x[:7], w).tobytes()
    assert whole[:1].tobytes() == cpu_kernel("matmul")(x[:1], w).tobytes()
