"""Whole powers of the CPU: in float64 they equal the reference to the bit."""

import numpy as np
import pytest

from tests.kernels.calls import cpu_kernel, reference_kernel

pytest.importorskip("tinygen.kernels.cpu", reason="needs numba")

EXPONENTS = (3, 4, 5, 8, 31, 32, -2, -3, -4, -31, -32)
SIZES = (1023, 1024, 1025, 16_383, 16_385, 40_000)


@pytest.mark.parametrize("exponent", EXPONENTS)
def test_powers_in_float64_equal_their_reference(exponent):
    for size in SIZES:
        x = np.random.default_rng(size).standard_normal(size) * 3
        ours = cpu_kernel("whole_power")(x, exponent)
        assert ours.dtype == np.float64
        np.testing.assert_array_equal(ours, reference_kernel("whole_power")(x, exponent))


@pytest.mark.parametrize("exponent", EXPONENTS)
def test_extreme_numbers_in_float64_have_the_powers_of_their_reference(exponent):
    """Also where the power, or what its reciprocal is taken of, is denormal: neither is flushed to zero."""
    special = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1.2e-154, -1.2e-154, 2e-103, -2e-103, 5e-324, 1e300])
    x = np.concatenate([special, 10.0 ** np.linspace(-320, 308, 5000)])
    with np.errstate(all="ignore"):
        right = reference_kernel("whole_power")(x, exponent)
    ours = cpu_kernel("whole_power")(x, exponent)
    np.testing.assert_array_equal(ours, right)
    np.testing.assert_array_equal(np.signbit(ours[~np.isnan(x)]), np.signbit(right[~np.isnan(x)]))


@pytest.mark.parametrize("exponent", EXPONENTS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_arrays_need_not_be_contiguous(exponent, dtype):
    x = np.random.default_rng(0).uniform(0.5, 1.9, (70, 90)).astype(dtype)
    for strided in (x.T, x[:, ::2], x[::-1]):
        ours = cpu_kernel("whole_power")(strided, exponent)
        assert (ours.shape, ours.dtype) == (strided.shape, dtype)
        right = strided.astype(np.float64) ** exponent
        np.testing.assert_allclose(ours, right, rtol=3e-7 if dtype == np.float32 else 3e-15)
