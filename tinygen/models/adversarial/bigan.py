"""Bidirectional GANs, which learn to encode: BiGAN (Donahue, Krähenbühl & Darrell 2017, arXiv:1605.09782), and
adversarially learned inference, ALI (Dumoulin et al. 2017, arXiv:1606.00704), whose encoder draws codes."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from tinygen import functional as F
from tinygen.data.fields import INTENSITIES
from tinygen.data.needs import Needs
from tinygen.metrics import probe
from tinygen.metrics.modes import SAMPLES
from tinygen.models.adversarial.base import (
    AdversarialModel,
    mlp_generator,
    perceptron,
)
from tinygen.models.adversarial.losses import discriminator_metrics, fake_loss, real_loss
from tinygen.models.base import CHUNK, at_least, average_of, batch_norm_restored_on_error, in_chunks
from tinygen.models.trial import CONTRASTED_SAMPLES, INDEPENDENT, MEAN_IMAGE, UNTRAINED, Demand, Trial
from tinygen.nn import Flatten, Module, Sequential
from tinygen.optim import Adam
from tinygen.random import Stream
from tinygen.train.figures import Figure

COLUMNS = 10  # tiles in a row of a figure


class BiGAN(AdversarialModel):
    """Bidirectional GAN: beside the generator an encoder, and a discriminator of pairs of an image and its code.

    Pairs (x, E(x)) of real images are its real examples, pairs (G(z), z) its fake ones. They have one distribution only
    if the encoder inverts the generator (theorem 2 of Donahue et al.). All three are multilayer perceptrons, as in the
    paper for MNIST.
    """

    name = "bigan"
    compare = staticmethod(discriminator_metrics)
    needs: ClassVar[Needs] = {"x": INTENSITIES}

    @dataclass(frozen=True)
    class Config:
        stochastic: bool = False
        """Encode by a normal distribution from which codes are drawn in training (ALI), not by one code (BiGAN)."""
        latent: int = 50
        """Dimensions of the code (50 for MNIST; uniform in the paper of BiGAN, normal here)."""
        hidden: int = 512
        """Units in each hidden layer (1024 for MNIST)."""
        layers: int = 2
        """Number of hidden layers in each network."""
        batch_size: int = 128
        """Examples in a minibatch (128)."""
        learning_rate: float = 2e-4
        """Learning rate of Adam (0.0002)."""
        beta1: float = 0.5
        """Decay of Adam's average of gradients (0.5)."""
        averaging: float = 0.999
        """Decay per step of moving averages of the encoder's and the generator's weights, which are used outside of
        training; 0: no averages."""

        def __post_init__(self):
            at_least(self, 1, "latent", "hidden", "layers", "batch_size")
            at_least(self, 0, "learning_rate", "beta1", "averaging")

    def __init__(self, config: Config, spec, device: str = "cpu"):
        pixels, latent, hidden = math.prod(spec.x.shape), config.latent, [config.hidden] * config.layers
        generator = mlp_generator(spec, latent, config.hidden, config.layers, batch_norm=True)
        super().__init__(config, spec, device, generator, JointDiscriminator([pixels + latent, *hidden, 1]))
        sizes = [pixels, *hidden, 2 * latent if config.stochastic else latent]
        self.encoder = Sequential(Flatten(), perceptron(sizes, slope=0.2, batch_norm=True)).to(device)
        both = Sequential(self.encoder, self.generator)
        self.average = average_of(both, config.averaging)
        betas = (config.beta1, 0.999)
        self.generator_optimizer = Adam(both, config.learning_rate, betas=betas)
        """The optimiser of generator and encoder, which have one loss."""
        self.discriminator_optimizer = Adam(self.discriminator, config.learning_rate, betas=betas)

    def code(self, x):
        """E(x), or a draw from q(z | x), of images in a training step: (N, latent)."""
        if not self.config.stochastic:
            return self.encoder(x)
        mean, log_var = F.split(self.encoder(x), sizes=(self.config.latent,) * 2, axis=1)
        return F.reparameterize(mean, log_var, self.noise(len(x)))

    def training_step(self, batch):
        """Step the discriminator, then generator and encoder together, which try to have the pairs mistaken.

        They minimise -log D(G(z), z) - log(1 - D(x, E(x))): labels are swapped, since gradients of log(1 - D) soon
        vanish (section 3.4 of Donahue et al.).
        """
        with batch_norm_restored_on_error(self):
            z, codes = self.noise(len(batch)), self.code(batch.x)
            fake = self.generator(z)
            real_logits = self.discriminator(batch.x, codes.detach())
            discriminator_loss = real_loss(real_logits).mean() + fake_loss(self.discriminator(fake.detach(), z)).mean()
            self.discriminator_optimizer.step(discriminator_loss)
            generator_loss = real_loss(self.discriminator(fake, z)).mean()
            encoder_loss = fake_loss(self.discriminator(batch.x, codes)).mean()
            self.update_generator(generator_loss + encoder_loss)
        return {
            "discriminator_nats": discriminator_loss,
            "generator_nats": generator_loss,
            "encoder_nats": encoder_loss,
        }

    def discriminate_pairs(self, x, codes) -> np.ndarray:
        """The discriminator's logits (N,) for pairs of images and codes."""
        with self.evaluating():
            return in_chunks(self.discriminator, x, self.device, codes)

    def encode(self, x) -> np.ndarray:
        """Codes (N, latent) of images (N, H, W, C): E(x), or the mean of q(z | x)."""
        with self.evaluating():
            return in_chunks(lambda part: self.encoder(part)[:, : self.config.latent], x, self.device)

    def decode(self, codes) -> np.ndarray:
        """Images (N, H, W, C) of codes (N, latent)."""
        return self.generate(codes)

    def evaluate(self, data, *, seed: int, thorough: bool = True) -> dict[str, float]:
        """How well pairs are told apart, and how well the encoder recovers the codes of fakes.

        Both are measured on the first 2500 examples of a split and as many fakes. If thorough, also the squared error
        of reconstructions of these examples and, if there are labels, the error rate of a linear probe of all codes.
        """
        real = np.concatenate([batch.x for batch in data.take(SAMPLES).batches(CHUNK)])
        z = Stream(seed, "eval").normal((len(real), self.config.latent))
        codes, fake = self.encode(real), self.generate(z)
        numbers = self.compare(self.discriminate_pairs(real, codes), self.discriminate_pairs(fake, z))
        numbers["code_squared_error"] = _mean_square(self.encode(fake) - z)
        if thorough:
            numbers["squared_error_per_pixel"] = _mean_square(self.decode(codes) - real)
        if thorough and self.spec.classes and "y" in data.fields:
            codes = self.encode(data.values("x"))
            numbers["probe_error_rate"] = probe.error_rate(codes, data.values("y"), self.spec.classes)
        return numbers

    def figures(self, data, *, seed: int) -> Iterator[Figure]:
        """Samples above their reconstructions, which differ as far as the encoder does not invert the generator."""
        samples = self.sample(2 * COLUMNS, seed=seed)
        rebuilt = self.decode(self.encode(samples))
        halves = slice(COLUMNS), slice(COLUMNS, None)
        rows = [half[rows] for rows in halves for half in (samples, rebuilt)]
        yield Figure("Samples, and below each its reconstruction from its code.", np.concatenate(rows), COLUMNS)


