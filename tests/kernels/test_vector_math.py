"""The float32 functions of the CPU kernels against float64, over arguments of every magnitude."""

import math

import numpy as np
import pytest

numba = pytest.importorskip("numba")
from tinygen.kernels import cpu  # noqa: E402 (it needs numba)
from tinygen.kernels.cpu import vector_math  # noqa: E402

TINY, LARGEST = 2.0**-126, float(np.finfo(np.float32).max)
EVERYTHING = np.arange(0, 1 << 32, 4099, dtype=np.uint32).view(np.float32)  # about 2000 arguments of each exponent
NEAR = np.linspace(-12, 12, 400_001, dtype=np.float32)
NANS = np.array([0x7FC00000, 0x7F800001, 0xFFFFFFFF, 0x7FC00155], np.uint32).view(np.float32)


def softplus(x):
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


FUNCTIONS = {  # in float64
    "exp": np.exp,
    "exp_minus_abs": lambda x: np.exp(-np.abs(x)),
    "log": np.log,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "softplus": softplus,
    "tanh": np.tanh,
    "erf": np.vectorize(math.erf, [np.float64]),
}
INF, NAN = np.inf, np.nan
EXACT = {  # pairs of argument and result
    "exp": [(0, 1), (-0.0, 1), (INF, INF), (-INF, 0), (89, INF), (-88, 0)],
    "exp_minus_abs": [(0, 1), (INF, 0), (-INF, 0), (88, 0), (1e-40, 1)],
    "log": [(1, 0), (0, -INF), (-0.0, -INF), (INF, INF), (-1, NAN), (-INF, NAN), (-1e-40, NAN)],
    "sigmoid": [(0, 0.5), (INF, 1), (-INF, 0), (100, 1), (-100, 0)],
    "softplus": [(INF, INF), (-INF, 0), (1e30, 1e30), (-100, 0)],
    "tanh": [(0, 0), (-0.0, -0.0), (INF, 1), (-INF, -1), (10, 1), (1e-40, 0)],
    "erf": [(0, 0), (-0.0, -0.0), (INF, 1), (-INF, -1), (4, 1), (1e-40, 0)],
}


def over_arrays(name):
    function = getattr(vector_math, name)

    @numba.njit(error_model="numpy")
    def loop(x, y):
        for i in range(x.size):
            y[i] = function(x[i])

    def applied(x):
        y = np.empty_like(x)
        loop(x, y)
        return y

    return applied


def test_every_function_with_a_bound_is_tested():
    assert {name for name, value in vars(vector_math).items() if hasattr(value, "ulp")} == set(FUNCTIONS)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_errors_stay_within_their_bounds(name):
    x = np.concatenate([EVERYTHING, NEAR])
    x = x[np.isfinite(x) & (x > 0 if name == "log" else True)]
    if name in ("tanh", "erf"):
        x = x[np.abs(x) >= TINY]
    with np.errstate(over="ignore", under="ignore"):
        expected = FUNCTIONS[name](x.astype(np.float64))
    y = over_arrays(name)(x)
    over, under = np.abs(expected) > LARGEST, np.abs(expected) < TINY
    assert (np.abs(y[over]) == np.inf).all()
    assert (np.abs(y[under]) <= TINY).all()
    plain = ~over & ~under
    units = 2.0 ** (np.frexp(expected[plain])[1] - 24)
    assert (np.abs(y[plain] - expected[plain]) / units).max() <= getattr(vector_math, name).ulp


@pytest.mark.parametrize("name", FUNCTIONS)
def test_special_values_are_exact(name):
    function = over_arrays(name)
    for copies in (1, 16):  # what is left over from vectors, and vectors
        x, expected = np.repeat(np.array(EXACT[name], np.float32), copies, axis=0).T.copy()
        y = function(x)
        np.testing.assert_array_equal(y, expected)
        np.testing.assert_array_equal(np.signbit(y) & ~np.isnan(y), np.signbit(expected))
        assert np.isnan(function(np.repeat(NANS, copies))).all()


def test_the_error_function_in_float64_is_within_3_units_in_the_last_place():
    x = np.concatenate([np.linspace(-7, 7, 20_001), np.logspace(-300, 1, 3000)])
    expected = np.array([math.erf(value) for value in x])
    assert (np.abs(cpu.KERNELS["erf"](x) - expected) <= 3 * np.spacing(np.abs(expected))).all()
    extreme = np.array([0.0, -0.0, np.inf, -np.inf, np.nan])
    np.testing.assert_array_equal(cpu.KERNELS["erf"](extreme), [0, 0, 1, -1, np.nan])
    assert np.signbit(cpu.KERNELS["erf"](extreme)[1])
