"""Video pixel networks: the network in NumPy, what a pixel depends on, probabilities, sampling and completion."""

import itertools

import numpy as np
import pytest

from tinygen import random
from tinygen.autograd import no_grad
from tinygen.data import Clip, Dataset, Spec, Split
from tinygen.errors import ShapeError, UsageError
from tinygen.models import VPN
from tinygen.models.autoregressive import base as autoregressive
from tinygen.random import Stream

SMALL = {"given": 1, "hidden": 6, "encoder_blocks": 2, "decoder_blocks": 2, "first_kernel": 3, "head": 5}
CASES = [(kind, grey, within) for kind, grey in (("binary", "probabilities"), ("grey", "levels")) for within in (1, 0)]
every = pytest.mark.parametrize(("kind", "grey", "within"), CASES)


def clips(n, *shape, kind="binary"):
    x = Stream(0, "test clips").uniform((n, *shape, 1))
    return (x < 0.4).astype(np.float32) if kind == "binary" else np.rint(255 * x) / np.float32(255)


def small_model(*shape, kind="binary", **config):
    """A model with weights so large that an output changes with every value that it depends on."""
    random.seed(0)
    spec = Spec("noise", {"x": Clip(*shape, 1, kind)})
    model = VPN(VPN.Config(**(SMALL | config)), spec)
    split = Split(spec.fields, {"x": clips(7, *shape, kind=kind)})
    model.prepare(Dataset(spec, split, split, split), seed=0)
    for p in model.network.parameters():
        p.assign(2 * p.numpy())
    return model


def logits(model, x):
    with model.evaluating():
        return model.network(x).numpy()


# The network in NumPy


def convolved(x, layer, dilation=1, mask=None):
    """A convolution of maps (N, H, W, C) of the same size, with the taps that a mask of kind A or B allows."""
    w, b = layer.weight.numpy().astype("float64"), layer.bias.numpy().astype("float64")
    return summed_taps(x, w, dilation, mask) + b


