"""The LSTM over pixels: probabilities, sampling with and without its state, completion, both kinds of colours."""

import itertools

import numpy as np
import pytest

from tinygen import models, random
from tinygen.autograd import no_grad
from tinygen.data import Dataset, Image, Spec, Split
from tinygen.errors import ShapeError, UsageError
from tinygen.metrics.bits import bits_per_dim
from tinygen.random import Stream
from tinygen.train import panels

PALETTE = ((0, 0, 0), (255, 0, 0), (0, 0, 255))
both = pytest.mark.parametrize("kind", ["indexed", "rgb"])


def small_model(kind, height=3, width=4, **config):
    """A model with weights so large that all colours are probable somewhere."""
    random.seed(0)
    system = models.get("pixel-lstm")
    palette = {"palette": PALETTE} if kind == "indexed" else {}
    field = Image(height, width, 3 if kind == "rgb" else 1, kind, **palette)
    model = system(system.Config(embedding=4, hidden=6, **config), Spec("noise", {"x": field}))
    for p in model.parameters():
        p.assign(3 * Stream(p.size, "weights").normal(p.shape) / len(p) ** 0.5)
    return model


@both
def test_a_pixel_depends_on_earlier_pixels_only(kind):
    model = small_model(kind)
    x = model.sample(20, seed=0)
    changed = x.copy()
    changed[:, 1, 2] = 1 - changed[:, 1, 2] if kind == "rgb" else (changed[:, 1, 2] + 1) % 3
    with model.evaluating():
        y, other = (
            model.lstm(model.colours.embedded_before(model.colours.sequence(each)))[0].numpy() for each in (x, changed)
        )
    differs = (y != other).any(axis=(0, 2))
    np.testing.assert_array_equal(differs, np.arange(12) > 6)


def test_the_probabilities_of_all_pictures_sum_to_one():
    model = small_model("indexed", 2, 2)
    every = np.array(list(itertools.product(range(3), repeat=4))).reshape(-1, 2, 2, 1)
    p = np.exp(model.log_prob(every).astype("float64"))
    assert p.max() > 10 * p.min()
    assert p.sum() == pytest.approx(1, rel=1e-5)
    n = 20_000
    drawn = model.sample(n, seed=0).reshape(n, 4) @ [27, 9, 3, 1]
    frequency = np.bincount(drawn, minlength=81) / n
    assert (np.abs(frequency - p) < 4.5 * np.sqrt(p * (1 - p) / n)).all()


@both
def test_cached_sampling_equals_naive_sampling_to_the_bit(kind):
    model = small_model(kind)
    cached = model.sample(5, seed=1)
    assert cached.tobytes() == model.sample(5, seed=1, cached=False).tobytes()
    assert len(np.unique(cached, axis=0)) == 5


@both
def test_completion_keeps_the_given_rows(kind):
    model = small_model(kind)
    x = model.sample(4, seed=0)
    for rows in range(4):
        completed = model.complete(x, rows, seed=2)
        np.testing.assert_array_equal(completed[:, :rows], x[:, :rows])
        assert completed.tobytes() == model.complete(x, rows, seed=2, cached=False).tobytes()
    with pytest.raises(ShapeError, match=r"^complete: takes images \(N, 3, 4, .\) of which 0 to 3 rows are kept"):
        model.complete(x, 4, seed=0)


def test_completions_are_drawn_in_the_colours_of_the_palette():
    model = small_model("indexed")
    x = model.sample(4, seed=0)
    split = Split(model.spec.fields, {"x": x})
    (figure,) = panels.completions(model, Dataset(model.spec, split, split, split), 3)
    original, kept, *completed = figure.images.reshape(5, 4, 3, 4, 3)
    np.testing.assert_array_equal(np.rint(255 * original).astype(int), np.array(PALETTE)[x[..., 0]])
    np.testing.assert_array_equal(kept[:, :1], original[:, :1])
    assert all((each[:, :1] == original[:, :1]).all() for each in completed)


def test_units():
    model = small_model("indexed")
    x = model.sample(6, seed=0)
    with no_grad():
        nats = float(-model.log_prob(x).mean())
    metrics = model.evaluate(Split(model.spec.fields, {"x": x}), seed=0)
    assert metrics == pytest.approx(
        {"nll_nats": nats, "nats_per_pixel": nats / 12, "bits_per_dim": bits_per_dim(nats, (3, 4, 1))}, rel=1e-6
    )


def test_a_dropout_of_one_is_refused():
    with pytest.raises(UsageError, match="dropout is 1; it must be below 1"):
        models.get("pixel-lstm").Config(dropout=1.0)
