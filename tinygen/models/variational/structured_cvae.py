"""Learning structured output representation using deep conditional generative models (Sohn, Lee & Yan 2015).

The paper's experiment of section 5.1: some quadrants of an image are observed, the others are predicted. The words are
the paper's: x is what is observed, y what is predicted.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygen import functional as F
from tinygen import random
from tinygen.backend import to_device, to_numpy
from tinygen.data.fields import Image
from tinygen.distributions import Bernoulli, Normal
from tinygen.errors import UsageError
from tinygen.models import networks
from tinygen.models.base import CHUNK, System, at_least, draw_rows, in_chunks, learning_rate, mean_over
from tinygen.models.networks import Architecture
from tinygen.models.trial import UNTRAINED, Demand, Trial
from tinygen.models.variational import bounds
from tinygen.nn import Module, Sequential
from tinygen.optim import Adam
from tinygen.train.figures import Figure

KEPT_IMAGES, SHOWN, PREDICTIONS = 64, 10, 4
OBSERVED = {1: ((1, 0),), 2: ((0, 0), (1, 0)), 3: ((0, 0), (1, 0), (1, 1))}
"""The observed quadrants by their number, each as (lower, right)."""


class StructuredCVAE(System):
    """Conditional VAE of the missing quadrants of an image given the observed ones x, with a learned prior p(z | x).

    A plain network makes a first guess of the missing pixels (section 4.2), which is also the baseline. The other
    networks are given the image completed by this guess. Likelihoods are of the missing pixels alone.
    """

    name = "structured-cvae"
    needs = {"x": Image(kind="binary")}
    log_prob_is_bound = True
    selection_metric = "neg_elbo_nats"

    @dataclass(frozen=True)
    class Config:
        quadrants: int = 1
        """Observed quadrants: 1 (below left), 2 (the left half) or 3 (all but the one above right)."""
        architecture: Architecture = "mlp"
        """Fully connected hidden layers (mlp), or convolutions of stride 2 before and after them (conv)."""
        latent: int = 50
        """Dimensions of the code z."""
        hidden: int = 500
        """Units in each hidden layer."""
        layers: int = 2
        """Number of hidden layers in each network."""
        channels: int = 32
        """Channels of the first convolution; the second has twice as many (for architecture conv)."""
        batch_size: int = 100
        """Examples in a minibatch."""
        learning_rate: float = 1e-3
        """Learning rate of Adam."""
        warmup_steps: int = 100
        """Steps over which the learning rate rises from zero."""
        cosine_steps: int | None = None
        """Steps after the warm-up in which the learning rate falls to zero; None: all that remain; 0: no fall."""
        importance_samples: int = 100
        """Codes per image in the importance-weighted bound of a final evaluation (100 in the paper)."""

        def __post_init__(self):
            at_least(self, 1, "quadrants", "latent", "hidden", "layers", "channels", "batch_size")
            at_least(self, 1, "importance_samples")
            at_least(self, 0, "learning_rate", "warmup_steps", "cosine_steps")
            if self.quadrants > 3:
                raise UsageError(f"quadrants is {self.quadrants}; at most 3 of the 4 can be observed")

    def __init__(self, config: Config, spec, device: str = "cpu"):
        super().__init__(config, spec, device)
        image, latent, hidden = spec.x.shape, config.latent, config.hidden

        def make_encoder(outputs: int) -> Sequential:
            return networks.encoder(config.architecture, image, hidden, outputs, config.layers, config.channels)

        def make_decoder(inputs: int) -> Module:
            return networks.decoder(config.architecture, image, hidden, inputs, config.layers, config.channels)

        self.observed = observed_quadrants(image, config.quadrants)
        self.remembered = np.zeros((KEPT_IMAGES, *image), np.float32)
        self.guesser = Sequential(make_encoder(hidden), F.relu, make_decoder(hidden))
        self.prior_network, self.encoder = make_encoder(2 * latent), make_encoder(2 * latent)
        self.decoder = Decoder(make_encoder(hidden), make_decoder(latent + hidden))
        self.to(device)
        rate = learning_rate(config, self.plan)
        self.guesser_optimizer = Adam(self.guesser, rate)
        self.optimizer = Adam(Sequential(self.prior_network, self.encoder, self.decoder), rate)
        self.missing = int(image[0] * image[1] - to_numpy(self.observed).sum())
        if not self.missing:
            raise UsageError(f"images of {image[0]}x{image[1]} have no missing quadrant; use larger ones")

    def training_step(self, batch):
        """A step on the bound of equation 4, and a step of the plain network on its cross-entropy."""
        guess = self.guesser(batch.x * self.observed)
        hooks = self.hooks_for(batch, guess)
        q = hooks.posterior(batch.x)
        noise = random.stream("train").normal(q.mean.shape, device=self.device)
        reconstruction, kl = (term.mean() for term in bounds.terms(hooks, batch.x, q, noise))
        error = self.nats(guess, batch.x).mean()
        self.optimizer.step(reconstruction + kl)
        self.guesser_optimizer.step(error)
        if int(self.optimizer.count) == 1:
            self.remembered[...] = batch.x[np.arange(KEPT_IMAGES) % len(batch.x)]
        terms = {"reconstruction_nats": reconstruction, "kl_nats": kl}
        return {"neg_elbo_nats": reconstruction + kl, **terms, "guess_nats": error}

    def hooks_for(self, batch, guess=None) -> "HooksWithQuadrants":
        """The hooks of the bounds for images whose observed quadrants are given."""
        guess = self.guesser(batch.x * self.observed) if guess is None else guess
        return HooksWithQuadrants(self, batch.x, guess.detach())

    def nats(self, logits, images):
        """-log p(y | ...) in nats (N,) of the missing pixels of images (N, H, W, 1), from logits of all pixels."""
        return -(Bernoulli(logits).log_prob(images) * (1 - self.observed)).sum(axis=(1, 2, 3))

    def evaluate(self, data, *, seed: int, thorough: bool = True) -> dict[str, float]:
        """The bounds on log p(y | x) of the missing pixels, and -log p(y | x) by the plain network, in nats."""

        def guesses():
            for batch in data.batches(CHUNK):
                x = to_device(batch.x, self.device)
                yield {"guess_nats": to_numpy(self.nats(self.guesser(x * self.observed), x))}

        samples, parameters = self.config.importance_samples if thorough else 0, self.observed.size
        with self.evaluating():
            numbers = bounds.evaluate(self, data, seed=seed, samples=samples, discrete=True, parameters=parameters)
            return bounds.with_bits(numbers, (self.missing,)) | mean_over(guesses())

    def predict(self, images, *, seed: int) -> np.ndarray:
        """Images (N, H, W, 1), with the missing quadrants as the mean of p(y | x, z) for a z drawn from p(z | x)."""
        noise = draw_rows(random.Stream(seed, "sample").normal, len(images), self.config.latent, "cpu")

        def drawn(x, noise):
            hooks = HooksWithQuadrants(self, x, self.guesser(x * self.observed))
            p = hooks.prior()
            return self.filled(x, hooks.likelihood(p.mean + p.std * noise).mean)

        with self.evaluating():
            return in_chunks(drawn, images, self.device, noise)

    def sample(self, n: int, *, seed: int) -> np.ndarray:
        """`predict` for images of the first minibatch of training, in turn."""
        return self.predict(to_numpy(self.remembered)[np.arange(n) % KEPT_IMAGES], seed=seed)

    def filled(self, images, shades):
        """Images with their observed quadrants, and with `shades` in the others."""
        return images * self.observed + shades * (1 - self.observed)

    def figures(self, data, *, seed: int) -> Iterator[Figure]:
        """Observed parts of validation images, the guess, several predictions, and the whole images."""
        x = data.valid.take(SHOWN).batch(slice(None)).x
        observed = to_numpy(self.observed)
        with self.evaluating():
            shades = in_chunks(lambda part: F.sigmoid(self.guesser(part)), x * observed, self.device)
        drawn = [self.predict(x, seed=seed + i) for i in range(PREDICTIONS)]
        rows = [x * observed + 0.5 * (1 - observed), x * observed + shades * (1 - observed), *drawn, x]
        caption = f"Observed quadrants, the plain network's guess, {PREDICTIONS} predictions (one for each z), images."
        yield Figure(caption, np.concatenate(rows), len(x))


def observed_quadrants(shape: tuple[int, int, int], number: int) -> np.ndarray:
    """1 where pixels are observed, else 0: float32 (H, W, 1)."""
    height, width, _ = shape
    lower, right = np.arange(height) >= height // 2, np.arange(width) >= width // 2
    masks = [(lower == is_lower)[:, None] & (right == is_right) for is_lower, is_right in OBSERVED[number]]
    return np.any(masks, axis=0)[..., None].astype(np.float32)


class HooksWithQuadrants:
    """The hooks of the bounds for images (N, H, W, 1) whose missing pixels have been guessed, as logits."""

    def __init__(self, system: StructuredCVAE, images: Any, guess: Any):
        self.system, self.device, self.guess = system, system.device, guess
        self.completed = system.filled(images, F.sigmoid(guess))

    def prior(self) -> Normal:
        """p(z | x)"""
        return normal_of(self.system.prior_network(self.completed))

    def posterior(self, x) -> Normal:
        """q(z | x, y), for whole images"""
        return normal_of(self.system.encoder(x))

    def likelihood(self, z) -> "MissingPixels":
        """p(y | x, z)"""
        return MissingPixels(self.system, self.system.decoder(z, self.completed, self.guess))


class MissingPixels:
    """p(y | x, z) of the missing pixels, from logits (N, H, W, 1) of all pixels."""

    def __init__(self, system: StructuredCVAE, logits: Any):
        self.system, self.logits = system, logits

    def log_prob(self, images):
        """In nats (N,), for whole images."""
        return -self.system.nats(self.logits, images)

    @property
    def mean(self):
        """The mean of all pixels (N, H, W, 1)."""
        return F.sigmoid(self.logits)


class Decoder(Module):
    """Logits of p(y | x, z): the guess plus the outputs of a network of z and of features of the completed image."""

    def __init__(self, features: Module, network: Module):
        self.features, self.network = features, network

    def forward(self, z, completed, guess):
        samples = len(z) // len(completed)
        features = bounds.repeated(F.relu(self.features(completed)), samples)
        return self.network(F.concatenate([z, features], axis=1)) + bounds.repeated(guess, samples)


def normal_of(outputs) -> Normal:
    """Normal distributions, whose means and log variances are the halves of `outputs` (N, 2 * latent)."""
    mean, log_var = F.split(outputs, sizes=(outputs.shape[1] // 2,) * 2, axis=1)
    return Normal(mean, log_var=log_var)


# Tiny configurations for the tests, trials for `tinygen verify`, and recipes for the scoreboard

TINY = {"latent": 3, "hidden": 7, "layers": 1, "importance_samples": 3}

StructuredCVAE.tiny = (TINY, TINY | {"architecture": "conv", "channels": 2, "quadrants": 2}, TINY | {"quadrants": 3})
StructuredCVAE.trials = (
    Trial(
        "digits8x8",
        500,
        {"hidden": 64, "latent": 8, "layers": 1, "batch_size": 64, "learning_rate": 3e-3, "warmup_steps": 0},
        (
            Demand("neg_is100_nats", "<", UNTRAINED, times=0.6),
            Demand("guess_nats", "<", UNTRAINED, times=0.65),
        ),
        binarised="threshold",
    ),
)
StructuredCVAE.recipes = tuple(
    f"--data mnist --binarise dynamic --steps 12000{number}" for number in ("", " --quadrants 2", " --quadrants 3")
)
