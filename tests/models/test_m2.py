"""M2: its bound against a sum over classes and an integral over its one latent dimension, and its source of batches."""

import numpy as np
import pytest

from tests.models.test_cvae import exact_nll, labelled_images
from tinygen import random
from tinygen.data import Batch, Split, load
from tinygen.errors import UsageError
from tinygen.models import M2
from tinygen.random import Stream


def beside(z, y):
    """The decoder's inputs for codes (N, 1) and one-hot labels (N, 3)."""
    return np.concatenate([z, y], axis=1)


def test_bounds_of_unlabelled_images_approach_log_p():
    spec, x, y = labelled_images()
    random.seed(0)
    model = M2(M2.Config(latent=1, hidden=6, importance_samples=256), spec)
    for p in model.decoder.parameters():
        p.assign(2 * p.numpy())
    nll = [exact_nll(model, x, np.full(len(x), label), beside) for label in range(3)]
    exact = np.log(3) - np.logaddexp.reduce(np.negative(nll))
    split = Split(spec.fields, {"x": x.repeat(40, axis=0), "y": y.repeat(40)})
    metrics = model.evaluate(split, seed=0)
    gap = metrics["neg_elbo_nats"] - exact.mean()
    assert gap > 0.05
    assert abs(metrics["neg_is256_nats"] - exact.mean()) < 0.1 * gap
    wrong = (model.classify(x).argmax(axis=1) != y).mean()
    assert metrics["error_rate"] == pytest.approx(wrong)


def test_a_certain_classifier_makes_the_two_costs_equal():
    """Where q(y | x) is 1 for the label, U(x) = L(x, y) (equations 6 and 7)."""
    spec, x, _ = labelled_images()
    random.seed(0)
    model = M2(M2.Config(latent=2, hidden=6), spec)
    model.classifier.layers[-1].weight.assign(0.0)
    model.classifier.layers[-1].bias.assign(np.array([0, 200, 0], np.float32))
    every = np.tile(np.arange(3), len(x))
    costs = model.labelled_cost(x, every, Stream(0, "noise")).numpy().reshape(-1, 3)
    np.testing.assert_allclose(model.unlabelled_cost(x, Stream(0, "noise")).numpy(), costs[:, 1], rtol=1e-5)


def test_the_source_gives_the_configured_number_of_labelled_examples():
    data = load("digits8x8").binarised("threshold")
    model = M2(M2.Config(labelled=20, labelled_batch_size=50, batch_size=30), data.spec)
    source, kept_labels = model.source(data.train, seed=0), set()
    assert len(source.labelled_split) == 20
    for _ in range(10):
        batch = next(source)
        assert (len(batch.x), len(batch.unlabelled_x)) == (20, 30)
        assert "unlabelled_y" not in batch
        kept_labels |= {(image.tobytes(), int(label)) for image, label in zip(batch.x, batch.y, strict=True)}
    assert len(kept_labels) == 20
    assert isinstance(batch, Batch)
    for labelled in (9, 100_000):
        few = M2(M2.Config(labelled=labelled), data.spec)
        with pytest.raises(UsageError, match=f"labelled is {labelled}; use 10"):
            few.source(data.train, seed=0)
