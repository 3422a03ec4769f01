"""Elementwise kernels, softmax and losses of the CPU against their references, and with extreme arguments."""

import numpy as np
import pytest

from tinygen.kernels import reference

cpu = pytest.importorskip("tinygen.kernels.cpu", reason="needs numba")
from tinygen.kernels.cpu.elementwise import ERRORS  # noqa: E402 (it needs numba)

MAPS = ["erf", "exp", "gelu", "sigmoid", "silu", "softplus"]
SIZES = [1, 5, 33, 1000, 16384, 16389, 50_001]  # less than a vector, one block of a thread, several blocks


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def parts(result):
    """The arrays of a result, which may be nested in tuples."""
    return [a for part in result for a in parts(part)] if isinstance(result, tuple) else [result]


def gradient(*shape):
    """Numbers between -1 and 1."""
    return np.random.default_rng(1).uniform(-1, 1, shape).astype(np.float32)


def compare(name, *arguments, tolerance=None, **static):
    """Assert that a kernel matches the reference in float64; return its residuals, if it has any."""
    if tolerance is None:
        tolerance = ERRORS[name] * 2.0**-23 if name in ERRORS else 2e-6
    result = cpu.KERNELS[name](*arguments, **static)
    exact = [a.astype(np.float64) if isinstance(a, np.ndarray) and a.dtype == np.float32 else a for a in arguments]
    for fast, slow in zip(parts(result), parts(getattr(reference, name)(*exact, **static)), strict=True):
        assert fast.shape == slow.shape
        assert fast.dtype == np.float32 or slow.dtype.kind in "iu"
        np.testing.assert_allclose(fast, slow, rtol=tolerance, atol=tolerance)
    return result[-1] if isinstance(result, tuple) and isinstance(result[-1], tuple) else ()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", MAPS)
def test_elementwise_kernels_match_their_reference(name, size):
    x = 3 * normal(size)
    compare(name, x)
    if name in ("gelu", "silu"):
        compare(f"{name}_backward", gradient(size), x)


