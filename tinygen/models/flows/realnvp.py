"""Density estimation using Real NVP (Dinh et al. 2017, arXiv:1605.08803)."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from tinygen import functional as F
from tinygen import random
from tinygen.errors import UsageError
from tinygen.models.base import at_least
from tinygen.models.flows.base import COLUMNS, Flow
from tinygen.models.flows.layers import BatchNorm, Bijection, Chain, Flatten, Squeeze
from tinygen.models.trial import ONE_NORMAL, SAMPLES_LIKE_DATA, Demand, Trial
from tinygen.nn import Conv2d, Linear, Module, Parameter, Sequential
from tinygen.train.figures import Figure


class RealNVP(Flow):
    """Real NVP: coupling layers, in which one half of an example decides how the other is scaled and shifted."""

    name = "realnvp"

    @dataclass(frozen=True)
    class Config(Flow.Config):
        couplings: int = 3
        """Coupling layers of each kind at each scale of images (3 in the paper); of points, pairs of layers."""
        scales: int = 2
        """Scales of images; at each but the last, half of the values become codes and the sides are halved."""
        hidden: int = 64
        """Features of each pixel in the networks of the coupling layers, or their units (32 to 64 in the paper)."""
        blocks: int = 2
        """Residual blocks in each of these networks (2 to 8 in the paper); for points, hidden layers."""

        def __post_init__(self):
            super().__post_init__()
            at_least(self, 1, "couplings", "scales", "hidden", "blocks")

    def make_flow(self, config, shape):
        if len(shape) == 1:
            return couplings(2 * config.couplings, halves(*shape), config, perceptron)
        if any(side % 2 ** (config.scales - 1) for side in shape[:2]):
            raise UsageError(
                f"{config.scales} scales need sides that are multiples of {2 ** (config.scales - 1)}, "
                f"not {shape[0]}x{shape[1]}; use --scales 1"
            )
        return at_scale(config, shape, config.scales)

    def figures(self, data, *, seed: int) -> Iterator[Figure]:
        """The figures of every flow, and images with the codes of more and more scales drawn anew."""
        yield from super().figures(data, seed=seed)
        if len(self.spec.x.shape) == 3 and self.config.scales > 1:
            x = data.valid.take(COLUMNS).batch(slice(None)).x
            codes, drawn = self.encode(x), random.Stream(seed, "scales").normal((len(x), self.size))
            ends = [self.size - self.size // 2**scale for scale in range(1, self.config.scales)]  # the finest is first
            rows = [self.decode(np.concatenate([drawn[:, :end], codes[:, end:]], axis=1)) for end in ends]
            caption = "Validation images; below, with new codes of the finest scale, of the two finest, and so on."
            yield Figure(caption, np.concatenate([x, *rows]), len(x))


def at_scale(config, shape: tuple[int, ...], scales: int) -> list[Bijection]:
    """The layers for images (N, *shape) that are still to pass `scales` scales (section 3.6, equation 13)."""
    height, width, channels = shape
    if scales == 1:
        return [*couplings(config.couplings + 1, checkerboard(shape), config, residual_network), Flatten(shape)]
    squeezed = height // 2, width // 2, 4 * channels
    rest = Chain(*at_scale(config, (*squeezed[:2], 2 * channels), scales - 1))
    return [
        *couplings(config.couplings, checkerboard(shape), config, residual_network),
        Squeeze(),
        *couplings(config.couplings, halves(4 * channels), config, residual_network),
        FactorOut(squeezed, rest),
    ]


def couplings(count: int, mask: np.ndarray, config, network: Callable[..., Module]) -> list[Bijection]:
    """Coupling layers with a mask and its complement in turn, each followed by batch normalisation (section 3.5).

    `network` makes the network of each, from the number of features, `hidden` and `blocks`.
    """
    features = mask.shape[-1]
    layers: list[Bijection] = []
    for number in range(count):
        turned = 1 - mask if number % 2 else mask
        layers.append(Coupling(turned, network(features, config.hidden, config.blocks)))
        layers += [BatchNorm(features)] if config.batch_norm else []
    return layers


def checkerboard(shape: tuple[int, ...]) -> np.ndarray:
    """The mask (H, W, C) of every second pixel, as the black fields of a chessboard (figure 3)."""
    height, width, channels = shape
    black = (np.arange(height)[:, None] + np.arange(width)) % 2
    return np.repeat(black[:, :, None], channels, axis=2).astype(np.float32)


def halves(size: int) -> np.ndarray:
    """The mask (size,) of the first half of the features."""
    return (np.arange(size) < size // 2).astype(np.float32)


class Coupling(Bijection):
    """y = b x + (1 - b) (x exp(s(b x)) + t(b x)) for a mask b of zeros and ones (equations 7 to 9).

    s is a tanh of the network's outputs times a factor that is trained, one for each feature (section 4.1).
    """

    def __init__(self, mask: np.ndarray, network: Module):
        self.mask, self.network = mask, network
        self.factor = Parameter(np.ones(mask.shape[-1], np.float32))

    def scale_and_shift(self, x):
        """s and t, both zero where the mask is one."""
        scale, shift = F.chunk(self.network(x * self.mask), 2, axis=-1)
        return (1 - self.mask) * self.factor * F.tanh(scale), (1 - self.mask) * shift

    def forward(self, x):
        s, t = self.scale_and_shift(x)
        return x * F.exp(s) + t, s.sum(axis=tuple(range(1, s.ndim)))

    def inverse(self, y):
        s, t = (each.data for each in self.scale_and_shift(y))
        return (y - t) * F.exp(-s)


class FactorOut(Bijection):
    """The first half of the channels of images (N, *shape) as codes, and those that a flow makes of the second half."""

    def __init__(self, shape: tuple[int, ...], rest: Bijection):
        self.shape, self.rest = (*shape[:2], shape[2] // 2), rest
        self.size = self.shape[0] * self.shape[1] * self.shape[2]

    def forward(self, x):
        out, kept = F.chunk(x, 2, axis=3)
        codes, log_det = self.rest(kept)
        return F.concatenate([out.reshape((len(x), self.size)), codes], axis=1), log_det

    def inverse(self, y):
        out = y[:, : self.size].reshape((len(y), *self.shape))
        return F.concatenate([out, self.rest.inverse(y[:, self.size :])], axis=3)


# Networks of s and t: both outputs side by side, and zero at first, so that a coupling layer starts as the identity


def perceptron(size: int, hidden: int, layers: int) -> Sequential:
    """Vectors (N, size) to (N, 2 * size)."""
    inner = [part for i in range(layers) for part in (Linear(hidden if i else size, hidden), F.relu)]
    return Sequential(*inner, from_zero(Linear(hidden, 2 * size)))


def residual_network(channels: int, hidden: int, blocks: int) -> Sequential:
    """Images (N, H, W, channels) to (N, H, W, 2 * channels)."""
    first = Conv2d(channels, hidden, 3, padding=1)
    last = from_zero(Conv2d(hidden, 2 * channels, 3, padding=1))
    return Sequential(first, *(Residual(hidden) for _ in range(blocks)), F.relu, last)


def from_zero(layer) -> Module:
    """The layer, with weights and biases of zero."""
    layer.weight.assign(0.0)
    layer.bias.assign(0.0)
    return layer


class Residual(Module):
    """h + f(h), with f two 3x3 convolutions, each after a ReLU; unlike the paper's, without batch normalisation."""

    def __init__(self, hidden: int):
        convolutions = [Conv2d(hidden, hidden, 3, padding=1) for _ in range(2)]
        self.layers = Sequential(F.relu, convolutions[0], F.relu, convolutions[1])

    def forward(self, x):
        return x + self.layers(x)


# Tiny configurations for the tests, trials for `tinygen verify`, and recipes for the scoreboard

RealNVP.tiny = (
    {"couplings": 1, "scales": 1, "hidden": 4, "blocks": 1},
    {"couplings": 1, "hidden": 3, "blocks": 1},
)
RealNVP.trials = (
    Trial(
        "banana",
        200,
        {"couplings": 2, "hidden": 32, "batch_size": 128, "learning_rate": 5e-3, "warmup_steps": 20}
        | {"cosine_steps": 180},
        (Demand("data_kl_nats", "<", ONE_NORMAL, times=0.05),),
    ),
    Trial(
        "digits8x8",
        400,
        {"hidden": 24, "blocks": 1, "learning_rate": 3e-3, "warmup_steps": 20, "cosine_steps": 380},
        (Demand("neg_elbo_bits_per_dim", "<", ONE_NORMAL, times=1.0), *SAMPLES_LIKE_DATA),
        quick=False,
    ),
)
RealNVP.recipes = ("--data mnist --epochs 10", "--data banana --epochs 5 --learning-rate 3e-3")
