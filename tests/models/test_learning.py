"""It learns: every model, small and for seconds, clearly beats what needs no model at all."""

from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import pytest

from tinygen import models
from tinygen.data import Loader, load
from tinygen.metrics import parzen
from tinygen.random import Stream


@dataclass(frozen=True)
class Case:
    """A short training, the metric it must lower, and by how much."""

    name: str
    data: str
    steps: int
    metric: str
    below: float
    """Share of the baseline's value that the metric must get under."""
    alike: float
    """Correlation between the pixel covariances of samples and of data that must be reached."""
    config: dict[str, Any] = field(default_factory=dict)
    binarised: bool = False
    """Whether a model that would take grey images is given black and white ones."""

    def __str__(self):
        return "-".join([self.name, *[self.config[key] for key in ("architecture",) if key in self.config]])


PIXELS = {"hidden": 16, "blocks": 3, "first_kernel": 5, "head": 16, "batch_size": 32, "learning_rate": 1e-2}
NOISY = {"noise": "salt-and-pepper", "level": 0.2}
SMALL = {"hidden": 64, "latent": 8, "batch_size": 64, "learning_rate": 3e-3}
CASES = [
    Case(
        "aae",
        "digits8x8",
        1500,
        "squared_error_per_pixel",
        0.6,
        0.7,
        SMALL | {"latent": 4, "dropout": 0.0, "discriminator_learning_rate": 1e-3},
    ),
    Case("dae", "digits8x8", 400, "denoised_squared_error_per_pixel", 0.6, 0.7, SMALL | NOISY),
    Case("ae", "digits8x8", 250, "squared_error_per_pixel", 0.5, 0.7, SMALL),
    Case(
        "ae", "digits8x8", 250, "squared_error_per_pixel", 0.6, 0.7, SMALL | {"architecture": "conv", "batch_size": 32}
    ),
    Case("pixelcnn", "digits8x8", 150, "nll_nats", 0.7, 0.7, PIXELS, binarised=True),
    Case("gated-pixelcnn", "digits8x8", 150, "nll_nats", 0.7, 0.7, PIXELS, binarised=True),
    Case("vae", "fashion-mnist-7k", 150, "neg_elbo_nats", 0.82, 0.7, SMALL | {"importance_samples": 8}),
    Case(
        "vae",
        "fashion-mnist-7k",
        100,
        "neg_elbo_nats",
        0.9,
        0.5,
        SMALL | {"architecture": "conv", "batch_size": 16, "importance_samples": 8},
    ),
]


def pixels(split):
    return np.concatenate([batch.x for batch in split.batches(1000)])


def baseline(metric, train, test):
    """What the best constant reaches: the mean image, or independent Bernoulli pixels with its probabilities."""
    mean = train.mean(axis=0)
    if metric.endswith("squared_error_per_pixel"):
        return ((test - mean) ** 2).mean()
    p = mean.clip(1e-3, 1 - 1e-3)
    return -(test * np.log(p) + (1 - test) * np.log(1 - p)).sum(axis=(1, 2, 3)).mean()


def copied(model, split):
    """Squared error a pixel of the corrupted images themselves."""
    x = pixels(split)
    return ((model.corrupt(x, Stream(0, "copies")) - x) ** 2).mean()


def parzen_of_pixels(train, test):
    """The Parzen estimate of samples whose pixels are drawn one by one from those of train."""
    x = pixels(train).reshape(len(train), -1)
    drawn = np.stack([Stream(0, f"pixel {i}").permutation(len(x)) for i in range(x.shape[1])], axis=1)
    samples = np.take_along_axis(x, drawn, axis=0)
    return parzen.log_likelihood(pixels(test), samples, parzen.WIDTHS).mean(axis=1).max()


def covariances(x):
    """Of each pixel with each other one: zero for independent pixels and for a constant."""
    matrix = np.cov(x.reshape(len(x), -1).T.astype("float64"))
    return matrix[~np.eye(len(matrix), dtype=bool)]


def test_every_model_has_to_learn():
    assert {case.name for case in CASES} == set(models.names())


@pytest.mark.parametrize("case", CASES, ids=str)
def test_it_learns(case):
    model_class = models.get(case.name)
    data = load(case.data)
    data = models.check_data(model_class, data.binarised("dynamic") if case.binarised else data)
    train, test = data.train.take(2000), data.test.take(200)
    model = model_class(model_class.Config(**case.config), data.spec)
    constant = baseline(case.metric, pixels(train), pixels(test))
    untrained = model.evaluate(test, seed=0)[case.metric]
    assert untrained > constant
    for batch in islice(Loader(train, model.config.batch_size, seed=0), case.steps):
        model.training_step(batch)
    metrics = model.evaluate(test, seed=0)
    assert metrics[case.metric] < case.below * constant
    wanted = covariances(pixels(train))
    alike = np.corrcoef(covariances(model.sample(400, seed=0)), wanted)[0, 1]
    assert alike > case.alike
    if case.name == "dae":
        assert metrics[case.metric] < 0.5 * copied(model, test), "it does better than to copy its input"
    if case.name in ("ae", "dae"):
        assert metrics["probe_error_rate"] < 0.35, "nine in ten are wrong by guessing"
    if case.name == "aae":
        codes = model.encode(pixels(test))
        assert (np.abs(codes.mean(axis=0)) < 0.5).all(), "codes lie where the prior does"
        assert (np.abs(np.log(codes.std(axis=0))) < 0.5).all()
        assert metrics["parzen_log_likelihood_nats"] > parzen_of_pixels(train, test) + 5
    if case.name == "vae":
        assert metrics["neg_elbo_nats"] == pytest.approx(metrics["reconstruction_nats"] + metrics["kl_nats"], rel=1e-6)
        assert metrics["neg_is8_nats"] < metrics["neg_elbo_nats"] - 0.5, "more samples give a tighter bound"
        assert metrics["kl_nats"] > 3, "the codes carry information"
        assert metrics["active_units"] >= 4