@pytest.mark.parametrize("shape", [(2,), (1, 2), (7, 6), (5, 3, 64), (100_000, 2), (3, 40_000), (0, 4)])
def test_gated_tanh_matches_its_reference(shape):
    x = 3 * normal(*shape)
    compare("gated_tanh", x)
    compare("gated_tanh_backward", normal(*shape[:-1], shape[-1] // 2, seed=1), x)


@pytest.mark.parametrize("name", MAPS)
def test_an_element_is_the_same_for_every_size_of_the_array(name):
    x = 3 * normal(50_001)
    x[::1000] *= 1e-39  # denormal, which kernels take for zero
    y = parts(cpu.KERNELS[name](x))[0]
    for size in SIZES:
        np.testing.assert_array_equal(parts(cpu.KERNELS[name](x[:size]))[0], y[:size])


@pytest.mark.parametrize("name", MAPS)
def test_elementwise_kernels_take_any_shape_and_layout(name):
    for x in (normal(), normal(3, 0), normal(4, 6)[:, ::2].T, np.broadcast_to(normal(4, 1), (4, 5))):
        x.flags.writeable = False
        compare(name, x)


@pytest.mark.parametrize("size", SIZES)
def test_terms_of_a_variational_bound_match_their_reference(size):
    x, log_var, g = normal(size), normal(size, seed=1), gradient(size)
    target = np.random.default_rng(4).random(size, dtype=np.float32)
    compare("binary_cross_entropy_with_logits_backward", g, *compare("binary_cross_entropy_with_logits", x, target))
    compare("gaussian_kl_backward", g, *compare("gaussian_kl", x, log_var))


def test_terms_of_a_variational_bound_take_slices():
    both, target = normal(6, 8), np.float32(0.3) * np.ones((6, 1), np.float32)
    mean, log_var = both[:, :4], both[:, 4:]
    compare("gaussian_kl_backward", gradient(6, 4), *compare("gaussian_kl", mean, log_var))
    compare("binary_cross_entropy_with_logits", mean, target)  # arguments that broadcast are the reference's


def test_binary_cross_entropy_of_extreme_logits():
    x = np.array([-np.inf, -1e30, -90, 90, 1e30, np.inf, np.nan], np.float32)
    y, (difference,) = cpu.KERNELS["binary_cross_entropy_with_logits"](x, np.array([0, 1, 0, 1, 0, 1, 0], np.float32))
    np.testing.assert_array_equal(y, np.array([0, 1e30, 0, 0, 1e30, 0, np.nan], np.float32))  # 0 log 0 is 0
    np.testing.assert_array_equal(difference, np.array([0, -1, 0, 0, 1, 0, np.nan], np.float32))


ROW_SHAPES = [(3, 1), (7, 2), (300, 10), (2, 3, 17), (5, 256), (70, 1000), (3, 40_000), (12,)]


@pytest.mark.parametrize("shape", ROW_SHAPES, ids=str)
def test_softmax_and_cross_entropy_match_their_reference(shape):
    x, g = 3 * normal(*shape), normal(*shape, seed=1)
    for name in ("softmax", "log_softmax"):
        for axis in {-1, x.ndim - 1, 0}:
            tolerance = 1e-4 if "log" in name and shape[axis] > 10_000 else 5e-6  # the sum of g has that many terms
            residuals = compare(name, x, axis=axis)
            compare(f"{name}_backward", g, *residuals, axis=axis, tolerance=tolerance)
    for kind in (np.int64, np.uint8):
        target = np.random.default_rng(2).integers(0, min(shape[-1], 200), shape[:-1]).astype(kind)
        compare("cross_entropy_backward", np.asarray(g[..., 0]), *compare("cross_entropy", x, target))


@pytest.mark.parametrize("shape", [(0, 3), (2, 0, 3)], ids=str)
def test_softmax_and_cross_entropy_of_no_rows(shape):
    x, target = normal(*shape), np.zeros(shape[:-1], np.int64)
    compare("softmax_backward", x, *compare("softmax", x))
    compare("log_softmax_backward", x, *compare("log_softmax", x))
    compare("cross_entropy_backward", x[..., 0], *compare("cross_entropy", x, target))


def test_softmax_and_cross_entropy_of_extreme_numbers():
    inf, nan = np.inf, np.nan
    x = np.array(
        [[-inf, 0, 0], [-1e30, 1e30, 1e30], [200, -200, 200], [0, inf, 0], [nan, 0, 1], [-inf] * 3], np.float32
    )
    expected = np.array([[0, 0.5, 0.5]] * 2 + [[0.5, 0, 0.5]] + [[nan] * 3] * 3, np.float32)
    for copies in (1, 7):
        repeated, expected_of_repeated = np.tile(x, copies), np.tile(expected, copies) / np.float32(copies)
        y = cpu.KERNELS["softmax"](repeated)[0]
        np.testing.assert_array_equal(np.isnan(y[:3]), False)
        np.testing.assert_allclose(y[[0, 1, 2, 4, 5]], expected_of_repeated[[0, 1, 2, 4, 5]], rtol=1e-6)
        assert np.isnan(y[3]).any()
        np.testing.assert_allclose(
            np.exp(cpu.KERNELS["log_softmax"](repeated)[0][:3]), expected_of_repeated[:3], rtol=1e-6
        )
        loss, _ = cpu.KERNELS["cross_entropy"](repeated, np.array([0, 1, 1, 1, 1, 1]))
        np.testing.assert_allclose(loss[:3], [inf, np.log(2 * copies), 400 + np.log(2 * copies)], rtol=1e-6)
        assert np.isnan(loss[3:]).all()


@pytest.mark.parametrize("wrong", [-1, 5, 1 << 40])
def test_a_class_out_of_range_gives_nan_and_reads_no_memory_outside(wrong):
    y, residuals = cpu.KERNELS["cross_entropy"](normal(3, 5), np.array([0, wrong, 4]))
    assert np.isnan(y).tolist() == [False, True, False]
    assert np.isfinite(cpu.KERNELS["cross_entropy_backward"](normal(3), *residuals)[0]).all()


@pytest.mark.parametrize("name", ["softmax", "log_softmax", "cross_entropy"])
def test_a_row_is_the_same_for_every_number_of_rows(name):
    x, target = 3 * normal(4000, 10), (np.zeros(4000, np.int64),) if name == "cross_entropy" else ()
    y = cpu.KERNELS[name](x, *target)[0]
    for rows in (1, 7, 1639):
        np.testing.assert_array_equal(cpu.KERNELS[name](x[:rows], *(t[:rows] for t in target))[0], y[:rows])