def summed_taps(x, w, dilation=1, mask=None):
    size, (height, width) = len(w), x.shape[1:3]
    reach = size // 2 * dilation
    padded = np.pad(x, ((0, 0), (reach, reach), (reach, reach), (0, 0)))
    y = 0
    for i, j in np.ndindex(size, size):
        if mask is None or (i, j) < (size // 2, size // 2 + (mask == "B")):
            y = y + padded[:, dilation * i :, dilation * j :][:, :height, :width] @ w[i, j]
    return y


def relu(x):
    return np.maximum(x, 0)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def residual(x, block, dilation=1, mask=None):
    _, first, _, second = block.layers
    return x + convolved(relu(convolved(relu(x), first, dilation, mask)), second)


def next_frame_logits(network, x, t):
    """The logits of frame t of clips by definition: encoder and LSTM over frames 0 to t - 1, then the decoder."""
    h = c = np.zeros((*x.shape[:1], *x.shape[2:4], 6))
    first, *blocks = network.encoder
    for earlier in range(t):
        e = convolved(x[:, earlier], first)
        for number, block in enumerate(blocks):
            e = residual(e, block, 2**number)
        lstm = network.lstm
        gates = summed_taps(e, lstm.input_weight.numpy().astype("float64")) + lstm.bias.numpy()
        i, f, g, o = np.split(gates + summed_taps(h, lstm.hidden_weight.numpy().astype("float64")), 4, axis=-1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
    y = convolved(h + e, network.into_decoder)
    y = y + convolved(x[:, t], network.decoder.first, mask="A")
    *blocks, head = network.decoder.layers
    for block in blocks:
        y = residual(y, block, mask="B")
    _, first, _, second = head.layers
    return convolved(relu(convolved(relu(y), first)), second)


def test_the_network_is_that_of_its_definition():
    model, x = small_model(3, 5, 6), clips(2, 3, 5, 6)
    expected = np.stack([next_frame_logits(model.network, x.astype("float64"), t) for t in (1, 2)], axis=1)
    np.testing.assert_allclose(logits(model, x), expected, atol=2e-5)
    nats = np.log1p(np.exp(np.where(x[:, 1:] > 0, -expected, expected))).sum(axis=(1, 2, 3, 4))
    np.testing.assert_allclose(-model.log_prob(x), nats, rtol=1e-5)


def test_grey_values_are_probabilities_or_levels():
    x = clips(2, 3, 2, 3, kind="grey")
    for grey, shape in (("probabilities", (2, 2, 2, 3, 1)), ("levels", (2, 2, 2, 3, 1, 256))):
        model = small_model(3, 2, 3, kind="grey", grey=grey)
        out, now = logits(model, x).astype("float64"), x[:, 1:]
        assert out.shape == shape
        if grey == "probabilities":
            log_p = -now * np.log1p(np.exp(-out)) - (1 - now) * np.log1p(np.exp(out))
        else:
            normalised = out - np.log(np.exp(out).sum(axis=-1, keepdims=True))
            log_p = np.take_along_axis(normalised, np.rint(255 * now).astype(int)[..., None], axis=-1)
        np.testing.assert_allclose(model.log_prob(x), log_p.reshape(2, -1).sum(axis=1), rtol=1e-5)


# Dependences and probabilities


@pytest.mark.parametrize("within", [True, False])
def test_a_pixel_depends_on_earlier_frames_and_on_those_before_it_in_its_own(within):
    model, size = small_model(3, 3, 4, within_frame=within, hidden=18, head=18), 12
    x = clips(20, 3, 3, 4)
    before, depends = logits(model, x).reshape(20, 2 * size), np.zeros((2 * size, 3 * size), bool)
    for value in range(3 * size):
        changed = x.copy()
        changed.reshape(20, -1)[:, value] = 1 - changed.reshape(20, -1)[:, value]
        depends[:, value] = (logits(model, changed).reshape(20, -1) != before).any(axis=0)
    for t in (1, 2):
        of_frame = depends[(t - 1) * size : t * size]
        assert of_frame[:, : t * size].all()
        own, later = of_frame[:, t * size : (t + 1) * size], of_frame[:, (t + 1) * size :]
        assert not later.any()
        assert not np.triu(own).any()
        assert own[np.tri(size, k=-1, dtype=bool)].mean() > 0.6 if within else not own.any()


@pytest.mark.parametrize("within", [True, False])
def test_the_probabilities_of_all_continuations_sum_to_one(within):
    model = small_model(3, 2, 2, within_frame=within)
    worlds = np.array(list(itertools.product((0, 1), repeat=8)), np.float32).reshape(-1, 2, 2, 2, 1)
    first = np.broadcast_to(clips(1, 1, 2, 2), (len(worlds), 1, 2, 2, 1))
    with no_grad():
        nll = model.nll(np.concatenate([first, worlds], axis=1)).numpy()
    assert nll.min() < nll.max() - 1
    assert np.exp(-nll.astype("float64")).sum() == pytest.approx(1, rel=1e-5)


def test_drawn_frames_have_the_probabilities_of_the_likelihood():
    model, n = small_model(2, 2, 2), 20_000
    worlds = np.array(list(itertools.product((0, 1), repeat=4)), np.float32).reshape(-1, 1, 2, 2, 1)
    first = np.broadcast_to(clips(1, 1, 2, 2), (len(worlds), 1, 2, 2, 1))
    p = np.exp(model.log_prob(np.concatenate([first, worlds], axis=1)))
    drawn = model.complete(np.zeros((n, 2, 2, 2, 1), np.float32) + first[:1], 1, seed=0)[:, 1].reshape(n, 4)
    frequency = np.bincount((drawn @ [8, 4, 2, 1]).astype(int), minlength=16) / n
    assert (np.abs(frequency - p) < 4 * np.sqrt(p * (1 - p) / n)).all()


# Sampling


@every
def test_cached_sampling_equals_naive_sampling_to_the_bit(kind, grey, within, monkeypatch):
    monkeypatch.setattr(autoregressive, "CHUNK", 3)
    model = small_model(4, 4, 5, kind=kind, grey=grey, within_frame=bool(within), first_kernel=5)
    cached = model.sample(5, seed=1)
    assert cached.tobytes() == model.sample(5, seed=1, cached=False).tobytes()
    assert len(np.unique(cached[:, 1:], axis=0)) == 5
    np.testing.assert_array_equal(cached[:, 0], clips(7, 4, 4, 5, kind=kind)[:5, 0])


@every
def test_completion_keeps_the_given_frames(kind, grey, within):
    model = small_model(4, 3, 4, kind=kind, grey=grey, within_frame=bool(within))
    x = clips(3, 4, 3, 4, kind=kind)
    original = x.copy()
    for keep in (1, 2, 4):
        completed = model.complete(x, keep, seed=2)
        np.testing.assert_array_equal(x, original)
        np.testing.assert_array_equal(completed[:, :keep], x[:, :keep])
        assert completed.tobytes() == model.complete(x, keep, seed=2, cached=False).tobytes()
    assert (model.complete(x, 2, seed=2)[:, 2:] != model.complete(1 - x, 2, seed=2)[:, 2:]).any()
    for bad, keep in ((x[:, :3], 2), (x, 0), (x, 5)):
        with pytest.raises(ShapeError, match=r"^complete: takes clips \(N, 4, 3, 4, 1\) of which 1 to 4 frames are"):
            model.complete(bad, keep, seed=0)


# Configurations


def test_nats_are_given_of_the_predicted_frames_together_and_of_each():
    model = small_model(4, 3, 3)
    split = Split(model.spec.fields, {"x": clips(5, 4, 3, 3)})
    nats = model.evaluate(split, seed=0)
    assert nats["nll_nats"] == pytest.approx(-model.log_prob(clips(5, 4, 3, 3)).mean(), rel=1e-6)
    assert nats["nats_per_frame"] == pytest.approx(nats["nll_nats"] / 3)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"given": 3}, "^given is 3; of clips of 4 frames give at most half$"),
        ({"grey": "shades"}, "^unknown grey 'shades': use 'probabilities' or 'levels'$"),
        ({"kernel": 4}, "^kernel is 4; a masked convolution has a centre: use an odd number$"),
    ],
)
def test_impossible_configurations_are_refused(config, message):
    with pytest.raises(UsageError, match=message):
        small_model(4, 3, 3, **config)
