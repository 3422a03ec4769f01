"""Semi-supervised learning with deep generative models: model M2 (Kingma et al. 2014, arXiv:1406.5298)."""

import math
from dataclasses import dataclass

import numpy as np

from tinygen import functional as F
from tinygen import random
from tinygen.backend import to_device, to_numpy
from tinygen.data import SemiSupervised, Split
from tinygen.distributions import Categorical, Normal
from tinygen.models import networks
from tinygen.models.base import at_least, in_chunks, mean_over
from tinygen.models.trial import FEW_LABELS, SAMPLES_LIKE_DATA, Demand, Trial
from tinygen.models.variational import bounds
from tinygen.models.variational.base import SharedConfig
from tinygen.models.variational.cvae import CVAE
from tinygen.models.variational.likelihoods import PixelDistribution


class M2(CVAE):
    """M2: a conditional VAE with few labels; a classifier q(y | x) replaces the missing ones (section 2.2).

    The class of an unlabelled image is a latent variable, over which the bound sums. Classes are equally likely a
    priori.
    """

    name = "m2"

    @dataclass(frozen=True)
    class Config(SharedConfig):
        latent: int = 50
        """Dimensions of the code z, as in the paper."""
        hidden: int = 500
        """Units in each hidden layer, as in the paper."""
        labelled: int = 100
        """Training examples that keep their labels, equally many of each class; the seed decides which."""
        labelled_batch_size: int = 100
        """Labelled examples in a minibatch, at most all of them."""
        alpha: float = 50.0
        """Weight of the classifier's own loss (section 3.1.2: 0.1 N / N_l, as for 100 labels of 50,000 images)."""
        importance_samples: int = 8
        """Codes per image and class in the importance-weighted bound of a final evaluation."""

        def __post_init__(self):
            super().__post_init__()
            at_least(self, 1, "labelled", "labelled_batch_size")
            at_least(self, 0, "alpha")

    def build(self) -> None:
        super().build()
        config, classes = self.config, self.spec.classes
        self.classifier = networks.encoder(config.architecture, self.spec.x.shape, config.hidden, classes, *self.sizes)

    @property
    def decoder_inputs(self) -> int:
        return self.config.latent + self.spec.classes

    def code_and_label(self, z, labels):
        """A code z (N, latent) beside a one-hot y as long as a code is on average: (N, latent + classes).

        So y is an input of shared layers, as in the paper: few labels would not teach each class weights of its own.
        """
        return F.concatenate([z, math.sqrt(self.config.latent) * F.one_hot(labels, self.spec.classes)], axis=1)

    def source(self, split: Split, *, seed: int) -> SemiSupervised:
        return source_of_few_labels(self.config, split, seed)

    def training_step(self, batch):
        """Algorithm 1 of the paper, with labelled and unlabelled examples in each minibatch (equation 9)."""
        stream = random.stream("train")
        labelled = self.labelled_cost(batch.x, batch.y, stream).mean()
        unlabelled = self.unlabelled_cost(batch.unlabelled_x, stream).mean()
        error = F.cross_entropy(self.classifier(batch.x), batch.y).mean()
        self.optimizer.step(labelled + unlabelled + self.config.alpha * error)
        return {self.selection_metric: unlabelled, "class_cross_entropy_nats": error}

    def labelled_cost(self, x, labels, stream: random.Stream):
        """L(x, y) in nats, for images (N, H, W, C) and K labels (K N,) each (equation 6): (K N,)."""
        hooks = bounds.HooksWithLabels(self, labels)
        q = hooks.posterior(x)
        noise = bounds.noise_for(q, 1, stream, self.device)[:, 0]
        reconstruction, kl = bounds.terms(hooks, bounds.repeated(x, len(labels) // len(x)), q, noise)
        return reconstruction + kl + math.log(self.spec.classes)

    def unlabelled_cost(self, x, stream: random.Stream):
        """U(x) in nats (N,): the mean of L over classes under q(y | x), minus the entropy of q(y | x) (equation 7)."""
        log_q = Categorical(self.classifier(x)).log_probs
        labels = to_device(np.tile(np.arange(self.spec.classes), len(x)), self.device)
        cost = self.labelled_cost(x, labels, stream).reshape(log_q.shape)
        return (F.exp(log_q) * (cost + log_q)).sum(axis=1)

    def classify(self, x) -> np.ndarray:
        """q(y | x) of images (N, H, W, C): (N, classes)."""
        with self.evaluating():
            return in_chunks(lambda part: F.softmax(self.classifier(part)), x, self.device)

    def log_prob(self, x, *, seed: int = 0, samples: int | None = None) -> np.ndarray:
        """A bound on log p(x) in nats (N,), of images (N, H, W, C) without labels.

        p(x) is the sum over classes of p(y) p(x | y); each p(x | y) is bounded by importance weighting of `samples`
        codes.
        """
        samples, joint = samples or self.config.importance_samples, []
        with self.evaluating():
            for label in range(self.spec.classes):
                hooks, stream = HooksOfOneClass(self, label), random.Stream(seed, f"eval {label}")
                joint.append(bounds.log_prob(hooks, x, samples=samples, stream=stream, at_once=self._at_once))
        return np.logaddexp.reduce(joint) - math.log(self.spec.classes)

    def evaluate(self, data, *, seed: int, thorough: bool = True) -> dict[str, float]:
        """U(x), the error rate of q(y | x), and (thorough) the importance-weighted bound, all for x without labels."""
        stream, keys = random.Stream(seed, "eval"), bounds.names(self.pixels.discrete, self.config.importance_samples)

        def chunks():
            for batch in data.batches(max(1, self._at_once // self.spec.classes)):
                cost = self.unlabelled_cost(to_device(batch.x, self.device), stream)
                yield {keys["elbo"]: to_numpy(cost), "error_rate": self.classify(batch.x).argmax(axis=1) != batch.y}

        with self.evaluating():
            numbers = mean_over(chunks())
        if thorough:
            numbers[keys["is"]] = -float(self.log_prob(data.values("x"), seed=seed).mean())
        return bounds.with_bits(numbers, self.spec.x.shape)

    @property
    def _at_once(self) -> int:
        """How many codes are decoded at once."""
        return bounds.codes_at_once(math.prod(self.outputs))


def source_of_few_labels(config: M2.Config, split: Split, seed: int) -> SemiSupervised:
    """The source of minibatches of labelled and unlabelled examples, with the sizes in `config`."""
    few, at_once = config.labelled, config.labelled_batch_size
    return SemiSupervised(split, config.batch_size, labelled=few, labelled_batch_size=at_once, seed=seed)


class HooksOfOneClass:
    """The hooks of the bounds for images that are all of one class."""

    def __init__(self, system: M2, label: int):
        self.system, self.label, self.device = system, label, system.device

    def prior(self) -> Normal:
        return self.system.prior()

    def posterior(self, x) -> Normal:
        return self.system.posterior(x, self._labels(x))

    def likelihood(self, z) -> PixelDistribution:
        return self.system.likelihood(z, self._labels(z))

    def _labels(self, rows):
        return to_device(np.full(len(rows), self.label), self.device)


# Tiny configurations for the tests, trials for `tinygen verify`, and recipes for the scoreboard

TINY = {"batch_size": 4, "labelled": 6, "importance_samples": 3}

M2.tiny = (
    TINY | {"latent": 3, "hidden": 7},
    TINY | {"latent": 3, "hidden": 7, "architecture": "conv", "channels": 2},
)
M2.trials = (
    Trial(
        "digits8x8",
        500,
        {"hidden": 64, "latent": 8, "batch_size": 64, "labelled": 30, "warmup_steps": 0, "importance_samples": 2},
        (Demand("error_rate", "<", FEW_LABELS, times=0.8), *SAMPLES_LIKE_DATA),
    ),
)
M2.recipes = ("--data mnist --steps 6000",)
