"""Adversarial auto-encoders (Makhzani, Shlens, Jaitly, Goodfellow & Frey 2015, arXiv:1511.05644)."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tinygen import functional as F
from tinygen import random
from tinygen.backend import array_module, to_device, to_numpy
from tinygen.data.fields import INTENSITIES
from tinygen.errors import UsageError
from tinygen.metrics import parzen
from tinygen.models.adversarial.losses import fake_loss, real_loss
from tinygen.models.autoencoders.autoencoder import CodeModel
from tinygen.models.base import at_least, draw_rows
from tinygen.models.networks import Architecture, classifier
from tinygen.models.trial import INDEPENDENT, MEAN_IMAGE, SAMPLES_LIKE_DATA, UNTRAINED, Demand, Trial
from tinygen.nn import Sequential
from tinygen.optim import Adam
from tinygen.train import plots
from tinygen.train.figures import Figure

PARZEN_SAMPLES = 10_000
SCATTER_POINTS = 1000
RADIUS, ALONG, ACROSS = 1.4, 0.5, 0.1  # mixture prior: radius of the ring of means, radial and tangential deviation


class AAE(CodeModel):
    """Adversarial auto-encoder: a discriminator pulls the distribution of codes towards a prior.

    The reconstruction phase rebuilds images from codes. In the regularisation phase draws from the prior are the
    discriminator's real examples, and codes its fake ones: the encoder is the generator. Here the encoder takes the
    gradients of both phases in one update for each minibatch, where the paper makes two.
    """

    name = "aae"
    needs = {"x": INTENSITIES}
    implicit = True

    @dataclass(frozen=True)
    class Config:
        architecture: Architecture = "mlp"
        """Fully connected hidden layers (mlp), or convolutions of stride 2 before and after them (conv)."""
        latent: int = 8
        """Dimensions of the code (8 for the paper's likelihoods, 2 for its pictures)."""
        hidden: int = 1000
        """Units in each hidden layer of all three networks."""
        layers: int = 2
        """Number of hidden layers in each network."""
        prior: Literal["normal", "mixture"] = "normal"
        """Prior of the codes: standard normal, or a mixture of normal distributions in a ring, one for each class."""
        labelled: bool = False
        """Give the discriminator the classes, so that each class takes a component of the mixture (section 2.3)."""
        dropout: float = 0.2
        """Probability that training drops a pixel from the encoder's input (as in the paper, for likelihoods)."""
        regularisation: float = 1.0
        """Weight of the encoder's adversarial loss, in nats, beside the squared error summed over pixels."""
        batch_size: int = 100
        """Examples in a minibatch."""
        learning_rate: float = 5e-4
        """Learning rate of Adam for encoder and decoder."""
        discriminator_learning_rate: float = 1e-4
        """Learning rate of Adam for the discriminator."""

        def __post_init__(self):
            at_least(self, 1, "latent", "hidden", "layers", "batch_size")
            at_least(self, 0, "dropout", "regularisation", "learning_rate", "discriminator_learning_rate")
            if self.dropout >= 1:
                raise UsageError(f"dropout is {self.dropout}; it must be below 1")
            if self.prior == "mixture" and self.latent != 2:
                raise UsageError(f"latent is {self.latent}; the prior 'mixture' lies in the plane: use --latent 2")
            if self.labelled and self.prior != "mixture":
                raise UsageError("labelled needs a component of the prior for each class: use --prior mixture")

    def __init__(self, config: Config, spec, device: str = "cpu"):
        super().__init__(config, spec, device)
        if config.labelled and not spec.classes:
            raise UsageError(f"labelled is set, but {spec.name!r} has no labels: use --no-labelled")
        self.components = spec.classes or 10
        self.build(config)
        label_size = self.components if config.labelled else 0
        self.discriminator = classifier(config.latent + label_size, config.hidden, config.layers)
        self.to(device)
        betas = (0.5, 0.999)
        self.optimizer = Adam(Sequential(self.encoder, self.decoder), config.learning_rate, betas=betas)
        self.discriminator_optimizer = Adam(self.discriminator, config.discriminator_learning_rate, betas=betas)

    def prior(self, components, stream: random.Stream):
        """Draw codes (N, latent) from the prior; from a mixture, code i is drawn from the component `components[i]`."""
        noise = draw_rows(stream.normal, len(components), self.config.latent, self.device)
        if self.config.prior == "normal":
            return noise
        xp = array_module(noise)
        angle = (2 * math.pi / self.components * components).astype(noise.dtype)
        outward, across = RADIUS + ALONG * noise[:, 0], ACROSS * noise[:, 1]
        cos, sin = xp.cos(angle), xp.sin(angle)
        return xp.stack([outward * cos - across * sin, outward * sin + across * cos], axis=1)

    def training_step(self, batch):
        x, turn = batch.x, self.components_in_turn(len(batch.x))
        codes = self.encoder(F.dropout(x, self.config.dropout))
        error = F.squared_error(F.sigmoid(self.decoder(codes)), x).sum(axis=(1, 2, 3)).mean()
        labels = batch.y if self.config.labelled else None
        prior_codes = self.prior(batch.y if self.config.labelled else turn, random.stream("train"))
        generator_loss = real_loss(self.logits(codes, labels)).mean()  # the encoder acts as generator
        real_terms = real_loss(self.logits(prior_codes, labels))
        discriminator_loss = (real_terms + fake_loss(self.logits(codes.detach(), labels))).mean()
        self.optimizer.step(error + self.config.regularisation * generator_loss)
        self.discriminator_optimizer.step(discriminator_loss)
        size = math.prod(self.spec.x.shape)
        return {
            "squared_error_per_pixel": error / size,
            "generator_nats": generator_loss,
            "discriminator_nats": discriminator_loss,
        }

    def logits(self, codes, labels=None):
        """The discriminator's logits (N, 1) of "drawn from the prior", for codes and, if labelled, their classes."""
        if self.config.labelled:
            classes = array_module(labels).eye(self.components, dtype="float32")[labels]
            codes = F.concatenate([codes, classes], axis=1)
        return self.discriminator(codes)

    def components_in_turn(self, n: int):
        """Components of n draws: 0, 1, 2, ... in turn, so that all are equally frequent."""
        return to_device(np.arange(n) % self.components, self.device)

    def sample(self, n: int, *, seed: int) -> np.ndarray:
        """Draw n codes from the prior, and decode them."""
        return self.decode(self.prior(self.components_in_turn(n), random.Stream(seed, "sample")))

    def evaluate(self, data, *, seed: int, thorough: bool = True) -> dict[str, float]:
        """The metrics of `CodeModel`; if thorough, also a Parzen window estimate from 10,000 samples, in nats.

        The window's width is chosen on the first tenth of the split; the estimate is over the rest. The paper reports
        it, but it is misleading: see `tinygen.metrics.parzen`.
        """
        numbers = super().evaluate(data, seed=seed, thorough=thorough)
        if thorough and len(data) > 1:
            samples = self.sample(PARZEN_SAMPLES, seed=seed)
            numbers["parzen_log_likelihood_nats"] = parzen.estimate(data.batch(slice(None)).x, samples)
        return numbers

    def figures(self, data, *, seed: int) -> Iterator[Figure]:
        """A scatter plot of codes over draws from the prior."""
        codes = self.encode(data.valid.take(SCATTER_POINTS).batch(slice(None)).x)
        prior_codes = to_numpy(self.prior(self.components_in_turn(len(codes)), random.Stream(seed, "sample")))
        if codes.shape[1] < 2:
            return
        points, kind = np.concatenate([prior_codes, codes])[:, :2], np.repeat([0, 1], len(codes))
        caption = "Codes of validation images over as many draws from the prior; the two should look alike"
        caption += "." if codes.shape[1] == 2 else f": the first two of {codes.shape[1]} dimensions."
        legend = tuple(zip(plots.CLASSES, ("prior", "codes"), strict=False))
        yield Figure(caption, svg=plots.scatter(points, kind), legend=legend)


# Tiny configurations for the tests, trials for `tinygen verify`, and recipes for the scoreboard

AAE.tiny = (
    {"latent": 3, "hidden": 7},
    {"latent": 2, "hidden": 7, "prior": "mixture", "architecture": "conv"},
)
AAE.trials = (
    Trial(
        "digits8x8",
        1500,
        {"hidden": 64, "latent": 4, "batch_size": 64, "learning_rate": 3e-3}
        | {"dropout": 0.0, "discriminator_learning_rate": 1e-3},
        (
            Demand("squared_error_per_pixel", "<", MEAN_IMAGE, times=0.6),
            Demand("code_moment_distance", "<", UNTRAINED, plus=0.5),
            Demand("parzen_log_likelihood_nats", ">", INDEPENDENT, times=1, plus=5),
            *SAMPLES_LIKE_DATA,
        ),
    ),
)
AAE.recipes = ("--data mnist --epochs 40 --latent 6 --hidden 500",)
