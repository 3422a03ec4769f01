"""New Tensors by shape, and the methods and operators of a Tensor."""

import numpy as np
import pytest

import tinygen as tg
from tests.ops.table import NON_DIFFERENTIABLE, TABLE
from tinygen import functional as F
from tinygen import random
from tinygen.errors import DtypeError, ShapeError
from tinygen.tensor import METHODS


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (lambda **o: tg.zeros(2, 3, **o), np.zeros((2, 3))),
        (lambda **o: tg.zeros((2, 3), **o), np.zeros((2, 3))),
        (lambda **o: tg.zeros(**o), np.zeros(())),
        (lambda **o: tg.ones([3], **o), np.ones(3)),
        (lambda **o: tg.full((2,), -0.5, **o), np.full(2, -0.5)),
        (lambda **o: tg.full(3, 7, **o), np.full(3, 7.0)),
        (lambda **o: tg.arange(4, **o), np.arange(4.0)),
        (lambda **o: tg.arange(1, 2, 0.25, **o), np.array([1, 1.25, 1.5, 1.75])),
        (lambda **o: tg.linspace(0, 1, 5, **o), np.array([0, 0.25, 0.5, 0.75, 1])),
        (lambda **o: tg.eye(2, 3, **o), np.array([[1.0, 0, 0], [0, 1, 0]])),
    ],
)
def test_constants_are_float32_or_what_is_asked_for(made, expected, device):
    x = made(device=device)
    assert isinstance(x, tg.Tensor) and (x.dtype, x.device, x.requires_grad) == (np.float32, device, False)
    np.testing.assert_array_equal(x.numpy(), expected)
    wide = made(dtype="float64", requires_grad=True, device=device)
    assert wide.dtype == np.float64 and wide.requires_grad
    np.testing.assert_array_equal(wide.numpy(), expected)


def test_a_range_of_indices_is_asked_for():
    np.testing.assert_array_equal(F.one_hot(tg.arange(3, dtype="int64"), 3).numpy(), np.eye(3))


def test_random_tensors_are_the_draws_of_their_stream(device):
    for function, draw in ((tg.rand, "uniform"), (tg.randn, "normal")):
        expected = getattr(random.Stream(0, "train"), draw)((2, 3))
        random.seed(0)
        x = function(2, 3, device=device)
        assert x.dtype == np.float32 and x.device == device
        np.testing.assert_array_equal(x.numpy(), expected)
        own = function((2, 3), stream=random.Stream(5, "mine"), dtype="float64")
        np.testing.assert_array_equal(own.numpy(), getattr(random.Stream(5, "mine"), draw)((2, 3), dtype="float64"))


def test_likes_have_shape_dtype_and_device(device):
    x = tg.tensor(np.ones((2, 3)), "float64", device=device)
    for function, expected in ((tg.zeros_like, 0), (tg.ones_like, 1), (lambda x: tg.full_like(x, 0.5), 0.5)):
        y = function(x)
        assert (y.shape, y.dtype, y.device, y.requires_grad) == ((2, 3), np.float64, device, False)
        assert (y.numpy() == expected).all()
    for function in (tg.rand_like, tg.randn_like):
        y = function(x, dtype="float32")
        assert (y.shape, y.dtype, y.device) == ((2, 3), np.float32, device)
    assert tg.zeros_like(np.ones(3, np.float32)).dtype == np.float32


@pytest.mark.parametrize("shape", [(-1,), (2.5,), ("a",), (2, None)])
def test_a_shape_that_is_none_is_refused(shape):
    with pytest.raises(ShapeError, match="whole numbers"):
        tg.zeros(*shape)
    with pytest.raises(DtypeError, match="float16"):
        tg.ones(2, dtype="float16")


