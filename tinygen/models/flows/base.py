"""The base of normalising flows: data as continuous vectors, exact densities, samples and codes."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygen import functional as F
from tinygen import random
from tinygen.backend import to_device, to_numpy
from tinygen.data import Dataset
from tinygen.data.fields import Image, Points
from tinygen.errors import UsageError
from tinygen.metrics.bits import bits_per_dim
from tinygen.metrics.modes import SAMPLES
from tinygen.metrics.points import density_metrics, points_metrics
from tinygen.models.base import (
    CHUNK,
    Show,
    System,
    at_least,
    batch_norm_restored_on_error,
    draw_rows,
    in_chunks,
    learning_rate,
)
from tinygen.models.flows.layers import Bijection, Chain, Logit, Standardise
from tinygen.nn import Module
from tinygen.optim import Adam
from tinygen.train import images
from tinygen.train.figures import Figure

COLUMNS, STAGES, CLOUD = 10, 6, 2500
"""Images and stages in a figure, and points in a cloud."""


class Flow(System):
    """p(x) = p(z) |det dz/dx| with z = f(x), of points, and of images in [0, 1], in logits (`layers.Logit`).

    The density of points, and of images of real values, is exact. A value of an image of K levels, k / (K - 1), is
    dequantised to (k + u) / K with u uniform on [0, 1). Then E_u log p((k + u) / K) - D log K is a lower bound on the
    log-probability of the D levels (Theis et al. 2016, arXiv:1511.01844, section 3.1), the evidence lower bound for
    codes u; this is what papers give, in bits per dimension, as the likelihood of a flow. It is the lower since p also
    covers logits beyond those of 0 and 1, which no image has; samples there are clipped.

    A subclass defines `make_flow`, and may define another `base` than a standard normal distribution.
    """

    needs = {"x": (Image(kind="grey"), Image(kind="rgb"), Points())}

    @dataclass(frozen=True)
    class Config:
        margin: float = 0.05
        """Images are mapped to logits of margin + (1 - 2 margin) x (0.05 in Dinh et al. 2017)."""
        batch_norm: bool = True
        """Batch normalisation after each layer of the flow, as in the papers. It normalises rare values away in
        training only, and its moments change from batch to batch: without it, likelihoods of training and validation
        agree, and the density of points can have finer details."""
        batch_size: int = 64
        """Examples in a minibatch."""
        learning_rate: float = 1e-3
        """Peak learning rate of Adam, after the warm-up."""
        warmup_steps: int = 100
        """Steps over which the learning rate rises from zero."""
        cosine_steps: int | None = None
        """Steps after the warm-up in which the learning rate falls to zero; None: all that remain; 0: no fall."""
        clip_norm: float = 50.0
        """Norm to which longer gradients are shortened, since a rare example can have a very long one."""

        def __post_init__(self):
            at_least(self, 0, "margin", "learning_rate", "warmup_steps", "cosine_steps", "clip_norm")
            at_least(self, 1, "batch_size")
            if not 0 < self.margin < 0.5:
                raise UsageError(f"margin is {self.margin:g}; it must be above 0, where logits end, and below 0.5")

    def __init__(self, config: Config, spec, device: str = "cpu"):
        super().__init__(config, spec, device)
        of_images = isinstance(spec.x, Image)
        self.levels = spec.x.value_count if of_images else 0
        self.log_prob_is_bound = self.levels > 0
        self.selection_metric = "neg_elbo_nats" if self.levels else "nll_density_nats"
        self.size = math.prod(spec.x.shape)
        entrance = Logit(config.margin) if of_images else Standardise(spec.x.shape)
        self.flow = Chain(entrance, *self.make_flow(config, spec.x.shape))
        self.base = self.make_base(config)
        self.to(device)
        self.optimizer = Adam(self, learning_rate(config, self.plan), clip_norm=config.clip_norm or None)

    def make_flow(self, config, shape: tuple[int, ...]) -> list[Bijection]:
        """The layers from examples of a shape, standardised or in logits, to vectors (N, size) of codes."""
        raise NotImplementedError

    def make_base(self, config) -> Any:
        """The distribution p(z) of codes: `log_prob(z)` in nats (N,), and `draw(n, size, seed)`, an array."""
        return StandardNormal()

    def prepare(self, data: Dataset, *, seed: int, show: Show = lambda line: None) -> None:
        """Take the moments of the training points."""
        entrance = self.flow.layers[0]
        if isinstance(entrance, Standardise):
            entrance.fit(data.train.values("x"))

    # Densities

    def continuous(self, x, noise):
        """Levels of images, dequantised with noise in (0, 1); other examples as they are."""
        return (x * (self.levels - 1) + noise) / self.levels if self.levels else x

    def nats(self, x, noise):
        """-log p(x) in nats (N,) of examples, with noise (N, size) that dequantises levels: that of the levels."""
        codes, log_det = self.flow(self.continuous(x, noise.reshape(x.shape)))
        return self.size * math.log(self.levels or 1) - (self.base.log_prob(codes) + log_det)

    def noise(self, n: int, stream: random.Stream, device: str = "cpu"):
        """Uniform noise (n, size) for `nats`; zeros where nothing is dequantised."""
        if not self.levels:
            return to_device(np.zeros((n, self.size), np.float32), device)
        return draw_rows(stream.uniform, n, self.size, device)

    def training_step(self, batch):
        """Maximum likelihood."""
        noise = self.noise(len(batch.x), random.stream("train"), self.device)
        with batch_norm_restored_on_error(self):
            loss = self.nats(batch.x, noise).mean()
            self.optimizer.step(loss)
        return self.named(loss)

    def step_kind(self):
        return "step"

    def named(self, nats) -> dict[str, Any]:
        """Nats by the name of their metric, and in bits per dimension if they are of levels."""
        if not self.levels:
            return {"nll_density_nats": nats}
        return {"neg_elbo_nats": nats, "neg_elbo_bits_per_dim": bits_per_dim(nats, self.spec.x.shape)}

    def log_prob(self, x, *, seed: int = 0, samples: int | None = None) -> np.ndarray:
        """log p(x) in nats (N,) of examples, exact; of levels the bound, with `samples` draws of noise for each."""
        stream, draws = random.Stream(seed, "eval"), (samples or 1) if self.levels else 1
        each = [self._log_prob(x, stream) for _ in range(draws)]
        return np.logaddexp.reduce(each, axis=0) - np.float32(math.log(draws))

    def _log_prob(self, x, stream: random.Stream) -> np.ndarray:
        with self.evaluating():
            return in_chunks(lambda *part: -self.nats(*part), x, self.device, self.noise(len(x), stream))

    def evaluate(self, data, *, seed: int, thorough: bool = True) -> dict[str, float]:
        """The bound in nats and bits per dimension for levels, else -log density in nats.

        For points whose density is known also the KL divergence from it, and for mixtures the modes of samples.
        """
        stream, points = random.Stream(seed, "eval"), isinstance(self.spec.x, Points)
        parts = [(batch.x if points else None, self._log_prob(batch.x, stream)) for batch in data.batches(CHUNK)]
        log_p = np.concatenate([each for _, each in parts]).astype(np.float64)
        if not points:
            return self.named(-float(log_p.mean()))
        x = np.concatenate([each for each, _ in parts])
        return density_metrics(self.spec, x, log_p) | points_metrics(self.spec, x, self.sample(SAMPLES, seed=seed))

    # Samples and codes

    def sample(self, n: int, *, seed: int) -> np.ndarray:
        """n examples, decoded from codes drawn from p(z); images of levels."""
        with self.evaluating():
            x = self.decode(self.base.draw(n, self.size, seed))
        return np.rint(x * (self.levels - 1)) / np.float32(self.levels - 1) if self.levels else x

    def encode(self, x) -> np.ndarray:
        """The codes (N, size) of examples; of levels those of the middle between a level and the next one."""

        def codes(x):
            return self.flow(self.continuous(x, np.float32(0.5)))[0]

        with self.evaluating():
            return in_chunks(codes, x, self.device)

    def decode(self, codes) -> np.ndarray:
        """The examples of codes (N, size): the inverse of `encode`, except that images are clipped to [0, 1]."""
        with self.evaluating():
            x = in_chunks(self.flow.inverse, codes, self.device)
        if self.levels:
            x = (x * self.levels - np.float32(0.5)) / np.float32(self.levels - 1)
        return x if isinstance(self.spec.x, Points) else x.clip(0, 1)

    def figures(self, data, *, seed: int) -> Iterator[Figure]:
        """Points of a plane on their way from codes to samples; codes of images, which are noise if all is learnt."""
        if isinstance(self.spec.x, Image):
            x = data.valid.take(COLUMNS).batch(slice(None)).x
            shades = to_numpy(F.sigmoid(1.702 * self.encode(x))).reshape(x.shape)  # about the distribution function
            caption = "Validation images, and their codes below them: without any structure if the model were perfect."
            yield Figure(caption, np.concatenate([x, shades]), len(x))
        elif self.size == 2:
            stages = self.stages(seed)
            shown = [stages[i] for i in np.linspace(0, len(stages) - 1, min(STAGES, len(stages))).round().astype(int)]
            clouds = [images.pixels(images.cloud(points)) for points in shown]
            yield Figure("Draws from p(z), and what the inverse layers make of them, up to samples.", np.stack(clouds))

    def stages(self, seed: int) -> list[np.ndarray]:
        """Codes (CLOUD, size) drawn from p(z), and what they are after each inverse layer."""
        with self.evaluating():
            points = to_device(self.base.draw(CLOUD, self.size, seed), self.device)
            stages = [to_numpy(points)]
            for layer in reversed(self.flow.layers):
                points = layer.inverse(points)
                stages.append(to_numpy(points))
        return stages


class StandardNormal(Module):
    """The standard normal distribution of vectors."""

    def log_prob(self, z):
        """log p(z) in nats (N,) of vectors (N, size)."""
        return -0.5 * (F.square(z).sum(axis=1) + z.shape[1] * math.log(2 * math.pi))

    def draw(self, n: int, size: int, seed: int) -> np.ndarray:
        """n vectors (n, size)."""
        return random.Stream(seed, "sample").normal((n, size))
