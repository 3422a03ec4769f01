"""Improved techniques for training GANs, and a discriminator that classifies (Salimans et al. 2016, 1606.03498)."""

import itertools
import math
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tinygen import functional as F
from tinygen import random
from tinygen.autograd import array_of, no_grad
from tinygen.backend import device_of, to_device
from tinygen.data import Dataset, SemiSupervised, Split
from tinygen.data.fields import INTENSITIES, Labels
from tinygen.errors import UsageError
from tinygen.models.adversarial.base import AdversarialModel
from tinygen.models.adversarial.losses import discriminator_metrics, smoothed
from tinygen.models.base import Show, at_least, average_of, batch_norm_restored_on_error
from tinygen.models.trial import FEW_LABELS, Demand, Trial
from tinygen.nn import (
    BatchNorm,
    Flatten,
    Linear,
    MinibatchDiscrimination,
    Module,
    Reshape,
    Sequential,
    VirtualBatchNorm,
    WeightNorm,
    WithReference,
    init,
)
from tinygen.nn.parametrizations import initialise_from_data
from tinygen.optim import Adam
from tinygen.train.figures import Figure

INITIAL = 500  # images from which the first scales and biases are computed, as in the authors' code
CANDIDATES, ROWS = 1000, 8  # samples, and how many of each class a figure shows


