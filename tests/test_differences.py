"""What the README says under "Where it differs from PyTorch", line by line."""

import math
import re
import threading

import numpy as np
import pytest

import tinygen as tg
from tests.kernels.processes import ROOT
from tinygen import functional as F
from tinygen import nn, optim
from tinygen.errors import ArgumentError, DtypeError, GradientError, ShapeError, UsageError

X = tg.tensor(np.arange(12.0).reshape(3, 4))
CHECKS = {}


def says(start):
    """Mark the check of the line that begins with these words."""

    def add(check):
        CHECKS[start] = check
        return check

    return add


@says("**Channels last**")
def channels_last():
    assert nn.Linear(3, 5).weight.shape == (3, 5)
    convolution, back = nn.Conv2d(4, 6, 3, groups=2), nn.ConvTranspose2d(6, 4, 3, groups=2)
    assert convolution.weight.shape == (3, 3, 4 // 2, 6)
    assert back.weight.shape == convolution.weight.shape == (3, 3, 4 // 2, 6)
    x = np.random.default_rng(0).standard_normal((1, 5, 5, 4)).astype("float32")
    assert convolution(x).shape == (1, 3, 3, 6)
    y = np.ones((1, 3, 3, 6), np.float32)
    adjoint = F.conv_transpose2d(y, convolution.weight.data, groups=2)
    np.testing.assert_allclose(
        (adjoint * x).sum(), (F.conv2d(x, convolution.weight.data, groups=2) * y).sum(), rtol=1e-4
    )
    assert nn.LSTM(4, 2)(np.ones((7, 3, 4), np.float32))[0].shape == (7, 3, 2)


@says("**Losses are elementwise**")
def losses_are_elementwise():
    assert F.squared_error(X, X).shape == (3, 4)
    logits = np.zeros((2, 5), np.float32)
    np.testing.assert_allclose(F.cross_entropy(logits, np.array([0, 4])), [math.log(5)] * 2, rtol=1e-6)
    with pytest.raises(ShapeError, match="differ in shape"):
        F.squared_error(X, X[0])


@says("**`optimizer.step(loss)`**")
def step_of_a_loss():
    own, other = nn.Linear(2, 1), nn.Linear(1, 1)
    optimizer, before = optim.SGD(own, 0.1), own.weight.numpy().copy()
    other.weight.grad = marker = tg.tensor(np.ones((1, 1)))
    optimizer.step(other(own(np.ones((1, 2), np.float32))).sum())
    assert (own.weight.numpy() != before).any()
    assert other.weight.grad is marker
    own(np.ones((1, 2), np.float32)).sum().backward()
    optimizer.step()
    assert own.weight.grad is None
    with pytest.raises(AttributeError, match="zero_grad"):
        optimizer.zero_grad()


@says("**NumPy's words**")
def words_of_numpy():
    assert X.sum(axis=1, keepdims=True).shape == (3, 1)
    assert F.concatenate([X, X], axis=0).shape == (6, 4)
    np.testing.assert_allclose(X.var().numpy(), np.var(X.numpy()), rtol=1e-6)
    np.testing.assert_allclose(X.std().numpy(), np.std(X.numpy()), rtol=1e-6)
    with pytest.raises(ArgumentError, match="write axis for dim"):
        X.sum(dim=1)
    for lookup, advice in ((lambda: X.view, "reshape"), (lambda: nn.MSELoss, "squared_error")):
        with pytest.raises(AttributeError, match=advice):
            lookup()


@says("**`tg.arange(4)` is float32**")
def new_tensors_are_float32():
    assert tg.arange(4).dtype == tg.zeros(2).dtype == np.float32
    assert tg.arange(4, dtype="int64").dtype == np.int64
    np.testing.assert_array_equal(X[0].repeat(2).numpy(), np.tile(X[0].numpy(), 2))
    assert isinstance(X.sort(), tg.Tensor)
    assert X.squeeze(0).shape == (3, 4)
    with pytest.raises(AttributeError, match="nothing works in place"):
        X.add_(1.0)


@says("**Strict dtypes**")
def strict_dtypes():
    with pytest.raises(DtypeError, match="mixed dtypes"):
        X + np.ones(4)
    assert (X * 2.5).dtype == np.float32
    with pytest.raises(DtypeError, match="takes float32 or float64"):
        X * np.arange(4)
    assert X[np.array([0, 2])].shape == (2, 4)


@says("**Ties**")
def ties_share_the_gradient():
    x = tg.tensor([1.0, 3.0, 3.0], requires_grad=True)
    assert tg.grad(x.max(), [x])[0].numpy().tolist() == [0.0, 0.5, 0.5]
    assert tg.grad(F.maximum(x, 3.0).sum(), [x])[0].numpy().tolist() == [0.0, 0.5, 0.5]


@says("**Batch norm**")
def batch_norm():
    values = np.random.default_rng(0).standard_normal((10, 4)).astype("float32")
    for x in (values, values.reshape(5, 2, 4), values.reshape(5, 2, 1, 4)):
        layer = nn.BatchNorm(4)
        layer(x)
        np.testing.assert_allclose(layer.running_mean, 0.1 * values.mean(axis=0), rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(layer.running_var, 0.9 + 0.1 * values.var(axis=0, ddof=1), rtol=1e-4)


@says("**Spectral and weight normalisation**")
def normalised_weights():
    layer = nn.SpectralNorm(nn.Conv2d(3, 64, 4))
    assert layer(np.ones((1, 4, 4, 3), np.float32)).shape == (1, 1, 1, 64)
    assert nn.WeightNorm(nn.Linear(3, 2))(np.ones((1, 3), np.float32)).shape == (1, 2)


@says("**Groups of parameters**")
def groups():
    a, b = (nn.Parameter(np.ones(1, np.float32)) for _ in range(2))
    optimizer = optim.SGD([{"parameters": [a]}, {"parameters": [b], "weight_decay": 0.0}], 1.0, weight_decay=0.5)
    optimizer.step((a + b).sum() * 0.0)
    assert (a.item(), b.item()) == (0.5, 1.0)


@says("**`nn.MultiheadAttention`**")
def attention_and_lengths():
    x = np.ones((2, 3, 4), np.float32)
    assert isinstance(nn.MultiheadAttention(4, 2)(x, x, x), tg.Tensor)
    assert nn.LSTM(4, 2)(x, lengths=np.array([1, 3]))[0].shape == (2, 3, 2)


@says("**Gamma and beta samples**")
def samples_with_and_without_gradient():
    one = tg.tensor([1.5], requires_grad=True)
    distributions = tg.distributions
    assert not distributions.Gamma(one, one).sample().requires_grad
    assert not distributions.Beta(one, one).sample().requires_grad
    assert distributions.Normal(one, 1.0).sample().requires_grad


@says("**Randomness**")
def streams():
    tg.seed(3)
    tg.random.stream("eval").normal(4)
    first = tg.random.stream("train").normal(4)
    drawn = []

    def draw(seeded):
        if seeded:
            tg.seed(3)
        drawn.append(tg.random.stream("train").normal(4))

    tg.seed(3)
    for seeded in (True, False):
        thread = threading.Thread(target=draw, args=(seeded,))
        thread.start()
        thread.join()
    np.testing.assert_array_equal(drawn[0], first)
    assert (drawn[1] != first).all()
    np.testing.assert_array_equal(tg.random.stream("train").normal(4), first)


@says("**Optimiser settings**")
def settings():
    p = nn.Parameter(np.ones(1, np.float32))
    optimizer = optim.SGD([p], lambda step: 1.0 / (step + 1))
    optimizer.step(p.sum())
    optimizer.lr = 0.25
    optimizer.step(p.sum())
    assert p.item() == -0.25
    with pytest.raises(AttributeError, match="param_groups"):
        optimizer.param_groups  # noqa: B018


@says("**NumPy's functions refuse Tensors**")
def functions_of_numpy():
    with pytest.raises(DtypeError, match=r"write tinygen\.functional\.sum"):
        np.sum(X)
    np.testing.assert_array_equal(np.asarray(X), X.numpy())
    with pytest.raises(GradientError, match=r"detach\(\)"):
        np.asarray(tg.tensor([1.0], requires_grad=True))


@says("**Group and instance norm refuse one value**")
def one_value():
    x = np.ones((3, 1, 1, 2), np.float32)
    for norm in (lambda: F.group_norm(x, 2), lambda: F.instance_norm(x)):
        with pytest.raises((ShapeError, UsageError), match=r"single value|one value"):
            norm()


@says("`tg.grad` returns zeros")
def zeros_of_what_is_independent():
    x, other = (tg.tensor([2.0], requires_grad=True) for _ in range(2))
    assert tg.grad((x * x).sum(), [other])[0].numpy().tolist() == [0.0]
    g = np.array([3.0], np.float32)
    (gradient,) = tg.grad(x + 1.0, [x], g)
    assert np.shares_memory(gradient.data, g) and not gradient.data.flags.writeable
    with pytest.raises(ArgumentError, match="create_graph"):
        (x * x).sum().backward(create_graph=True)


def lines_of_the_readme():
    section = (ROOT / "README.md").read_text(encoding="utf-8").split("## Where it differs from PyTorch\n")[1]
    return re.findall(r"^- (.+)", section.split("\n## ")[0], re.MULTILINE)


@pytest.mark.parametrize("line", lines_of_the_readme())
def test_each_line_is_true(line):
    matching = [check for start, check in CHECKS.items() if line.startswith(start)]
    assert len(matching) == 1, "give the line a check"
    matching[0]()


def test_every_check_is_of_a_line():
    lines = lines_of_the_readme()
    assert not [start for start in CHECKS if not any(line.startswith(start) for line in lines)]
