"""Empty batches and axes, statistics of a single value, axes of length 1, and bounds of output padding."""

import math

import numpy as np
import pytest

import tinygen as tg
from tinygen import functional as F
from tinygen import nn
from tinygen.backend import to_device, to_numpy
from tinygen.errors import ShapeError

INTEGERS = np.zeros(0, np.int64)


@pytest.mark.parametrize(
    ("function", "shapes", "expected"),
    [
        (F.batch_norm, [(0, 4)], (0, 4)),
        (F.batch_norm, [(0, 4, 4, 3)], (0, 4, 4, 3)),
        (F.layer_norm, [(0, 4)], (0, 4)),
        (F.layer_norm, [(3, 0)], (3, 0)),
        (F.instance_norm, [(0, 4, 4, 3)], (0, 4, 4, 3)),
        (lambda x: F.group_norm(x, 2), [(0, 4, 4, 4)], (0, 4, 4, 4)),
        (lambda x: F.group_norm(x, 2), [(2, 0, 4, 4)], (2, 0, 4, 4)),
        (lambda x: F.group_norm(x, 2), [(2, 4, 4, 0)], (2, 4, 4, 0)),
        (F.softmax, [(3, 0)], (3, 0)),
        (F.softmax, [(0, 3)], (0, 3)),
        (lambda x: F.softmax(x, axis=0), [(0, 3)], (0, 3)),
        (F.log_softmax, [(3, 0)], (3, 0)),
        (lambda x: F.logsumexp(x, axis=1), [(0, 3)], (0,)),
        (lambda x: F.cross_entropy(x, to_device(INTEGERS, x.device)), [(0, 3)], (0,)),
        (F.sum, [(3, 0)], ()),
        (lambda x: F.sum(x, axis=(0,)), [(3, 0)], (0,)),
        (lambda x: F.sum(x, axis=(0, 1)), [(3, 2, 0)], (0,)),
        (lambda x: F.max(x, axis=0), [(3, 0)], (0,)),
        (lambda x: F.cumsum(x, axis=1), [(3, 0)], (3, 0)),
        (lambda x: x.reshape(-1, 3), [(0, 3)], (0, 3)),
        (F.conv2d, [(0, 5, 5, 3), (3, 3, 3, 4)], (0, 3, 3, 4)),
        (F.conv2d, [(2, 5, 5, 0), (3, 3, 0, 4)], (2, 3, 3, 4)),
        (F.conv2d, [(2, 5, 5, 3), (3, 3, 3, 0)], (2, 3, 3, 0)),
        (F.conv_transpose2d, [(0, 5, 5, 3), (3, 3, 4, 3)], (0, 7, 7, 4)),
        (F.linear, [(0, 3), (3, 4), (4,)], (0, 4)),
        (F.linear, [(2, 5, 0), (0, 4), (4,)], (2, 5, 4)),
        (F.linear, [(2, 3), (3, 0)], (2, 0)),
        (F.matmul, [(2, 0), (0, 4)], (2, 4)),
        (lambda x: F.max_pool2d(x, 2), [(0, 4, 4, 3)], (0, 2, 2, 3)),
        (lambda x: F.avg_pool2d(x, 2), [(0, 4, 4, 3)], (0, 2, 2, 3)),
        (lambda x: F.embedding(to_device(INTEGERS, x.device), x), [(3, 4)], (0, 4)),
        (lambda x: x[to_device(np.zeros(3, bool), x.device)], [(3,)], (0,)),
    ],
)
def test_empty_arrays_are_taken_and_differentiated(function, shapes, expected, device):
    xs = [tg.tensor(np.ones(shape), requires_grad=True, device=device) for shape in shapes]
    y = function(*xs)
    assert y.shape == expected
    for x, g in zip(xs, tg.grad(y.sum(), xs), strict=True):
        assert g.shape == x.shape
        assert not to_numpy(g).any() or function is F.linear  # the gradient of a bias counts the rows


def test_no_numbers_have_logsumexp_minus_infinity(device):
    x = tg.tensor(np.ones((3, 0)), requires_grad=True, device=device)
    y = F.logsumexp(x, axis=1)
    np.testing.assert_array_equal(to_numpy(y), [-math.inf] * 3)
    assert tg.grad(y.sum(), x).shape == (3, 0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: F.max(x, axis=1), r"max: an array \(3, 0\) has no elements along axis 1"),
        (lambda x: F.min(x), r"min: an array \(3, 0\) has no elements along axis None"),
        (lambda x: F.argmax(x, axis=-1), r"argmax: an array \(3, 0\) has no elements along axis -1"),
        (lambda x: F.mean(x, axis=1), r"mean: an array \(3, 0\) has no elements to average over axis 1"),
        (lambda x: x.reshape(0, -1), r"reshape: the length -1 .* empty array \(3, 0\)"),
    ],
)
def test_what_is_undefined_says_what_is_empty(call, message, device):
    with pytest.raises(ShapeError, match=message):
        call(tg.tensor(np.ones((3, 0)), device=device))