class ImprovedGAN(AdversarialModel):
    """Semi-supervised GAN: the discriminator has a logit for each class, and learns them from few labels.

    The additional class "fake" has the logit 0, so that D(x) = Z / (Z + 1) with Z the sum of exp(logits) (section 5).
    The networks are those of the authors' code for MNIST.
    """

    name = "improved-gan"
    needs = {"x": INTENSITIES, "y": Labels()}
    selection_metric = "error_rate"

    @dataclass(frozen=True)
    class Config:
        latent: int = 100
        """Dimensions of the noise (100; uniform in the authors' code, normal here)."""
        hidden: int = 1000
        """Units in the discriminator's first hidden layer (1000); the next has half, three more a quarter of them."""
        generator_hidden: int = 500
        """Units in each of the generator's two hidden layers (500)."""
        labelled: int = 100
        """Training examples that keep their labels, equally many of each class; the seed decides which."""
        labelled_batch_size: int = 100
        """Labelled examples in a minibatch, at most all of them."""
        feature_matching: bool = True
        """Whether the generator matches mean features of real images (section 3.1), or minimises -log D(G(z))."""
        minibatch_discrimination: int = 0
        """Kernels that compare features within a minibatch (section 3.2; 100 in the authors' code); 0: none. Images are
        then classified with their neighbours, as many at once as in training."""
        smoothing: float = 1.0
        """Target of the discriminator for real images (0.9: one-sided label smoothing, section 3.4)."""
        generator_norm: Literal["batch", "virtual"] = "batch"
        """Normalisation in the generator: by the minibatch, or by a fixed reference batch (section 3.5)."""
        weight_norm: bool = True
        """Weight normalisation of both networks, with scales and biases that 500 images decide (Salimans & Kingma
        2016). Scales of the discriminator's hidden layers then stay, else it could drown the noise on them."""
        input_noise: float = 0.3
        """Standard deviation of the noise on images that the discriminator sees in training (0.3)."""
        hidden_noise: float = 0.5
        """Standard deviation of the noise on its hidden units (0.5)."""
        batch_size: int = 100
        """Examples without labels in a minibatch (100)."""
        learning_rate: float = 3e-3
        """Learning rate of Adam (0.003)."""
        beta1: float = 0.5
        """Decay of Adam's average of gradients (0.5)."""
        averaging: float = 0.9999
        """Decay per step of a moving average of the discriminator's weights, which classifies (0.9999); 0: none."""

        def __post_init__(self):
            at_least(self, 1, "latent", "hidden", "generator_hidden", "labelled", "labelled_batch_size", "batch_size")
            at_least(self, 0, "minibatch_discrimination", "smoothing", "input_noise", "hidden_noise", "learning_rate")
            at_least(self, 0, "beta1", "averaging")
            if self.smoothing > 1:
                raise UsageError(f"smoothing is {self.smoothing:g}; as a probability it must be at most 1")

    def __init__(self, config: Config, spec, device: str = "cpu"):
        super().__init__(config, spec, device, _generator(config, spec.x.shape), _discriminator(config, spec))
        self.discriminator_average = average_of(self.discriminator, config.averaging)
        self.generator_optimizer, self.discriminator_optimizer = (
            Adam(_trained(network), config.learning_rate, betas=(config.beta1, 0.999))
            for network in (self.generator, self.discriminator)
        )

    def source(self, split: Split, *, seed: int) -> SemiSupervised:
        few, at_once = self.config.labelled, self.config.labelled_batch_size
        return SemiSupervised(split, self.config.batch_size, labelled=few, labelled_batch_size=at_once, seed=seed)

    def prepare(self, data: Dataset, *, seed: int, show: Show = lambda line: None) -> None:
        """Set scales and biases of the discriminator so that outputs of its layers have mean 0 and variance 1 at first.

        This is the initialisation of Salimans & Kingma 2016 (arXiv:1602.07868), section 3, under noise as in training.
        """
        x = next(data.train.take(INITIAL).batches(INITIAL)).x
        with random.restored():
            random.seed(seed)
            initialise_from_data(self.discriminator, to_device(x, self.device))
        self.discriminator_average = average_of(self.discriminator, self.config.averaging)

    def training_step(self, batch):
        """Step the discriminator on labelled, unlabelled and fake images, then the generator."""
        x = batch.unlabelled_x
        with batch_norm_restored_on_error(self):
            with no_grad():
                fake = self.generator(self.noise(len(x)))
            error = F.cross_entropy(self.discriminator(batch.x), batch.y).mean()  # -log p(y | x, not fake)
            cost = smoothed("non-saturating", self.config.smoothing)
            game = cost.discriminator(log_sum(self.discriminator(x)), log_sum(self.discriminator(fake)))
            self.discriminator_optimizer.step(error + 0.5 * game)
            if self.discriminator_average:
                self.discriminator_average.update()
            loss, name = self.generator_loss(x)
            self.update_generator(loss)
        return {"discriminator_nats": game, "class_cross_entropy_nats": error, name: loss}

    def generator_loss(self, x):
        """The squared distance of mean features of real images x and of fake ones, or -log D(G(z)); and its metric."""
        fake, (body, _) = self.generator(self.noise(len(x))), self.discriminator.layers
        if not self.config.feature_matching:
            return smoothed("non-saturating", 1.0).generator(log_sum(self.discriminator(fake)), None), "generator_nats"
        with no_grad():
            wanted = body(x).mean(axis=0)
        return F.square(body(fake).mean(axis=0) - wanted).sum(), "mean_feature_distance"

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        average = self.discriminator_average
        with super().evaluating(), average.applied() if average else nullcontext():
            yield

    @property
    def minibatch(self) -> int | None:
        return self.config.batch_size if self.config.minibatch_discrimination else None

    def discriminate(self, x) -> np.ndarray:
        """The logits (N,) of D(x), log Z, for images in data space."""
        with self.evaluating():
            return self.judged(lambda part: log_sum(self.discriminator(part)), x)

    def classify(self, x) -> np.ndarray:
        """p(y | x, not fake) of images (N, H, W, C): (N, classes)."""
        with self.evaluating():
            return self.judged(lambda part: F.softmax(self.discriminator(part)), x)

    def compare(self, real, fake) -> dict[str, float]:
        return discriminator_metrics(real, fake)

    def evaluate(self, data, *, seed: int, thorough: bool = True) -> dict[str, float]:
        """The error rate of the classifier, and the discriminator's cost and accuracies."""
        wrong = self.classify(data.values("x")).argmax(axis=1) != data.values("y")
        return {"error_rate": float(wrong.mean()), **super().evaluate(data, seed=seed, thorough=thorough)}

    def figures(self, data, *, seed: int) -> Iterator[Figure]:
        """Samples by the class that the discriminator gives them."""
        samples = self.sample(CANDIDATES, seed=seed)
        most_certain = self.classify(samples).argsort(axis=0, kind="stable")[: -ROWS - 1 : -1]
        caption = f"In each column those of {CANDIDATES} samples that are most certainly of one class."
        yield Figure(caption, samples[most_certain.reshape(-1)], columns=most_certain.shape[1])


