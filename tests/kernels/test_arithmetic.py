"""The arithmetic of arrays that broadcast gives NumPy's own bits, whatever the layouts of the operands are."""

import itertools

import numpy as np
import pytest

from tests.kernels.calls import cpu_kernel
from tinygen.kernels.cpu import arithmetic

OPERATIONS = {"add": np.add, "subtract": np.subtract, "multiply": np.multiply, "divide": np.divide}
X = np.random.default_rng(0).standard_normal((40, 96, 64), np.float32)
OPERANDS = {
    "whole": X,
    "row": X[0, 0],
    "column": X[:, :1, :1],
    "matrix": X[0],
    "one matrix a stack": X[:, :1],
    "a number a row": X[:, :, :1],
    "part of the columns": np.concatenate([X, X], axis=2)[..., :64],
    "every other row": np.concatenate([X, X], axis=1)[:, ::2],
    "turned": X.transpose(0, 2, 1).copy().transpose(0, 2, 1),
    "reversed": X[..., ::-1],
    "repeated": np.broadcast_to(X[:1], X.shape),
}


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("pair", list(itertools.product(OPERANDS, OPERANDS)), ids=" with ".join)
def test_bits_are_numpys(name, pair):
    a, b = (OPERANDS[each] for each in pair)
    ours, theirs = cpu_kernel(name)(a, b), OPERATIONS[name](a, b)
    assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
    assert ours.tobytes() == theirs.tobytes()


def test_layouts_that_are_served():
    """The worker is planned for all operands above whose columns lie side by side or repeat one number."""
    left_to_numpy = {"turned", "reversed"}
    for name, b in OPERANDS.items():
        planned = arithmetic.plan(X.shape, X.strides, b.shape, b.strides)
        assert (planned is None) == (name in left_to_numpy), name


def test_an_outer_product_is_served():
    a, b = X[0, :, :1].repeat(9, 0), X[0, 0]
    assert arithmetic.plan(a.shape, a.strides, b.shape, b.strides) is not None
    assert cpu_kernel("multiply")(a, b).tobytes() == (a * b).tobytes()


@pytest.mark.parametrize("name", OPERATIONS)
def test_denormal_numbers_are_kept(name):
    a, b = np.float32(1e-22) * X, X[0] * np.float32(1e-20 if name == "multiply" else 1e-39)
    with np.errstate(all="ignore"):
        theirs = OPERATIONS[name](a, b)
    assert cpu_kernel(name)(a, b).tobytes() == theirs.tobytes()


def test_shapes_that_do_not_fit_are_numpys_error():
    with pytest.raises(ValueError, match="broadcast"):
        cpu_kernel("add")(X, X[:, :7])
