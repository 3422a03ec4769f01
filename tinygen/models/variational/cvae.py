"""The class-conditional variational auto-encoder: encoder and decoder are both given the label y.

It is the labelled part of model M2 (Kingma et al. 2014, arXiv:1406.5298, equation 6), and the model of Sohn et al.
(2015) with a label as the condition.
"""

import math
from collections.abc import Iterator

import numpy as np

from tinygen import functional as F
from tinygen import random
from tinygen.data.fields import INTENSITIES, Labels
from tinygen.distributions import STANDARD_NORMAL, Normal
from tinygen.models import networks
from tinygen.models.base import given_labels, in_chunks
from tinygen.models.trial import INDEPENDENT, SAMPLES_LIKE_DATA, UNTRAINED, Demand, Trial
from tinygen.models.variational.base import Variational
from tinygen.models.variational.bounds import HooksWithLabels, repeated
from tinygen.models.variational.likelihoods import PixelDistribution
from tinygen.nn import Linear, Module
from tinygen.train.figures import Figure

STYLES = 8
"""Number of images in whose style a report shows every class."""
MOST_CLASSES = 20


class CVAE(Variational):
    """Conditional VAE: p(z) p(x | y, z) and q(z | x, y) for labels y, so that the code holds all but the class."""

    name = "cvae"
    needs = {"x": INTENSITIES, "y": Labels()}
    conditions = ("y",)

    def __init__(self, config, spec, device: str = "cpu"):
        super().__init__(config, spec, device)
        self.build()
        self.make_optimizer()

    def build(self) -> None:
        """Make the two networks."""
        config, classes = self.config, self.spec.classes
        features = networks.encoder(config.architecture, self.spec.x.shape, config.hidden, config.hidden, *self.sizes)
        self.encoder = LabelledEncoder(features, config.hidden, classes, 2 * config.latent)
        inputs = self.decoder_inputs
        self.decoder = networks.decoder(config.architecture, self.outputs, config.hidden, inputs, *self.sizes)

    # The hooks of the bounds

    def hooks_for(self, batch) -> HooksWithLabels:
        return HooksWithLabels(self, batch.y)

    def prior(self) -> Normal:
        """p(z)"""
        return STANDARD_NORMAL

    def posterior(self, x, labels) -> Normal:
        """q(z | x, y)"""
        mean, log_var = F.split(self.encoder(x, labels), sizes=(self.config.latent,) * 2, axis=1)
        return Normal(mean, log_var=log_var)

    def likelihood(self, z, labels) -> PixelDistribution:
        """p(x | y, z)"""
        return self.pixels.distribution(self.decoder(self.code_and_label(z, labels)))

    @property
    def decoder_inputs(self) -> int:
        """Number of the decoder's inputs, as `code_and_label` returns."""
        return self.spec.classes * (self.config.latent + 1)

    def code_and_label(self, z, labels):
        """The decoder's inputs (N, classes * (latent + 1)) for codes (N, latent) and labels (N,).

        They are the products of z and a one-hot y, and y itself, so that the first layer has weights and biases of its
        own for each class. With the same weights for all, codes hold the class, too, and draws from the prior
        contradict y. All are scaled so that the layer starts as if it had z, and a y of the length of a code, alone.
        """
        classes, latent = self.spec.classes, self.config.latent
        y = math.sqrt(classes) * F.one_hot(labels, classes)
        products = y.reshape(-1, classes, 1) * z.reshape(-1, 1, latent)
        return F.concatenate([products.reshape(-1, classes * latent), math.sqrt(latent) * y], axis=1)

    def sample(self, n: int, *, seed: int, given=None) -> np.ndarray:
        """Means of p(x | y, z) for z drawn from the prior and labels y (n,), by default 0, 1, 2, ... in turn."""
        codes = random.Stream(seed, "sample").normal((n, self.config.latent))
        return self.decode_labelled(codes, given_labels(given, n, self.spec.classes))

    def decode_labelled(self, codes, labels) -> np.ndarray:
        """Means of p(x | y, z) for codes (N, latent) and labels (N,)."""
        with self.evaluating():
            return in_chunks(lambda z, y: self.likelihood(z, y).mean, codes, self.device, labels)

    def encode_labelled(self, x, labels) -> np.ndarray:
        """Means of q(z | x, y) for images (N, H, W, C) and their labels (N,)."""
        with self.evaluating():
            return in_chunks(lambda x, y: self.posterior(x, y).mean, x, self.device, labels)

    def figures(self, data, *, seed: int) -> Iterator[Figure]:
        """Validation images, and every class in the style of each (as figure 1 b of Kingma et al.)."""
        batch, classes = data.valid.take(STYLES).batch(slice(None)), min(self.spec.classes, MOST_CLASSES)
        styles = self.encode_labelled(batch.x, batch.y).repeat(classes, axis=0)
        yield in_every_class(batch.x, self.decode_labelled(styles, np.tile(np.arange(classes), len(batch.x))))


def in_every_class(images: np.ndarray, decoded: np.ndarray) -> Figure:
    """Images (N, H, W, C), each beside the images (N * classes, H, W, C) `decoded` from its code, one of each class."""
    shape = images.shape[1:]
    rows = np.concatenate([images[:, None], decoded.reshape(len(images), -1, *shape)], axis=1)
    caption = "In each row a validation image, and every class decoded with the code of that image."
    return Figure(caption, rows.reshape(-1, *shape), rows.shape[1])


class EncoderWithVectors(Module):
    """A network of images and vectors: a linear layer of the `features` of an image beside its vector.

    There may be K vectors (K N, size) for N images, those of an image in succession; its features are computed once.
    """

    def __init__(self, features: Module, hidden: int, size: int, outputs: int):
        self.features, self.head = features, Linear(hidden + size, outputs)

    def forward(self, x, vectors):
        features = repeated(F.relu(self.features(x)), len(vectors) // max(1, len(x)))
        return self.head(F.concatenate([features, vectors], axis=1))


class LabelledEncoder(EncoderWithVectors):
    """The same with labels (N,) or (K N,), as one-hot vectors."""

    def __init__(self, features: Module, hidden: int, classes: int, outputs: int):
        super().__init__(features, hidden, classes, outputs)
        self.classes = classes

    def forward(self, x, labels):
        return super().forward(x, F.one_hot(labels, self.classes))


# Tiny configurations for the tests, trials for `tinygen verify`, and recipes for the scoreboard

CVAE.tiny = (
    {"latent": 3, "hidden": 7, "importance_samples": 3},
    {"latent": 3, "hidden": 7, "importance_samples": 3, "architecture": "conv", "channels": 2, "samples": 2},
)
CVAE.trials = (
    Trial(
        "digits8x8",
        400,
        {"hidden": 64, "latent": 8, "batch_size": 64, "warmup_steps": 0, "importance_samples": 8},
        (
            Demand("neg_elbo_nats", "<", INDEPENDENT, times=0.9),
            Demand("asked_class_rate", ">", UNTRAINED, plus=0.7),
            *SAMPLES_LIKE_DATA,
        ),
    ),
)
CVAE.recipes = ("--data mnist --steps 30000 --layers 2 --batch-size 100 --learning-rate 1.5e-3",)
