"""Update rules of the CPU against their reference, on flat buffers as optimisers pass them."""

import re
from pathlib import Path

import numpy as np
import pytest

from tests.kernels.calls import Call, cpu_kernel, reference_kernel
from tinygen.kernels import rules

pytest.importorskip("tinygen.kernels.cpu", reason="needs numba")

SIZES = (0, 1, 7, 130, 1025, 40_001)
NUMBERS = (0.7, 1.3, 0.1, 0.9, 0.99, 1.7, 1e-3, 0.2, 0.95)  # all different, none a power of two
COUNTS = {"sgd": 6, "adagrad": 5, "rmsprop": 6, "adam": 9}
each_implementation = pytest.mark.parametrize("kernel_of", [reference_kernel, cpu_kernel], ids=["reference", "cpu"])


def update_call(name: str, size: int, pieces: int = 1) -> Call:
    """A call of an update rule with its gradient in `pieces` arrays."""
    parameter, gradient, mean, square = np.random.default_rng(size).standard_normal((4, size), np.float32)
    states = {"sgd": (mean,), "adagrad": (square**2,), "rmsprop": (square**2,), "adam": (mean, square**2)}[name]
    numbers = np.array(NUMBERS[: COUNTS[name]], np.float32)
    return Call(name, (parameter, np.array_split(gradient, pieces), *states, numbers))


@pytest.mark.parametrize("pieces", [1, 3])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ["sgd", "adagrad", "rmsprop", "adam"])
def test_updates_match_their_reference(name, size, pieces):
    update_call(name, size, pieces).compare(tolerance=1e-6)


@pytest.mark.parametrize("name", ["sgd", "adagrad", "rmsprop", "adam"])
def test_an_update_changes_only_its_slice_of_the_buffers(name):
    call = update_call(name, 20)
    parameter, (gradient,), *states, numbers = call.with_arrays(np.copy).arguments
    cpu_kernel(name)(parameter[5:12], [gradient[:4], gradient[4:7]], *(state[5:12] for state in states), numbers)
    before = call.arguments[0], *call.arguments[2:-1]
    for was, now in zip(before, (parameter, *states), strict=True):
        assert (now[:5] == was[:5]).all()
        assert (now[12:] == was[12:]).all()
        assert (now[5:12] != was[5:12]).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@each_implementation
def test_a_decaying_state_becomes_zero_without_denormal_numbers(kernel_of, dtype):
    """Denormal numbers would slow every later step."""
    parameter, gradient, mean, square = (np.full(5, value, dtype) for value in (1, 0, 1e-3, 1e-3))
    numbers = np.array([1, np.inf, 1e-3, 0.5, 0.5, 1, 1e-8, 0, 1], dtype)
    for _ in range(1100):
        kernel_of("adam")(parameter, [gradient], mean, square, numbers)
        for state in (mean, square):
            assert ((state == 0) | (np.abs(state) >= np.finfo(dtype).tiny)).all()
    assert not mean.any()
    assert not square.any()


@each_implementation
def test_the_norm_is_of_clipped_values_and_nan_for_values_that_are_not_finite(kernel_of):
    large = np.array([3e30, -4e30], np.float32)
    assert kernel_of("norm")([large], np.inf) == pytest.approx(5e30)
    assert kernel_of("norm")([large, np.ones(2, np.float32)], 1.0) == pytest.approx(2)
    assert kernel_of("norm")([np.zeros(3, np.float32)], 1.0) == 0
    for value in (np.nan, np.inf):
        assert np.isnan(kernel_of("norm")([large, np.array([value, 1], np.float32)], 1.0))


@pytest.mark.parametrize("rule", [rules.Sgd, rules.Adagrad, rules.RmsProp, rules.Adam])
def test_cuda_structures_have_the_numbers_of_the_rules_in_the_same_order(rule):
    source = (Path(rules.__file__).parent / "cuda" / "updates.cu").read_text()
    (fields,) = re.findall(rf"struct {rule.__name__} {{\s+float ([^;]*);", source)
    assert fields.split(", ") == list(rule._fields)
    assert rule._fields[0] == "factor", "a captured step computes it on the device"
