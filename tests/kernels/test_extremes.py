"""Extremes over axes of the CPU: they equal NumPy's, wherever the number is, and NaN where one is."""

import itertools

import numpy as np
import pytest

import tinygen as tg
from tests.kernels.calls import cpu_kernel, reference_kernel

pytest.importorskip("tinygen.kernels.cpu", reason="needs numba")
from tinygen.kernels.cpu import extremes

SHAPES = [
    (1, 700),
    (2, 511),
    (700, 1),
    (300, 2),
    (171, 3),
    (100, 10),
    (64, 15),
    (64, 16),
    (64, 17),
    (40, 33),
    (30, 100),
]
SHAPES += [(9, 1000), (1000, 9), (3, 127), (5, 128), (70, 129), (33, 1025), (2, 40_000), (40_000, 2), (7, 2100)]
SHAPES += [(3, 200_000), (5, 7, 130), (130, 3, 5), (4, 70, 6, 5), (2, 3, 100, 3, 2), (6, 40, 20)]
NAMES = ("max_over", "min_over")


def check(x: np.ndarray, name: str) -> None:
    """Compare a kernel with its reference over all sets of axes."""
    for count in range(x.ndim + 1):
        for axes in itertools.combinations(range(x.ndim), count):
            ours, theirs = cpu_kernel(name)(x, axes), reference_kernel(name)(x, axes)
            assert (ours.shape, ours.dtype) == (theirs.shape, x.dtype), axes
            np.testing.assert_array_equal(ours, theirs, f"{x.shape} {axes}")
            kept = cpu_kernel(name)(x, axes, True)
            np.testing.assert_array_equal(kept, reference_kernel(name)(x, axes, True))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_extremes_equal_numpys(shape, name):
    check(np.random.default_rng(0).standard_normal(shape, np.float32), name)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(45, 13), (20, 41), (3, 515), (515, 3), (2, 6, 50)], ids=str)
def test_every_place_counts(shape, name):
    """Wherever the extreme or a NaN is, it is found, and a NaN is found beside infinities of both signs."""
    x = np.zeros(shape, np.float32)
    for number in (np.float32(1 if name == "max_over" else -1), np.nan, -np.float32(np.nan)):
        for place in range(0, x.size, 1 if x.size < 800 else 5):
            x.flat[place] = number
            for axes in ((0,), (x.ndim - 1,), tuple(range(x.ndim))):
                np.testing.assert_array_equal(cpu_kernel(name)(x, axes), reference_kernel(name)(x, axes))
            x.flat[place] = 0


@pytest.mark.parametrize("name", NAMES)
def test_special_numbers(name):
    """Infinities, denormal numbers (which other kernels may take for zero) and NaN of both signs."""
    tiny = np.float32(1e-45)
    special = np.array([0, tiny, -tiny, 5 * tiny, -3 * tiny, np.inf, -np.inf, np.nan, 3e38, -3e38], np.float32)
    rng = np.random.default_rng(0)
    for kept in (5, 7, 10):
        for shape in ((400, 3), (50, 40), (3, 700)):
            check(special[rng.integers(0, kept, shape)], name)
    for number in special:
        check(np.full((60, 20), number), name)


@pytest.mark.parametrize("name", NAMES)
def test_arrays_of_other_layouts_and_dtypes(name):
    x = np.random.default_rng(0).standard_normal((40, 60))
    for other in (x, x.astype(np.float32).T, x.astype(np.float32)[::2], x.astype(np.int64), x.astype(np.float16)):
        check(other, name)


@pytest.fixture
def short_limits(monkeypatch):
    """Take the extremes of a long row, and of many rows, in several passes."""
    for limit in ("BLOCK", "LONG"):
        monkeypatch.setattr(extremes, limit, 50)
    extremes._plan.cache_clear()
    yield
    extremes._plan.cache_clear()


@pytest.mark.parametrize("name", NAMES)
def test_work_is_cut_into_passes(name, short_limits):
    x = np.random.default_rng(0).standard_normal((13, 2600), np.float32)
    assert len(extremes._plan(True, x.shape, (1,))) > 1
    check(x, name)


def test_operations_use_the_kernels_and_pass_nan_on():
    x = np.random.default_rng(0).standard_normal((300, 7), np.float32)
    x[5, 3] = np.nan
    np.testing.assert_array_equal(tg.tensor(x).max(axis=-1).numpy(), x.max(-1))
    np.testing.assert_array_equal(tg.tensor(x).min(axis=(0, 1), keepdims=True).numpy(), x.min((0, 1), keepdims=True))
