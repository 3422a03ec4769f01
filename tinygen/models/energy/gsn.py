"""Generative stochastic networks (Bengio, Thibodeau-Laufer, Alain & Yosinski 2014, arXiv:1306.1091)."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tinygen import functional as F
from tinygen import random
from tinygen.backend import array_module, to_device, to_numpy
from tinygen.data.fields import INTENSITIES
from tinygen.distributions import Bernoulli
from tinygen.errors import UsageError
from tinygen.metrics import parzen
from tinygen.models.base import CHUNK, System, at_least, draw_rows, learning_rate, mean_over
from tinygen.models.energy.draws import Draws, DrawsByRow
from tinygen.models.energy.independent import log_odds, pixel_means
from tinygen.models.trial import COPIED_INPUT, INDEPENDENT, MEAN_IMAGE, SAMPLES_LIKE_DATA, Demand, Trial
from tinygen.nn import Parameter, init
from tinygen.optim import Adam
from tinygen.train.figures import Figure

CHAINS = 100
"""Chains of the Parzen estimate."""
SHOWN, COLUMNS = 8, 20
"""Chains that a figure shows, and their steps."""


class GSN(System):
    """Generative stochastic network: a Markov chain of images with two hidden layers, trained to denoise.

    A step of the chain corrupts the picture, computes noisy hidden units, reconstructs, and draws the next picture from
    the reconstruction. The model is the distribution of pictures after many steps. It has no density, only samples.
    """

    name = "gsn"
    needs = {"x": INTENSITIES}
    implicit = True
    selection_metric = "denoised_cross_entropy_nats"

    @dataclass(frozen=True)
    class Config:
        hidden: int = 500
        """Units in each of the two hidden layers (1500 in the paper)."""
        walkback: int = 4
        """Steps of the chain in a training step, each of which must reconstruct the image; 1: no walkback."""
        level: float = 0.4
        """Probability that a pixel is replaced by 0 or 1, with equal probability, as in the paper."""
        hidden_noise: float = 2.0
        """Standard deviation of the noise before and after the units of the second layer, as in the paper."""
        batch_size: int = 100
        """Images in a minibatch, as in the authors' code."""
        learning_rate: float = 1e-3
        """Learning rate of Adam (the authors' code used gradient descent with momentum)."""
        warmup_steps: int = 0
        """Steps over which the learning rate rises from zero."""
        cosine_steps: int | None = None
        """Steps after the warm-up in which the learning rate falls to zero; None: all that remain; 0: no fall."""
        sampling_steps: int = 100
        """Steps of the chain from independent pixels to a sample."""

        def __post_init__(self):
            at_least(self, 1, "hidden", "walkback", "batch_size", "sampling_steps")
            at_least(self, 0, "level", "hidden_noise", "learning_rate", "warmup_steps", "cosine_steps")
            if self.level > 1:
                raise UsageError(f"level is {self.level}; as a probability it is at most 1")

    def __init__(self, config: Config, spec, device: str = "cpu"):
        super().__init__(config, spec, device)
        self.size, hidden = math.prod(spec.x.shape), config.hidden
        self.lower = Parameter(init.glorot_uniform((self.size, hidden)))
        self.upper = Parameter(init.glorot_uniform((hidden, hidden)))
        self.bias, self.lower_bias, self.upper_bias = (
            Parameter(np.zeros(n, np.float32)) for n in (self.size, hidden, hidden)
        )
        self.pixel_mean = np.full(self.size, 0.5, np.float32)
        """Pixel means of the first minibatch; chains start at independent pixels with these means."""
        self.to(device)
        self.optimizer = Adam(self, learning_rate(config, self.plan))

    def training_step(self, batch):
        """Walkback training: the chain starts at the image, and every step is trained to reconstruct the image."""
        x = batch.x.reshape(len(batch.x), self.size)
        if not int(self.optimizer.count):
            self.start_from_means(x)
        steps = self.chain(x, self.config.walkback, Draws(random.stream("train"), self.device))
        errors = [F.binary_cross_entropy_with_logits(logits, x).sum(axis=1).mean() for logits in steps]
        loss = sum(errors[1:], errors[0]) / len(errors)
        self.optimizer.step(loss)
        return {"denoised_cross_entropy_nats": errors[0], "cross_entropy_nats": loss}

    def start_from_means(self, x) -> None:
        """Start the reconstruction at the mean of x (N, D), by its bias: learning it would take thousands of steps."""
        self.pixel_mean[...] = pixel_means(x)
        self.bias.assign(log_odds(self.pixel_mean))

    def chain(self, x, steps: int, draws: Draws | DrawsByRow) -> Iterator:
        """Logits (N, D) of the picture at each step of chains that start at pictures x (N, D).

        The next step starts at a picture that is drawn with these probabilities; no gradient passes through the draw.
        """
        above = self.initial_units(x)
        for _ in range(steps):
            logits, above = self.transition(self.with_noise(x, draws.uniform(x.shape)), above, draws)
            yield logits
            x = Bernoulli(logits).inverse(draws.uniform(x.shape))

    def transition(self, x, above, draws: Draws | DrawsByRow):
        """New logits of the picture (N, D), and units of the second layer (N, hidden), from a corrupted picture."""
        h1 = F.tanh(F.linear(x, self.lower, self.lower_bias) + F.linear(above, self.upper.T))
        noise = [np.float32(self.config.hidden_noise) * draws.normal(h1.shape) for _ in range(2)]
        h2 = F.tanh(F.linear(h1, self.upper, self.upper_bias) + noise[0]) + noise[1]
        return F.linear(h1, self.lower.T, self.bias), h2

    def initial_units(self, x):
        """The units of the second layer (N, hidden) before the first step for N pictures: zeros."""
        return array_module(x).zeros((len(x), self.config.hidden), x.dtype)

    def with_noise(self, x, uniform):
        """Pictures with salt-and-pepper noise, from uniform numbers of the same shape."""
        level = self.config.level
        return x * (uniform >= level) + (uniform < level / 2)

    def corrupt(self, x, stream: random.Stream):
        """Images (N, H, W, C) with salt-and-pepper noise."""
        uniform = draw_rows(stream.uniform, len(x), self.size, self.device)
        return self.with_noise(x, uniform.reshape(x.shape))

    def sample(self, n: int, *, seed: int) -> np.ndarray:
        """Means of pictures at the ends of chains that start at independent pixels."""
        return self.run_chains(self.independent(n, seed), self.config.sampling_steps, 1, seed)[-1]

    def independent(self, n: int, seed: int):
        """Pictures (n, D) of independent pixels, 0 or 1, with the means of the training images.

        A chain that starts at pixels of probability 1/2 can reach pictures far from all training images, and stay
        there.
        """
        uniform = draw_rows(random.Stream(seed, "start").uniform, n, self.size, self.device)
        return (uniform < self.pixel_mean).astype("float32")

    def run_chains(self, x, steps: int, shown: int, seed: int) -> np.ndarray:
        """Means of the pictures in the last `shown` steps of chains from x (n, D): (shown, n, H, W, C)."""
        with self.evaluating():
            chain = enumerate(self.chain(x, steps, DrawsByRow(seed, "sample", self.device)))
            means = [to_numpy(F.sigmoid(logits)) for step, logits in chain if step >= steps - shown]
        return np.stack(means).reshape(shown, len(x), *self.spec.x.shape)

    def evaluate(self, data, *, seed: int, thorough: bool = True) -> dict[str, float]:
        """Errors of the reconstructions of corrupted images by one step, against the uncorrupted images.

        If thorough, also a Parzen window estimate from 10,000 steps of 100 chains, in nats per example; it is
        misleading, see `tinygen.metrics.parzen`.
        """
        stream, draws = random.Stream(seed, "eval"), DrawsByRow(seed, "eval noise", self.device)

        def chunks():
            for batch in data.batches(CHUNK):
                x = to_device(batch.x, self.device)
                flat = x.reshape(len(x), self.size)
                logits, _ = self.transition(self.corrupt(x, stream).reshape(flat.shape), self.initial_units(x), draws)
                nats = F.binary_cross_entropy_with_logits(logits, flat).sum(axis=1)
                error = F.squared_error(F.sigmoid(logits), flat).mean(axis=1)
                names = "denoised_cross_entropy_nats", "denoised_squared_error_per_pixel"
                yield dict(zip(names, map(to_numpy, (nats, error)), strict=True))

        with self.evaluating():
            numbers = mean_over(chunks())
        if thorough and len(data) > 1:
            kept, start = self.config.sampling_steps, self.independent(CHAINS, seed)
            samples = self.run_chains(start, 2 * kept, kept, seed).reshape(-1, *self.spec.x.shape)
            numbers["parzen_log_likelihood_nats"] = parzen.estimate(data.batch(slice(None)).x, samples)
        return numbers

    def figures(self, data, *, seed: int) -> Iterator[Figure]:
        """Validation images with noise, their reconstructions by one step, and chains."""
        x = data.valid.take(COLUMNS).batch(slice(None)).x
        flat = to_device(x, self.device).reshape(len(x), self.size)
        rebuilt = self.run_chains(flat, 1, 1, seed)[0]
        noisy = to_numpy(self.corrupt(to_device(x, self.device), random.Stream(seed, "eval")))
        caption = "Validation images, the same with noise, and their reconstructions by one step of the chain."
        yield Figure(caption, np.concatenate([x, noisy, rebuilt]), len(x))
        chains = self.run_chains(flat[:SHOWN], COLUMNS, COLUMNS, seed).swapaxes(0, 1)
        caption = f"In each row the first {COLUMNS} steps of a chain that starts at a validation image."
        yield Figure(caption, chains.reshape(-1, *self.spec.x.shape), COLUMNS)


# Tiny configurations for the tests, trials for `tinygen verify`, and recipes for the scoreboard

GSN.tiny = (
    {"hidden": 7, "walkback": 2, "sampling_steps": 3},
    {"hidden": 7, "walkback": 1, "hidden_noise": 0.5, "sampling_steps": 3},
)
GSN.trials = (
    Trial(
        "digits8x8",
        600,
        {"hidden": 100, "batch_size": 64, "learning_rate": 3e-3, "level": 0.3, "hidden_noise": 1.0},
        (
            Demand("denoised_squared_error_per_pixel", "<", MEAN_IMAGE, times=0.8),
            Demand("denoised_squared_error_per_pixel", "<", COPIED_INPUT, times=0.5),
            Demand("parzen_log_likelihood_nats", ">", INDEPENDENT, times=1, plus=5),
            *SAMPLES_LIKE_DATA,
        ),
    ),
)
GSN.recipes = ("--data mnist --epochs 2", "--data mnist --epochs 2 --walkback 1")
