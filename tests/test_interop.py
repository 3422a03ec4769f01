"""NumPy's functions and operators with Tensors: nothing loses a gradient without a word."""

import numpy as np
import pytest

import tinygen as tg
from tinygen.errors import DtypeError, GradientError

X = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)


def leaf():
    return tg.tensor(X, requires_grad=True)


@pytest.mark.parametrize("make", [leaf, lambda: leaf() * 2.0], ids=["leaf", "result"])
@pytest.mark.parametrize(
    "convert", [np.asarray, np.array, lambda x: np.asarray([x, x]), lambda x: np.stack((np.asarray(x),))]
)
def test_a_tensor_with_a_gradient_becomes_no_array(convert, make):
    with pytest.raises(GradientError, match=r"requires a gradient .* x\.detach\(\)\.numpy\(\)") as caught:
        convert(make())
    assert "\n" not in str(caught.value)


def test_a_tensor_without_gradient_becomes_an_array():
    x = tg.tensor(X)
    for array in (np.asarray(x), np.asarray(leaf().detach()), np.array(x, np.float64)):
        np.testing.assert_array_equal(array, X)
    assert np.shares_memory(np.asarray(x), np.asarray(x.numpy()))
    copy = np.array(x)
    copy[...] = 0
    np.testing.assert_array_equal(x.numpy(), X)


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (lambda x: np.square(x), "tinygen.functional.square"),
        (lambda x: np.concatenate([X, x]), "tinygen.functional.concatenate"),
        (lambda x: np.linalg.norm(x), "tinygen.functional.norm"),
        (lambda x: np.sum(x), "tinygen.functional.sum"),
        (lambda x: np.mean(x, axis=0), "tinygen.functional.mean"),
        (lambda x: np.add.reduce(x), "tinygen.functional.sum"),
        (lambda x: np.absolute(x), "tinygen.functional.abs"),
        (lambda x: np.where(X > 0, x, X), "tinygen.functional.where"),
        (lambda x: np.negative(x), "write -x"),
        (lambda x: np.reshape(x, (4,)), "reshape"),
        (lambda x: np.linalg.inv(x), r"np\.linalg\.inv .* x\.detach\(\)\.numpy\(\)"),
        (lambda x: np.multiply(X, x, out=X.copy()), "cannot be changed in place"),
    ],
)
@pytest.mark.parametrize("requires_grad", [False, True])
def test_numpys_functions_say_what_to_write(call, word, requires_grad):
    with pytest.raises(DtypeError, match=word) as caught:
        call(tg.tensor(X, requires_grad=requires_grad))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("operator", "gradient"),
    [
        (lambda a, x: a + x, lambda a, x: np.ones_like(x)),
        (lambda a, x: a - x, lambda a, x: -np.ones_like(x)),
        (lambda a, x: a * x, lambda a, x: a),
        (lambda a, x: a / x, lambda a, x: -a / x**2),
        (lambda a, x: a**x, lambda a, x: a**x * np.log(a)),
        (lambda a, x: a @ x, lambda a, x: a.T @ np.ones_like(x)),
    ],
)
def test_operators_with_arrays_on_the_left_are_differentiated(operator, gradient):
    a, x = X[::-1].copy(), leaf()
    y = operator(a, x)
    assert isinstance(y, tg.Tensor)
    np.testing.assert_allclose(y.numpy(), operator(a, X), rtol=1e-6)
    np.testing.assert_allclose(tg.grad(y.sum(), x).numpy(), gradient(a, X), rtol=1e-5)


def test_comparisons_and_numpys_scalars_on_the_left():
    x = leaf()
    np.testing.assert_array_equal((np.full((2, 2), 2.5, np.float32) < x).numpy(), X > 2.5)
    for two in (np.float32(2), np.float64(2), np.int64(2)):
        np.testing.assert_array_equal(tg.grad((two * x).sum(), x).numpy(), np.full((2, 2), 2))
    assert np.shape(x) == (2, 2)


@pytest.mark.parametrize("product", [lambda a, x: a * x, lambda a, x: x * a])
def test_a_float64_array_says_how_to_convert_it(product):
    with pytest.raises(DtypeError, match=r'mixed dtypes .*float64.*\.astype\("float32"\)'):
        product(np.ones((2, 2)), leaf())


def test_an_array_of_the_device_leaves_operators_to_the_tensor(device):
    x = tg.tensor(X, requires_grad=True, device=device)
    y = x.detach().data * x
    assert isinstance(y, tg.Tensor)
    assert y.requires_grad