def log_sum(logits):
    """log Z (N,) of logits (N, classes)."""
    return F.logsumexp(logits, axis=1)


# The networks


class GaussianNoise(Module):
    """Normal noise on its input in training, from the stream `train`."""

    def __init__(self, std: float):
        self.std = std

    def forward(self, x):
        if not self.training or not self.std:
            return x
        return x + self.std * random.stream("train").normal(x.shape, device=device_of(array_of(x)))


def _discriminator(config: ImprovedGAN.Config, spec) -> Sequential:
    """A network from images (N, H, W, C) to features, the last hidden layer, and one from these to logits."""
    widths = [math.prod(spec.x.shape), config.hidden, max(1, config.hidden // 2), *[max(1, config.hidden // 4)] * 3]
    body: list = [Flatten()]
    for inputs, outputs in itertools.pairwise(widths):
        noise = GaussianNoise(config.hidden_noise if len(body) > 1 else config.input_noise)
        body += [noise, _linear(inputs, outputs, config.weight_norm, scale=False), F.relu]
    kernels = config.minibatch_discrimination
    compared = [MinibatchDiscrimination(widths[-1], kernels)] if kernels else []
    last = _linear(widths[-1] + kernels, spec.classes, config.weight_norm)
    return Sequential(Sequential(*body), Sequential(GaussianNoise(config.hidden_noise), *compared, last))


def _generator(config: ImprovedGAN.Config, image_shape) -> Module:
    """A network from noise (N, latent) to images (N, H, W, C) in [0, 1]."""
    hidden, n, virtual = config.generator_hidden, config.batch_size, config.generator_norm == "virtual"
    reference = init.normal((n, config.latent), 1.0) if virtual else None
    network = Sequential(
        _linear(config.latent, hidden),
        VirtualBatchNorm(hidden, n) if virtual else BatchNorm(hidden),
        F.softplus,
        _linear(hidden, hidden),
        VirtualBatchNorm(hidden, n) if virtual else BatchNorm(hidden),
        F.softplus,
        _linear(hidden, math.prod(image_shape), config.weight_norm),
        F.sigmoid,
        Reshape(*image_shape),
    )
    return network if reference is None else WithReference(network, reference)


def _linear(inputs: int, outputs: int, weight_norm: bool = False, *, scale: bool = True) -> Module:
    """A fully connected layer, with weight normalisation if asked for; `scale`: whether its scales are trained."""
    layer = Linear(inputs, outputs)
    layer.weight.assign(init.he_normal(layer.weight.shape))
    if not weight_norm:
        return layer
    normed = WeightNorm(layer)
    normed.gain.requires_grad = scale
    return normed


def _trained(network: Module) -> dict:
    return {name: p for name, p in network.named_parameters().items() if p.requires_grad}


# Tiny configurations for the tests, trials for `tinygen verify`, and recipes for the scoreboard

TINY = {"latent": 3, "hidden": 8, "generator_hidden": 6, "batch_size": 4, "labelled": 6}

ImprovedGAN.tiny = (
    TINY | {"averaging": 0.9},
    TINY
    | {"feature_matching": False, "minibatch_discrimination": 2, "smoothing": 0.8}
    | {"generator_norm": "virtual", "weight_norm": False, "averaging": 0.0},
)
ImprovedGAN.trials = (
    Trial(
        "digits8x8",
        300,
        {"hidden": 128, "generator_hidden": 64, "latent": 8, "labelled": 30, "labelled_batch_size": 30}
        | {"batch_size": 32, "averaging": 0.99},
        (
            # A classifier first: after so few steps a normal distribution has better samples.
            Demand("error_rate", "<", FEW_LABELS, times=0.8),
        ),
    ),
)
ImprovedGAN.recipes = ("--data mnist --epochs 40",)
