"""What DDPM and flow matching share: their networks, labels and guidance, densities by a flow, and figures.

Guidance without a classifier is that of Ho & Salimans 2022 (arXiv:2207.12598).
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from tinygen.backend import array_module, to_device, to_numpy
from tinygen.data.fields import INTENSITIES, Labels, Points
from tinygen.errors import UsageError
from tinygen.metrics.bits import bits_per_dim
from tinygen.models.base import at_least, given_labels
from tinygen.models.diffusion import base
from tinygen.models.diffusion.base import NoiseModel
from tinygen.models.diffusion.likelihood import log_density, unit_vectors
from tinygen.models.diffusion.networks import TimeMLP, TimeUNet
from tinygen.models.diffusion.rows import RowNoise
from tinygen.random import Stream
from tinygen.train.figures import Figure

FLOW_POINTS, FLOW_IMAGES = 200, 100
"""Examples on which the density by a flow is evaluated."""
PROBE, LEAST_NOISE, MOST_NOISE = 0.1, 0.01, 0.1
"""Distance over which differences are taken, as a share of the noise; and the range of noises for this."""
LINES, STEPS = 6, 10
"""Lines between two noises, and samples on each."""
STRENGTHS = (0.0, 1.0, 3.0)
"""Weights of guidance in a figure."""
MOST_CLASSES = 10
"""Classes in a figure."""


class GuidedModel(NoiseModel):
    """The base of systems whose network, of a noisy example, a time and a label, can be guided to a class."""

    needs = {"x": (*INTENSITIES, Points())}

    @dataclass(frozen=True)
    class Config:
        architecture: Literal["unet", "mlp"] = "unet"
        """Network of images: a U-Net, for sides divisible by 4, or a perceptron. Points take the perceptron."""
        channels: int = 32
        """Channels of the U-Net at the size of the image; twice as many at a half and a quarter of it."""
        blocks: int = 1
        """Residual blocks of the U-Net at each resolution, on the way down and on the way up."""
        hidden: int = 128
        """Units in each layer of the perceptron."""
        layers: int = 3
        """Residual layers of the perceptron."""
        checkpoint: bool = False
        """Compute the blocks of the U-Net again in the backward pass, which takes less memory and more time."""
        condition: Literal["none", "labels"] = "none"
        """What the network is told of an example: nothing, or its label, so that samples can be asked for by class."""
        drop_labels: float = 0.1
        """Share of labels that are hidden in training, so that the network also learns to do without."""
        guidance: float = 0.0
        """Weight w of guidance in sampling: (1 + w) times the output for a class, less w times that without label."""
        averaging: float = 0.999
        """Decay per step of a moving average of the weights, used for all but training; 0: no average."""
        batch_size: int = 128
        """Examples in a minibatch."""
        learning_rate: float = 1e-3
        """Peak learning rate of Adam, after the warm-up."""
        warmup_steps: int = 100
        """Steps over which the learning rate rises from zero."""
        cosine_steps: int | None = None
        """Steps after the warm-up in which the learning rate falls to zero; None: all that remain; 0: no fall."""
        sampling_steps: int = 50
        """Steps from noise to a sample."""

        def __post_init__(self):
            at_least(self, 1, "channels", "blocks", "hidden", "layers", "batch_size", "sampling_steps")
            at_least(self, 0, "drop_labels", "guidance", "averaging", "learning_rate", "warmup_steps", "cosine_steps")
            if self.drop_labels > 1:
                raise UsageError(f"drop_labels is {self.drop_labels}; as a share it is at most 1")
            if self.guidance and self.condition == "none":
                raise UsageError(f"guidance is {self.guidance}; it needs a model of labels: add --condition labels")

    def __init__(self, config: Config, spec, device: str = "cpu"):
        self.conditions = ("y",) if config.condition == "labels" else ()
        self.classes = spec.classes if self.conditions else 0
        if isinstance(spec.x, Points) or config.architecture == "mlp":
            network: Any = TimeMLP(spec.x.shape, config.hidden, config.layers, self.classes)
        else:
            network = TimeUNet(spec.x.shape, config.channels, config.blocks, self.classes, config.checkpoint)
        super().__init__(config, spec, device, network)

    @classmethod
    def needs_with(cls, config):
        return cls.needs | ({"y": Labels()} if config.condition == "labels" else {})

    @property
    def steps(self) -> int:
        return self.config.sampling_steps

    # Labels

    def labels_for(self, n: int, given) -> np.ndarray | None:
        """The classes of n samples, or None for a model without; UsageError for unfit ones."""
        if self.classes:
            return given_labels(given, n, self.classes)
        if given:
            raise UsageError(f"given has {', '.join(given)}; the model was trained without labels, see --condition")
        return None

    def labels_in(self, batch):
        """The labels of a batch; None for a model without."""
        return batch.y if self.classes else None

    def labels_or_none(self, x, labels):
        """The labels, or the number that means none for each of the examples x; None for a model without labels."""
        return array_module(x).full(len(x), self.classes, "int64") if labels is None and self.classes else labels

    def partly_hidden(self, batch, stream: Stream):
        """The labels of a batch, some of which, at random, become the number that means none."""
        if not self.classes:
            return None
        kept = stream.uniform(len(batch), device=self.device) >= self.config.drop_labels
        return array_module(kept).where(kept, batch.y, self.classes)

    def output(self, x, time: float, labels):
        """The network's output for examples x at one time, an array; with guidance if there are labels (equation 6)."""
        times, strength = array_module(x).full(len(x), time, "float32"), self.config.guidance
        y = self.network(x, times, self.labels_or_none(x, labels)).data
        if not strength or labels is None:
            return y
        return (1 + strength) * y - strength * self.network(x, times, self.labels_or_none(x, None)).data

    # Densities by a flow

    def flow_densities(
        self, x, velocity: Callable, times: list[float], noise_at: Callable[[float], float], seed: int
    ) -> np.ndarray:
        """log p(x) in nats (N,), by the flow of `velocity` from data at the first of `times` to noise at the last.

        `noise_at` is the deviation of the noise at a time, to which the distances of differences are fitted. The
        divergence of points is computed along each coordinate, that of images estimated by a vector of random signs.
        Images of discrete values become continuous by uniform noise: then it is a lower bound in expectation.
        """
        size, parts = math.prod(self.spec.x.shape), []
        width_of_level = 2 / (self.levels - 1) if self.levels else 0.0
        gained = size * (math.log(width_of_level) if self.levels else -math.log(float(self.deviation)))
        with self.evaluating():
            for start in range(0, max(1, len(x)), base.CHUNK):
                flat = self.seen(to_device(x[start : start + base.CHUNK], self.device)).reshape(-1, size)
                draw = RowNoise(seed, "flow", start, len(flat), (size,), self.device)
                probes = unit_vectors(flat) if self.of_points else [array_module(flat).sign(draw())]
                flat = flat + (draw.uniform() - 0.5) * width_of_level
                log_p = log_density(velocity, flat, times, probes, lambda t: PROBE * _clipped(noise_at(t)))
                parts.append(to_numpy(log_p) + gained)
        return np.concatenate(parts)

    def flow_evaluation(self, data, log_prob: Callable, seed: int) -> dict[str, float]:
        """-log p by a flow on the first examples of a split: in nats and bits per dimension, or nats of a density."""
        part = data.take(FLOW_POINTS if self.of_points else FLOW_IMAGES).batch(slice(None)).x
        nats = -float(log_prob(part, seed=seed).mean(dtype=np.float64))
        if not self.levels:
            return {"flow_nll_density_nats": nats}
        return {"flow_nll_nats": nats, "flow_nll_bits_per_dim": bits_per_dim(nats, self.spec.x.shape)}

    # Figures

    def figures(self, data, *, seed: int) -> Iterator[Figure]:
        """The way from noise to samples, lines between noises, and each class under growing guidance."""
        yield from super().figures(data, seed=seed)
        if self.of_points:
            return
        with self.sampling_with(**self.deterministic):
            yield self._lines(seed)
        if self.classes:
            yield self._strengths(seed)

    def _lines(self, seed: int) -> Figure:
        """Samples along arcs between two noises, on which the length of noise stays the same."""
        ends = self.noise(2 * LINES, seed)
        angle = np.linspace(0, np.pi / 2, STEPS, dtype=np.float32).reshape(-1, *[1] * (ends.ndim - 1))
        noise = [np.cos(angle) * start + np.sin(angle) * end for start, end in zip(ends[::2], ends[1::2], strict=True)]
        labels = (np.arange(LINES) % self.classes).repeat(STEPS) if self.classes else None
        samples = self.from_noise(np.concatenate(noise), labels, seed=seed)[:, 0]
        return Figure("In each row the samples of noises between two.", samples, STEPS)

    def _strengths(self, seed: int) -> Figure:
        """A sample of each class under growing guidance."""
        shown = min(self.classes, MOST_CLASSES)
        labels, noise, rows = np.arange(shown), self.noise(shown, seed), []
        for strength in STRENGTHS:
            with self.sampling_with(guidance=strength):
                rows.append(self.from_noise(noise, labels, seed=seed)[:, 0])
        strengths = ", ".join(f"{strength:g}" for strength in STRENGTHS)
        caption = f"A class in each column, always from the same noise; from top to bottom guidance {strengths}."
        return Figure(caption, np.concatenate(rows), shown)


def _clipped(noise: float) -> float:
    return min(max(noise, LEAST_NOISE), MOST_NOISE)
