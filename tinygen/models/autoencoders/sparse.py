"""Sparse auto-encoders: each unit is active for few examples (Lee, Ekanadham & Ng 2008; Ng 2011, CS294A lecture notes).
On data with labels the code can also be trained to predict the class.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tinygen import functional as F
from tinygen.data.fields import INTENSITIES
from tinygen.errors import UsageError
from tinygen.models.autoencoders.autoencoder import Autoencoder
from tinygen.models.base import at_least, in_chunks
from tinygen.models.trial import (
    CODES_TELL_CLASS,
    MEAN_IMAGE,
    MOST_FREQUENT_CLASS,
    SAMPLES_LIKE_DATA,
    UNTRAINED,
    Demand,
    Trial,
)
from tinygen.nn import Flatten, Linear, Reshape, Sequential
from tinygen.train import images, plots
from tinygen.train.figures import Figure

FILTERS = 100
ACTIVITY_IMAGES = 1000
ACTIVITY_MARGIN = 1e-6  # a mean activity of exactly 0 or 1 would have an infinite divergence


class SparseAutoencoder(Autoencoder):
    """Sparse auto-encoder: one layer of sigmoid units, each of which is active for few examples.

    The loss is l = l_rec + sparsity * sum_j KL(rho || rho_j) + class_weight * l_class: the cross-entropy of the
    reconstruction summed over pixels; the divergence, summed over units, of Bernoulli distributions with the wanted
    activity rho and with the mean activity rho_j of unit j in the minibatch; and the cross-entropy of a linear
    classifier of the code.
    """

    name = "sparse-ae"
    needs = {"x": INTENSITIES}

    @dataclass(frozen=True)
    class Config:
        latent: int = 500
        """Number of sigmoid units, which are the code."""
        activity: float = 0.05
        """Wanted mean activity of each unit, rho."""
        sparsity: float = 10.0
        """Weight of the divergence of the units' mean activities from `activity`; 0: no such term."""
        class_weight: float = 0.0
        """Weight of the classifier's loss, for data with labels; 0: no classifier."""
        batch_size: int = 128
        """Examples in a minibatch, over which activities are averaged."""
        learning_rate: float = 1e-3
        """Learning rate of Adam."""

        def __post_init__(self):
            at_least(self, 1, "latent", "batch_size")
            at_least(self, 0, "activity", "sparsity", "class_weight", "learning_rate")
            if not 0 < self.activity < 1:
                raise UsageError(f"activity is {self.activity}; a mean of sigmoid units lies between 0 and 1")

    def build(self, config) -> None:
        if config.class_weight and not self.spec.classes:
            problem = f"class_weight is {config.class_weight}, but {self.spec.name!r} has no labels"
            raise UsageError(f"{problem}: use --class-weight 0")
        size = math.prod(self.spec.x.shape)
        self.encoder = Sequential(Flatten(), Linear(size, config.latent), F.sigmoid)
        self.decoder = Sequential(Linear(config.latent, size), Reshape(*self.spec.x.shape))
        if config.class_weight:
            self.classifier = Linear(config.latent, self.spec.classes)

    def training_step(self, batch):
        config = self.config
        code = self.encoder(batch.x)
        cross_entropy = F.binary_cross_entropy_with_logits(self.decoder(code), batch.x).sum(axis=(1, 2, 3)).mean()
        loss = cross_entropy
        numbers = {"cross_entropy_nats": cross_entropy, "mean_activity": code.detach().mean()}
        if config.sparsity:
            numbers["sparsity_nats"] = sparsity(code, config.activity)
            loss = loss + config.sparsity * numbers["sparsity_nats"]
        if config.class_weight:
            numbers["class_cross_entropy_nats"] = F.cross_entropy(self.classifier(code), batch.y).mean()
            loss = loss + config.class_weight * numbers["class_cross_entropy_nats"]
        self.optimizer.step(loss)
        self._update_code_moments(code.detach().data)
        return numbers

    def evaluate(self, data, *, seed: int, thorough: bool = True) -> dict[str, float]:
        """The metrics of `CodeModel`, the mean activity of the units, and the error of the classifier, if any."""
        numbers = super().evaluate(data, seed=seed, thorough=thorough)
        codes = self.encode(data.values("x"))
        numbers["mean_activity"] = float(codes.mean(dtype=np.float64))
        if self.config.class_weight and "y" in data.fields:
            with self.evaluating():
                predicted = in_chunks(self.classifier, codes, self.device).argmax(axis=1)
            numbers["error_rate"] = float((predicted != data.values("y")).mean())
        return numbers

    def figures(self, data, *, seed: int) -> Iterator[Figure]:
        """The weights of units, and how active each unit is on average."""
        tiles = images.filters(self.encoder[1].weight.data, self.spec.x.shape, FILTERS)
        yield Figure("The encoder's weights of the first units: grey is zero, each unit has a scale of its own.", tiles)
        activity = np.sort(self.encode(data.valid.take(ACTIVITY_IMAGES).values("x")).mean(axis=0))[::-1]
        wanted = self.config.activity
        points = [(float(rank), float(value)) for rank, value in enumerate(activity, 1)]
        level = [(1.0, wanted), (float(len(activity)), wanted)]
        shown = (plots.CLASSES[0], points), (plots.CLASSES[1], level)
        svg = plots.lines(shown, (0, len(activity) * 1.015), (0, max(1.05 * float(activity[0]), 2 * wanted)), "unit")
        legend = ((plots.CLASSES[0], "mean activity"), (plots.CLASSES[1], "wanted"))
        yield Figure("Mean activity of each unit on validation images, the most active first.", svg=svg, legend=legend)


def sparsity(code, activity: float):
    """sum_j KL(rho || rho_j) in nats: rho_j is the mean of unit j over the minibatch of codes (N, D)."""
    mean = F.clip(code.mean(axis=0), ACTIVITY_MARGIN, 1 - ACTIVITY_MARGIN)
    constant = activity * math.log(activity) + (1 - activity) * math.log(1 - activity)
    return (constant - activity * F.log(mean) - (1 - activity) * F.log(1 - mean)).sum()


# Tiny configurations for the tests, trials for `tinygen verify`, and recipes for the scoreboard

SparseAutoencoder.tiny = ({"latent": 7, "sparsity": 1.0}, {"latent": 7, "activity": 0.2, "sparsity": 4.0})
SparseAutoencoder.trials = (
    Trial(
        "digits8x8",
        300,
        {"latent": 64, "sparsity": 2.0, "class_weight": 8.0, "batch_size": 64, "learning_rate": 1e-2},
        (
            Demand("squared_error_per_pixel", "<", MEAN_IMAGE, times=0.5),
            Demand("mean_activity", "<", UNTRAINED, times=0.2),
            Demand("error_rate", "<", MOST_FREQUENT_CLASS, times=0.2),
            CODES_TELL_CLASS,
            *SAMPLES_LIKE_DATA,
        ),
    ),
)
SparseAutoencoder.recipes = (
    "--data mnist --epochs 20 --class-weight 10",
    "--data mnist --epochs 20 --sparsity 0",  # the plain auto-encoder of the same size, with which it is compared
)
