"""Sums in float32 lose no digits, over whichever axes and however many numbers, and neither do gradients."""

import itertools

import numpy as np
import pytest

import tinygen as tg
from tinygen import functional as F
from tinygen.backend import to_device, to_numpy

TOLERANCE = 3e-7  # of the result: a few units in the last place
SHAPES = [(100_000, 2), (2, 100_000), (5, 9000, 3), (300, 2, 50), (70_000,), (2000, 2), (9, 130), (64, 5, 99)]


def positive(*shape):
    """Numbers that naive summation rounds in one direction."""
    return np.random.default_rng(0).random(shape, np.float32) + np.float32(0.5)


def relative_error(ours, theirs):
    return float(np.abs(to_numpy(ours) / theirs - 1).max())


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_sums_over_any_axes(shape, device):
    x = positive(*shape)
    for n in range(1, len(shape) + 1):
        for axes in itertools.combinations(range(len(shape)), n):
            ours = F.sum(tg.tensor(x, device=device), axis=axes)
            assert relative_error(ours, x.sum(axis=axes, dtype=np.float64)) < TOLERANCE, axes


@pytest.mark.parametrize(
    "view",
    [lambda x: x.T, lambda x: x[::2], lambda x: x[:, 1:], lambda x: x[:, ::-1], lambda x: x[:1].repeat(4000, 0)],
    ids=["transposed", "every other row", "part of the columns", "reversed", "repeated"],
)
def test_sums_of_views(view, device):
    x = to_device(positive(30_000, 3), device)
    for axis in (None, 0, 1):
        ours, theirs = F.sum(tg.tensor(view(x)), axis=axis), view(to_numpy(x)).sum(axis=axis, dtype=np.float64)
        assert relative_error(ours, theirs) < TOLERANCE


@pytest.mark.parametrize(("subscripts", "operands"), [("ij->j", 1), ("ij->", 1), ("ij,ij->j", 2), ("ij,ji->i", 2)])
def test_sums_of_einsum(subscripts, operands, device):
    x = positive(60_000, 3)
    xs = [x.T.copy() if term == "ji" else x for term in subscripts.partition("->")[0].split(",")]
    ours = F.einsum(subscripts, *(tg.tensor(x, device=device) for x in xs))
    assert relative_error(ours, np.einsum(subscripts, *(x.astype(np.float64) for x in xs))) < TOLERANCE


def test_a_repeated_view_is_multiplied(device):
    x = tg.tensor(positive(3), device=device)
    ours = F.sum(F.broadcast_to(x, shape=(100_000, 3)), axis=0)
    assert relative_error(ours, to_numpy(x).astype(np.float64) * 100_000) < TOLERANCE


@pytest.mark.parametrize("shape", [(100_000, 2), (2, 100_000)])
def test_moments_over_either_axis(shape, device):
    x = positive(*shape)
    for axis in (0, 1):
        for ours, theirs in (
            (F.mean, np.mean),
            (F.var, np.var),
            (F.logsumexp, lambda x, axis: np.log(np.exp(x).sum(axis=axis))),
        ):
            if ours is not F.var or x.shape[axis] > 2:  # the variance of two numbers that are nearly equal is 0
                expected = theirs(x.astype(np.float64), axis=axis)
                assert relative_error(ours(tg.tensor(x, device=device), axis=axis), expected) < TOLERANCE


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("reverse", [False, True])
def test_cumulative_sums(axis, reverse, device):
    x = positive(3000, 40)
    flipped = np.flip(x, axis) if reverse else x
    expected = np.cumsum(flipped, axis=axis, dtype=np.float64)
    ours = F.cumsum(tg.tensor(x, device=device), axis=axis, reverse=reverse)
    assert relative_error(ours, np.flip(expected, axis) if reverse else expected) < TOLERANCE


@pytest.mark.parametrize(
    "function",
    [
        lambda x, w: x + w,
        lambda x, w: F.linear(x, np.eye(2, dtype=np.float32), w),
        lambda x, w: F.layer_norm(x, shift=w),
        lambda x, w: F.batch_norm(x, shift=w),
        lambda x, w: F.instance_norm(x.reshape(1000, -1, 2), shift=w).reshape(-1, 2),
        lambda x, w: F.broadcast_to(w, shape=x.shape),
        lambda x, w: F.where(x > 0, w, w),
    ],
    ids=["add", "linear", "layer norm", "batch norm", "instance norm", "broadcast", "where"],
)
def test_gradients_of_rows_that_are_broadcast(function):
    x, g = positive(100_000, 2), positive(100_000, 2)
    w = tg.tensor(np.zeros(2), requires_grad=True)
    ours = tg.grad(function(tg.tensor(x), w), w, tg.tensor(g))
    assert relative_error(ours, g.sum(axis=0, dtype=np.float64)) < TOLERANCE


def test_softmax_of_many_classes(device):
    x = positive(2, 100_000)
    e = np.exp(x.astype(np.float64))
    for axis, ours in ((1, x), (0, x.T.copy())):
        y = to_numpy(F.softmax(tg.tensor(ours, device=device), axis=axis))
        assert relative_error(y if axis else y.T, e / e.sum(axis=1, keepdims=True)) < 1e-6  # exp has an error, too


@pytest.mark.parametrize(
    "take",
    [
        lambda x, index: F.embedding(index, x),
        lambda x, index: x[index],
        lambda x, index: x[:, 0][index],
        lambda x, index: F.take_along_axis(x, index[:, None] * np.ones((1, 3), np.int64), axis=0),
    ],
    ids=["embedding", "rows", "numbers", "along an axis"],
)
def test_gradients_of_rows_that_are_taken_often(take):
    index, x = np.random.default_rng(0).integers(0, 3, 200_000), tg.tensor(positive(3, 3), requires_grad=True)
    y = take(x, index)
    g = positive(*y.shape)
    expected = np.zeros((3, *y.shape[1:]))
    np.add.at(expected, index, g.astype(np.float64))
    ours = tg.grad(y, x, g).numpy()
    assert relative_error(ours if y.ndim > 1 else ours[:, 0], expected) < TOLERANCE


@pytest.mark.parametrize("layer", [tg.nn.LSTM, tg.nn.GRU])
def test_weight_gradients_of_recurrent_layers_over_many_steps(layer):
    tg.seed(0)
    cell = layer(3, 5)
    x = positive(1500, 40, 3)

    def gradients(dtype):
        cell.astype(dtype)
        for parameter in cell.parameters():
            parameter.grad = None
        y = cell(tg.tensor(x, dtype))
        (y[0] if isinstance(y, tuple) else y).sum().backward()
        return [parameter.grad.numpy() for parameter in cell.parameters()]

    for ours, theirs in zip(gradients("float32"), gradients("float64"), strict=True):
        assert np.abs(ours - theirs).max() < 1e-6 * np.abs(theirs).max()
