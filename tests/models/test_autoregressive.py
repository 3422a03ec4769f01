"""What all systems that predict images value by value have in common: no leak, probabilities, sampling, completion."""

import itertools

import numpy as np
import pytest

from tests.models import raster
from tests.models.cases import kinds_of
from tests.models.raster import CHANNELS, dependences, images, small_model
from tinygen.errors import ShapeError
from tinygen.models.autoregressive import base as autoregressive

CASES = [(name, kind) for name in raster.SMALL for kind in CHANNELS if kind in kinds_of(raster.system_of(name))]
every = pytest.mark.parametrize(("name", "kind"), CASES)
every_binary = pytest.mark.parametrize("name", [name for name, kind in CASES if kind == "binary"])


@every
def test_an_output_depends_on_earlier_values_only(name, kind):
    """The colours of a pixel included."""
    model = small_model(name, kind, 3, 4, **raster.WIDE[name])
    depends = dependences(model, kind)
    assert not np.triu(depends).any()
    assert depends[np.tri(len(depends), k=-1, dtype=bool)].mean() > 0.6


@every_binary
def test_the_probabilities_of_all_worlds_sum_to_one(name):
    """Of each class, in a conditional model."""
    worlds = np.array(list(itertools.product((0, 1), repeat=9)), np.float32).reshape(-1, 3, 3, 1)
    model = small_model(name, "binary", 3, 3)
    log_p = np.stack([model.log_prob(worlds, **given).astype("float64") for given in givens(model, len(worlds))])
    assert np.ptp(log_p, axis=1).max() > 1
    np.testing.assert_allclose(np.exp(log_p).sum(axis=1), 1, rtol=1e-5)


def givens(model, n):
    """The arguments of each class; of no class for a model without conditions."""
    return [{"given": {"y": np.full(n, label)}} for label in range(raster.CLASSES)] if model.conditions else [{}]


# Sampling


@every
def test_cached_sampling_equals_naive_sampling_to_the_bit(name, kind, monkeypatch):
    monkeypatch.setattr(autoregressive, "CHUNK", 3)
    model = small_model(name, kind, **({"first_kernel": 5} if "first_kernel" in raster.SMALL[name] else {}))
    cached = model.sample(5, seed=1)
    assert cached.tobytes() == model.sample(5, seed=1, cached=False).tobytes()
    assert len(np.unique(cached, axis=0)) == 5
    if kind != "binary":
        assert len(np.unique(cached)) > 20
        np.testing.assert_array_equal(np.rint(255 * cached) / np.float32(255), cached)


@every
def test_completion_keeps_the_given_rows(name, kind):
    model, x = small_model(name, kind), images(kind, 16)
    original = x.copy()
    for rows in (0, 3, 5):
        completed = model.complete(x, rows, seed=2)
        np.testing.assert_array_equal(x, original)
        np.testing.assert_array_equal(completed[:, :rows], x[:, :rows])
        assert completed.tobytes() == model.complete(x, rows, seed=2, cached=False).tobytes()
    np.testing.assert_array_equal(model.complete(x, 0, seed=2), model.sample(16, seed=2))
    assert (model.complete(x, 3, seed=2)[:, 3:] != model.complete(1 - x, 3, seed=2)[:, 3:]).any()
    for bad, rows in ((x[:, :4], 2), (x, 6), (x, -1)):
        with pytest.raises(ShapeError, match=r"^complete: takes images \(N, 5, 6, .\) of which 0 to 5 rows are kept"):
            model.complete(bad, rows, seed=0)


@pytest.mark.parametrize("name", [name for name in raster.SMALL if name != "pixelcnn-pp" and "of a class" not in name])
def test_samples_have_the_probabilities_of_the_likelihood(name):
    model, n = small_model(name, "binary", 2, 2), 20_000
    worlds = np.array(list(itertools.product((0, 1), repeat=4)), np.float32)
    p = np.exp(model.log_prob(worlds.reshape(-1, 2, 2, 1)))
    drawn = model.sample(n, seed=0).reshape(n, 4) @ [8, 4, 2, 1]
    frequency = np.bincount(drawn.astype(int), minlength=16) / n
    assert (np.abs(frequency - p) < 4 * np.sqrt(p * (1 - p) / n)).all()