class JointDiscriminator(Module):
    """A network from images (N, H, W, C) and codes (N, latent) to logits (N,) of "a real image and its code".

    It has no batch normalisation: with it, real and fake pairs in batches of their own are told apart too easily.
    """

    def __init__(self, sizes: list[int]):
        self.network = perceptron(sizes, slope=0.2)

    def forward(self, x, codes):
        return self.network(F.concatenate([F.flatten(x), codes], axis=1))[:, 0]


def _mean_square(difference: np.ndarray) -> float:
    return float(np.square(difference).mean(dtype=np.float64))


# Tiny configurations for the tests, trials for `tinygen verify`, and recipes for the scoreboard

TINY = {"latent": 3, "hidden": 8}

BiGAN.tiny = (TINY, TINY | {"stochastic": True, "averaging": 0.9, "layers": 1})
BiGAN.trials = (
    Trial(
        "digits8x8",
        400,
        {"latent": 8, "hidden": 128, "batch_size": 64, "learning_rate": 1e-3, "averaging": 0.95},
        (
            Demand("squared_error_per_pixel", "<", MEAN_IMAGE, times=0.9),
            Demand("code_squared_error", "<", UNTRAINED, times=0.7),
            Demand("pixel_covariance_correlation", ">", INDEPENDENT, plus=0.6),
            *CONTRASTED_SAMPLES,
        ),
    ),
)
BiGAN.recipes = ("--data mnist --hidden 400 --batch-size 100 --learning-rate 5e-4 --steps 15000",)