@pytest.mark.parametrize("function", METHODS, ids=lambda function: function.__name__)
def test_a_method_is_the_function_of_its_name(function):
    name = function.__name__
    cases = TABLE.get(name) or TABLE[f"functional.{name}"]
    for case in cases:
        x, *others = case.arguments
        if not hasattr(x, "dtype"):
            continue
        x = tg.tensor(x, x.dtype, requires_grad=case.kind != NON_DIFFERENTIABLE)
        options = {} if name == "topk" and case.static is None else case.static
        for actual, expected in zip(
            _several(getattr(x, name)(*others, **options)),
            _several(getattr(F, name)(x, *others, **options)),
            strict=True,
        ):
            np.testing.assert_array_equal(actual.numpy(), expected.numpy())
            assert actual.requires_grad == expected.requires_grad


def _several(y):
    return y if isinstance(y, tuple) else (y,)


def test_operators_on_numbers_and_truth_values():
    values = np.array([[-2.5, 0.5], [1.5, 3.25]], np.float32)
    x = tg.tensor(values)
    for actual, expected in (
        (x % 2, values % 2),
        (7 % x, 7 % values),
        (x // 2, values // 2),
        (7 // x, 7 // values),
        (abs(x), abs(values)),
        (round(x), np.rint(values)),
        ((x > 0) & (x < 2), (values > 0) & (values < 2)),
        ((x > 2) | (x < 0), (values > 2) | (values < 0)),
        ((x > 0) ^ (x < 2), (values > 0) ^ (values < 2)),
        (~(x > 0), ~(values > 0)),
        ((x > 0).sum(), (values > 0).sum()),
        ((x > 0).mean(), np.float32(0.75)),
        ((x > 0).sum(axis=0), (values > 0).sum(axis=0)),
        (x.permute(1, 0), values.T),
        (x.expand(3, -1, -1), np.broadcast_to(values, (3, 2, 2))),
        (x.repeat(2, 1), np.tile(values, (2, 1))),
        (x.flatten(), values.ravel()),
        (x.clamp(0, 2), values.clip(0, 2)),
    ):
        assert actual.dtype == expected.dtype
        np.testing.assert_array_equal(actual.numpy(), expected)


def test_the_mean_of_truth_values_is_float32_on_every_device(device):
    mean = (tg.tensor(np.array([1.0, -1.0, 2.0, 3.0]), device=device) > 0).mean()
    assert mean.dtype == np.float32 and mean.item() == 0.75


def test_gradients_of_lengths_at_zero_are_zero():
    for function in (lambda x: x.norm(), lambda x: x.std(), lambda x: x.norm(axis=1).sum()):
        x = tg.zeros(2, 3, requires_grad=True)
        assert (tg.grad(function(x), x).numpy() == 0).all()


def test_the_gradient_of_an_angle_at_the_origin_is_zero():
    a, b = tg.zeros(2, requires_grad=True), tg.tensor([0.0, 2.0], requires_grad=True)
    np.testing.assert_array_equal(tg.grad(F.atan2(a, b).sum(), a).numpy(), [0.0, 0.5])
    np.testing.assert_array_equal(tg.grad(F.atan2(a, b).sum(), b).numpy(), [0.0, 0.0])


def test_volumes_without_examples_keep_their_shapes():
    x = tg.zeros(0, 4, 4, 4, 2)
    assert F.avg_pool3d(x, 2).shape == (0, 2, 2, 2, 2)
    assert F.conv3d(x, tg.zeros(3, 3, 3, 2, 5)).shape == (0, 2, 2, 2, 5)
    with pytest.raises(ShapeError, match="softmax: an array without axes"):
        F.softmax(tg.tensor(1.0))


def test_a_number_is_formatted_as_pythons():
    assert f"{tg.tensor(1.25):.1f} {tg.tensor([0.5]):8.3f}|{tg.tensor(3):d}" == "1.2    0.500|3"
    assert f"{tg.tensor([1.0, 2.0])}" == "tensor([1., 2.])"
    with pytest.raises(ShapeError, match=r"\(2,\) is not one number"):
        f"{tg.tensor([1.0, 2.0]):.3f}"