def test_running_statistics_are_not_moved_by_an_empty_batch():
    norm = nn.BatchNorm(3)
    assert norm(tg.tensor(np.ones((0, 3)))).shape == (0, 3)
    np.testing.assert_array_equal(norm.running_var, 1)


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.BatchNorm(3), (1, 3)),
        (nn.BatchNorm(3), (1, 1, 1, 3)),
        (nn.InstanceNorm(3), (2, 1, 1, 3)),
        (nn.GroupNorm(3, 3), (2, 3)),
        (nn.GroupNorm(3, 3), (2, 1, 1, 3)),
    ],
)
def test_statistics_of_one_value_are_refused(layer, shape):
    x = tg.tensor(np.ones(shape))
    with pytest.raises(ShapeError, match="one value for each mean and deviation"):
        layer(x)
    if isinstance(layer, nn.BatchNorm):
        with pytest.raises(ShapeError, match=r"batch_norm: .* one value"):
            F.batch_norm(x)
        np.testing.assert_allclose(layer.eval()(x).numpy(), 1, rtol=1e-4)  # the running statistics serve


@pytest.mark.parametrize(
    ("subscripts", "shapes"),
    [
        ("ij,jk->ik", [(2, 1), (3, 4)]),
        ("ij,jk->ik", [(2, 3), (1, 4)]),
        ("ij,ij->ij", [(2, 1), (2, 3)]),
        ("ij,ij->j", [(1, 3), (2, 3)]),
        ("bij,bjk->bik", [(1, 2, 3), (5, 3, 4)]),
        ("i,j->ij", [(1,), (3,)]),
        ("ij,ik,il->", [(2, 1), (1, 3), (2, 2)]),
    ],
)
def test_an_axis_of_length_1_is_broadcast_in_einsum(subscripts, shapes):
    rng = np.random.default_rng(0)
    xs = [tg.tensor(rng.standard_normal(shape), "float64", requires_grad=True) for shape in shapes]
    terms = subscripts.partition("->")[0].split(",")
    sizes = {c: max(x.shape[t.index(c)] for t, x in zip(terms, xs, strict=True) if c in t) for c in "bijkl"
             if any(c in t for t in terms)}  # fmt: skip
    whole = [F.broadcast_to(x, shape=tuple(sizes[c] for c in t)) for t, x in zip(terms, xs, strict=True)]
    ours, theirs = F.einsum(subscripts, *xs), F.einsum(subscripts, *whole)
    np.testing.assert_allclose(ours.numpy(), theirs.numpy())
    weights = tg.tensor(rng.standard_normal(ours.shape), "float64")
    for a, b in zip(tg.grad(ours, xs, weights), tg.grad(theirs, xs, weights), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy())


@pytest.mark.parametrize("wrapper", [nn.SpectralNorm, nn.WeightNorm])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_normalised_layers_take_the_dtype_of_their_weight(wrapper, dtype):
    layer = wrapper(nn.Linear(3, 2).astype(dtype))
    x = tg.tensor(np.ones((4, 3)), dtype)
    assert layer(x).dtype == dtype
    weight = layer.weight().numpy()
    expected = 1.0 if wrapper is nn.SpectralNorm else np.linalg.norm(layer.layer.weight.numpy(), 2)
    np.testing.assert_allclose(np.linalg.norm(weight, 2), expected, rtol=1e-3)


def test_output_padding_may_append_to_what_padding_has_cut_off():
    x, w = tg.tensor(np.ones((1, 1, 1, 1)), requires_grad=True), tg.tensor(np.ones((1, 1, 1, 1)), requires_grad=True)
    b = tg.tensor([0.5], requires_grad=True)
    y = F.conv_transpose2d(x, w, b, stride=3, padding=1, output_padding=2)  # (1 - 1) 3 - 2 + 0 + 1 + 2 = 1 pixel
    np.testing.assert_array_equal(y.numpy(), [[[[0.5]]]])
    assert [g.numpy().sum() for g in tg.grad(y.sum(), [x, w, b])] == [0, 0, 1]
    with pytest.raises(ShapeError, match="leaves nothing"):
        F.conv_transpose2d(x, w, b, stride=3, padding=1, output_padding=1)
