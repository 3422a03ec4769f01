"""The kernels of `normalize` in float32 against the reference in float64: sizes, layouts, a mean far from zero."""

import numpy as np
import pytest

from tinygen.backend import kernel
from tinygen.kernels import reference

# Shape, axes, shape of the scale. Numbers of channels that are no multiple of a vector, single rows, samples of one
# block and of many; the last ones are computed by the reference alone.
CASES = [
    ((64, 5, 7, 64), (0, 1, 2), (64,)),
    ((9, 7, 1), (0, 1), (1,)),
    ((5000, 3), (0,), (3,)),
    ((20_000, 17), (0,), (17,)),
    ((1, 5), (0,), (5,)),
    ((130, 1100), (0,), (1100,)),
    ((33, 100), (1,), (100,)),
    ((1, 7), (-1,), (7,)),
    ((4, 3, 5, 6), (2, 3), (5, 6)),
    ((3000, 16), (1,), (16,)),
    ((2, 70_000), (1,), (70_000,)),
    ((4, 9, 9, 17), (1, 2), (17,)),
    ((20, 49, 128), (1,), (128,)),
    ((2, 9000, 3), (1,), (3,)),
    ((4, 81, 3, 5), (1, 3), (3, 5)),
    ((20, 64, 8, 8), (1, 3), (8, 8)),
    ((2, 5000, 4, 2), (1, 3), (4, 2)),
    ((3, 2, 3, 2, 2), (0, 2, 4), (2, 3, 2, 2)),
]


def random_arguments(shape, row, mean=0.0):
    rng = np.random.default_rng(len(shape))
    arrays = [rng.standard_normal(s) + m for s, m in ((shape, mean), (row, 1.0), (row, 0.0), (shape, 0.0))]
    return [a.astype("float32") for a in arrays]


def kernel_and_reference(x, scale, shift, g, **static):
    """Outputs and gradients of the kernel in float32, and of the reference in float64."""
    results = []
    for kernel_of, dtype in ((kernel, "float32"), (lambda name, _: getattr(reference, name), "float64")):
        arguments = [None if a is None else a.astype(dtype) for a in (x, scale, shift)]
        outputs, residuals = kernel_of("normalize", "cpu")(*arguments, **static)
        results.append([*outputs, *kernel_of("normalize_backward", "cpu")(g.astype(dtype), *residuals, **static)])
    return results


@pytest.mark.parametrize("slope", [1.0, 0.0, 0.2])
@pytest.mark.parametrize(("shape", "axes", "row"), CASES)
def test_the_kernel_matches_the_reference(shape, axes, row, slope):
    x, scale, shift, g = random_arguments(shape, row)
    for affine in ((scale, shift), (scale, None), (None, None)):
        before = reference.normalize(x.astype("float64"), *affine, axes=axes, eps=1e-5)[0][0]
        g_away_from_the_kink = g * (np.abs(before) > 1e-4)
        fast, slow = kernel_and_reference(x, *affine, g_away_from_the_kink, axes=axes, eps=1e-5, slope=slope)
        for a, b in zip(fast, slow, strict=True):
            assert (a is None) == (b is None)
            if a is not None:
                assert (a.shape, a.dtype) == (b.shape, np.float32)
                np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * max(1.0, np.abs(b).max()))


@pytest.mark.parametrize(("shape", "axes", "row"), CASES[:-1])
def test_a_mean_far_from_zero_costs_no_accuracy(shape, axes, row):
    """Half a unit in the last place of the mean, 1000, is 3e-5, which is about the largest error allowed."""
    x, *_, g = random_arguments(shape, row, mean=1000.0)
    (y, mean, var, *_), (y64, mean64, var64, *_) = kernel_and_reference(x, None, None, g, axes=axes, eps=1e-5)
    np.testing.assert_allclose(mean, mean64, rtol=6e-8)
    np.testing.assert_allclose(var, var64, rtol=1e-5, atol=1e-8)
    deviation = np.sqrt(var64 + 1e-5)
    assert (np.abs(y - y64) * deviation).max() < 4e-5


@pytest.mark.parametrize(("shape", "axes", "row"), CASES)
def test_results_do_not_depend_on_the_number_of_threads(shape, axes, row, monkeypatch):
    pool = pytest.importorskip("tinygen.kernels.cpu.pool", reason="needs numba")
    run = pool.run
    x, scale, shift, g = random_arguments(shape, row)
    results = []
    for threads in (1, 2):
        monkeypatch.setattr(pool, "run", lambda *launch, threads=threads: run(*launch[:3], threads))
        results.append(kernel_and_reference(x, scale, shift, g, axes=axes, eps=1e-5, slope=0.2)[0])
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)


def test_cuts():
    """Rows of a block, blocks of a sample, the length of joined rows, and how many groups a task merges."""
    tiling = pytest.importorskip("tinygen.kernels.cpu.normalization_tiling", reason="needs numba")
    cuts = {
        # Single rows: as many as are 2^14 numbers, but 4 at least and 128 at most.
        (300, 1, 1, 100): (128, 0, 100, 1),
        (300, 1, 1, 1024): (16, 0, 1024, 1),
        (300, 1, 1, 70_000): (4, 0, 70_000, 1),
        # One block of up to 2^14 numbers; rows of 3 numbers are joined to 6 vectors.
        (1, 5000, 3, 1): (5000, 1, 96, 3),
        # More numbers: 2^14 / 17 rows a block, but 32 at least; tasks merge 16 groups.
        (1, 20_000, 17, 1): (963, 21, 272, 16),
        (1, 130, 1100, 1): (32, 5, 1100, 16),
        # Few samples are cut for the threads, of many each is a block of up to 2^16 numbers.
        (2, 1024, 64, 1): (256, 4, 64, 16),
        (16, 1024, 64, 1): (1024, 1, 64, 64),
        (16, 1025, 64, 1): (256, 5, 64, 16),
        # Groups of several channels
        (4, 81, 3, 5): (81, 1, 240, 3),
    }
    for sizes, (rows, blocks, row_length, share) in cuts.items():
        assert tiling.tiling(tiling.Problem(*sizes)) == tiling.Tiling(rows, blocks, row_length, share), sizes
