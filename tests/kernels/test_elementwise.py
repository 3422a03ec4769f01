"""Elementwise kernels are within the bounds that they declare, over arguments of many magnitudes."""

import inspect

import numpy as np
import pytest

from tinygen.kernels import reference

cpu = pytest.importorskip("tinygen.kernels.cpu", reason="needs numba")
from tinygen.kernels.cpu.elementwise import ERRORS  # noqa: E402 (it needs numba)

COUNT = 50_001
NUMBER = 0.75  # for `alpha`, `slope` and `delta`: exact in float32


def numbers(rng, name):
    """Numbers for an argument: gradients within 1, targets of a cross-entropy from 0 to 1, all others up to 80."""
    if name in ("g", "difference"):
        return rng.uniform(-1, 1, COUNT).astype(np.float32)
    if name == "target":
        return rng.random(COUNT, np.float32)
    signs = rng.choice([-1, 1], COUNT)
    magnitudes = np.where(rng.random(COUNT) < 0.5, 2.0 ** rng.uniform(-40, 6.3, COUNT), 12 * rng.random(COUNT))
    return (signs * magnitudes).astype(np.float32)


def results(value):
    """The arrays that a kernel returns, and those among its residuals."""
    return [array for part in value for array in results(part)] if isinstance(value, tuple) else [value]


@pytest.mark.parametrize("name", ERRORS)
def test_errors_stay_within_the_declared_bounds(name):
    rng, plain = np.random.default_rng(0), getattr(reference, name)
    names = list(inspect.signature(plain).parameters)
    static = {"delta": NUMBER} if "delta" in names else {}
    arguments = [NUMBER if p in ("alpha", "slope") else numbers(rng, p) for p in names if p not in static]
    exact = plain(*(np.asarray(a, np.float64) for a in arguments), **static)
    for ours, theirs in zip(results(cpu.KERNELS[name](*arguments, **static)), results(exact), strict=True):
        assert ours.dtype == np.float32
        error = np.abs(ours - theirs) / np.maximum(1, np.abs(theirs))
        assert error.max() <= ERRORS[name] * 2.0**-23
