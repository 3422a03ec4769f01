"""Mixtures of normal distributions (Dempster, Laird & Rubin 1977; equations as in Bishop 2006, chapter 9)."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tinygen import random
from tinygen.backend import array_module, to_device, to_numpy
from tinygen.data.fields import Points
from tinygen.data.sources import WholeSplit
from tinygen.errors import NonFiniteError, UsageError
from tinygen.metrics.modes import SAMPLES
from tinygen.metrics.points import density_metrics, points_metrics
from tinygen.models.base import CHUNK, System, at_least, draw_rows
from tinygen.models.mixtures.kmeans import k_means
from tinygen.models.trial import NO_MODES, ONE_NORMAL, UNTRAINED, Demand, Trial
from tinygen.nn import Parameter
from tinygen.train import plots
from tinygen.train.figures import Figure

SCATTER_POINTS = 1000
COLLAPSED = 2.0
"""A component whose smallest variance is below this multiple of the floor has collapsed."""


class GMM(System):
    """Mixture of normal distributions, fitted by expectation maximisation.

    A training step is one iteration over all data, and so also an epoch. There are no gradients and no step size; the
    likelihood of the training data never falls. Everything is computed in float64.
    """

    name = "gmm"
    needs = {"x": Points()}
    selection_metric = "nll_density_nats"

    @dataclass(frozen=True)
    class Config:
        components: int = 10
        """Number of normal distributions in the mixture."""
        covariance: Literal["full", "diagonal", "tied"] = "full"
        """A covariance matrix for each component, only its diagonal, or one matrix for all."""
        floor: float = 1e-6
        """Variance that is added in every direction, so that no component collapses onto a point."""
        restarts: int = 5
        """Number of runs of k-means before the first iteration, which starts from the best of them."""

        def __post_init__(self):
            at_least(self, 1, "components", "restarts")
            at_least(self, 0, "floor")

    def __init__(self, config: Config, spec, device: str = "cpu"):
        super().__init__(config, spec, device)
        (size,), components = spec.x.shape, config.components
        covariances = {"full": np.stack([np.eye(size)] * components), "tied": np.eye(size)}
        self.weights = Parameter(np.full(components, 1 / components), requires_grad=False)
        self.means = Parameter(random.stream("init").normal((components, size), dtype="float64"), requires_grad=False)
        start = covariances.get(config.covariance, np.ones((components, size)))
        self.covariances = Parameter(start, requires_grad=False)
        self.iterations = np.zeros((), np.int64)
        self.to(device)

    def source(self, split, *, seed: int) -> WholeSplit:
        """A source that returns all training data at each step."""
        return WholeSplit(split, seed=seed)

    def training_step(self, batch):
        """One iteration of expectation maximisation (Bishop 2006, section 9.2.2); before the first, k-means."""
        x = batch.x.astype("float64")
        if not array_module(x).isfinite(x).all():
            raise NonFiniteError("the points are not all finite")
        if not self.iterations:
            self.assign(*self.maximised(x, k_means(x, self.config.components, self.config.restarts)))
        joint = self.log_joint(x)
        log_p = log_sum_exp(joint)
        responsibilities = array_module(x).exp(joint - log_p[:, None])  # E step, equation 9.23
        self.assign(*self.maximised(x, responsibilities))
        self.iterations += 1
        return {"nll_density_nats": -float(log_p.mean())}

    def maximised(self, x, responsibilities):
        """Weights, means and covariances of points (N, D) by their responsibilities (N, K): the M step."""
        xp, tiny = array_module(x), 10 * np.finfo(np.float64).eps
        counts = responsibilities.sum(axis=0) + tiny  # equation 9.27; for an empty component slightly above 0
        means = responsibilities.T @ x / counts[:, None]  # equation 9.24
        diagonal, scatters = self.config.covariance == "diagonal", []
        for weight, mean in zip(responsibilities.T, means, strict=True):
            centred = x - mean
            scatters.append(weight @ centred**2 if diagonal else (weight[:, None] * centred).T @ centred)
        floor = self.config.floor * (1.0 if diagonal else xp.eye(x.shape[1]))
        if self.config.covariance == "tied":
            covariances = sum(scatters) / len(x) + floor
        else:
            covariances = xp.stack([each / count + floor for each, count in zip(scatters, counts, strict=True)])
        return counts / counts.sum(), means, covariances  # equations 9.26 and 9.25

    def assign(self, weights, means, covariances) -> None:
        """Set the parameters; UsageError, without any change, if a covariance matrix is singular."""
        variances = to_numpy(array_module(means).linalg.eigvalsh(self.matrices(covariances)))
        singular = variances[:, 0] <= variances.shape[1] * np.finfo(np.float64).eps * variances[:, -1]
        if singular.any():
            raise UsageError(
                f"component {singular.argmax()} has collapsed, its variance is 0 in some direction: "
                f"raise --floor (now {self.config.floor:g}) or lower --components"
            )
        self.weights.assign(weights)
        self.means.assign(means)
        self.covariances.assign(covariances)

    def matrices(self, covariances):
        """The covariance matrix of each component (K, D, D), for every kind of `covariance`."""
        xp, components = array_module(covariances), self.config.components
        if self.config.covariance == "diagonal":
            return covariances[:, :, None] * xp.eye(covariances.shape[1])
        return xp.broadcast_to(covariances, (components, *covariances.shape[-2:]))

    def log_joint(self, x):
        """log of weight times density of each component, (N, K), at points (N, D) in float64."""
        xp = array_module(x)
        factors = xp.linalg.cholesky(self.matrices(self.covariances.data))
        columns = []
        for factor, mean in zip(factors, self.means.data, strict=True):
            squares = (xp.linalg.solve(factor, (x - mean).T) ** 2).sum(axis=0)
            columns.append(-0.5 * squares - xp.log(xp.diagonal(factor)).sum() - 0.5 * len(mean) * math.log(2 * math.pi))
        return xp.stack(columns, axis=1) + xp.log(self.weights.data)

    def log_prob(self, x, *, seed: int = 0) -> np.ndarray:
        """log densities in nats (N,), float64, of points (N, D), exact; nothing is random."""
        parts = [to_device(x[start : start + CHUNK], self.device) for start in range(0, max(1, len(x)), CHUNK)]
        return np.concatenate([to_numpy(log_sum_exp(self.log_joint(part.astype("float64")))) for part in parts])

    def sample(self, n: int, *, seed: int) -> np.ndarray:
        """n points, each from a component that is drawn with the weights as probabilities."""
        uniform = random.Stream(seed, "sample component").uniform(n)
        weights, means, covariances = (to_numpy(p.data) for p in (self.weights, self.means, self.covariances))
        component = np.searchsorted(weights.cumsum()[:-1], uniform, side="right")
        noise = draw_rows(random.Stream(seed, "sample").normal, n, means.shape[1], "cpu")
        factors = np.linalg.cholesky(self.matrices(covariances))[component]
        return (means[component] + (factors * noise[:, None]).sum(axis=2)).astype(np.float32)

    def evaluate(self, data, *, seed: int, thorough: bool = True) -> dict[str, float]:
        """-log density in nats; if the data's density is known, also the KL divergence from it and the modes found.

        Also the number of collapsed components, whose variance is hardly more than the floor.
        """
        x = np.concatenate([batch.x for batch in data.batches(CHUNK)])
        metrics = density_metrics(self.spec, x, self.log_prob(x))
        metrics |= points_metrics(self.spec, x, self.sample(SAMPLES, seed=seed))
        smallest = np.linalg.eigvalsh(self.matrices(to_numpy(self.covariances.data)))[:, 0]
        return metrics | {"collapsed_count": float((smallest < COLLAPSED * self.config.floor).sum())}

    def figures(self, data, *, seed: int) -> Iterator[Figure]:
        """A drawing of the components over validation points, if these lie in a plane."""
        if self.spec.x.shape != (2,):
            return
        angle = np.linspace(0, 2 * math.pi, 49)
        circle = 2 * np.stack([np.cos(angle), np.sin(angle)])
        factors = np.linalg.cholesky(self.matrices(to_numpy(self.covariances.data)))
        ellipses = to_numpy(self.means.data)[:, None] + (factors @ circle).transpose(0, 2, 1)
        points = data.valid.take(SCATTER_POINTS).batch(slice(None)).x
        caption = "Validation points, and the components: each ellipse is two standard deviations around a mean."
        yield Figure(caption, svg=plots.scatter(points, outlines=ellipses.tolist()))


def log_sum_exp(x):
    """log of the sum of exponentials over the last axis: (N, K) to (N,)."""
    top = x.max(axis=1)
    return top + array_module(x).log(array_module(x).exp(x - top[:, None]).sum(axis=1))


# Tiny configurations for the tests, trials for `tinygen verify`, and recipes for the scoreboard

GMM.tiny = (
    {"components": 2, "floor": 0.01},
    {"components": 3, "floor": 0.01, "covariance": "diagonal", "restarts": 2},
    {"components": 2, "floor": 0.01, "covariance": "tied"},
)
GMM.trials = (
    Trial(
        "ring8",
        10,
        {"components": 8},
        (
            Demand("data_kl_nats", "<", ONE_NORMAL, plus=0.02),
            Demand("modes_count", ">", UNTRAINED, plus=7),
            Demand("high_quality_rate", ">", NO_MODES, plus=0.9),
        ),
    ),
)
GMM.recipes = ("--data grid25 --steps 20 --components 25", "--data ring8 --steps 20 --components 8")
