"""Networks of a noisy example, a time in [0, 1] and a class, with outputs of the shape of the example."""

import math
from typing import Any

import numpy as np

from tinygen import functional as F
from tinygen.errors import UsageError
from tinygen.nn import Conv2d, Embedding, GroupNorm, Linear, Module, MultiheadAttention, Sequential, SiLU
from tinygen.recompute import checkpoint

HALVINGS = 2  # how often the U-Net halves the sides of an image
OCTAVES = 7  # frequencies of the waves that the perceptron sees of a point
MOST_WAVES = 8  # the most coordinates of points that are also given as waves
TIME_SCALE = 1000.0  # times are told as Ho et al. do for 1000 steps


class TimeEmbedding(Module):
    """Features (N, outputs) of times (N,) and, if there are classes, of labels (N,), of which `classes` means none.

    Waves of many lengths (Vaswani et al. 2017, section 3.5) pass through two layers; a label adds a vector of its own.
    """

    def __init__(self, waves: int, outputs: int, classes: int):
        self.frequencies = (TIME_SCALE * 10_000 ** (-np.arange(waves) / waves)).astype(np.float32)
        self.layers = Sequential(Linear(2 * waves, outputs), SiLU(), Linear(outputs, outputs))
        self.labels = Embedding(classes + 1, outputs) if classes else None

    def forward(self, time, labels=None):
        angles = time.reshape(-1, 1) * self.frequencies
        features = self.layers(F.concatenate([F.sin(angles), F.cos(angles)], axis=1))
        return features if self.labels is None else features + self.labels(labels)


class TimeUNet(Module):
    """A U-Net from images (N, H, W, C), times and labels to (N, H, W, C), in the manner of Ho et al. 2020, appendix B.

    The sides are halved twice, the channels doubled once. At each resolution there are residual blocks, on the way up
    joined with what those on the way down computed, and at the lowest one attention. With `recompute` nothing inside
    of a block is kept for the backward pass, in which the block is computed again.
    """

    def __init__(self, shape, channels: int, blocks: int, classes: int, recompute: bool = False):
        height, width, colours = shape
        if height % 2**HALVINGS or width % 2**HALVINGS:
            raise UsageError(
                f"the U-Net needs sides divisible by {2**HALVINGS}, not {height}x{width}; use --architecture mlp"
            )
        self.recompute = recompute
        widths = [channels, *[2 * channels] * HALVINGS]
        features = 4 * channels
        self.embedding = TimeEmbedding(max(1, channels // 2), features, classes)
        self.first = Conv2d(colours, channels, 3, padding=1)
        self.down: list[list[Module]] = []
        self.up: list[list[Module]] = []
        self.halve: list[Module] = []
        self.double: list[Module] = []
        inputs = channels
        for level, size in enumerate(widths):
            self.down.append([ResidualBlock(inputs if i == 0 else size, size, features) for i in range(blocks)])
            self.up.append([ResidualBlock(2 * size, size, features) for _ in range(blocks)])
            if level < HALVINGS:
                self.halve.append(Conv2d(size, size, 3, stride=2, padding=1))
                self.double.append(Conv2d(widths[level + 1], size, 3, padding=1))
            inputs = size
        self.middle = [
            ResidualBlock(inputs, inputs, features),
            Attention(inputs),
            ResidualBlock(inputs, inputs, features),
        ]
        self.last = normed(channels, colours, zero=True)

    def forward(self, x, time, labels=None):
        features = F.silu(self.embedding(time, labels))
        h, kept = self.first(x), []
        for level, blocks in enumerate(self.down):
            for block in blocks:
                h = self.called(block, h, features)
                kept.append(h)
            h = self.halve[level](h) if level < HALVINGS else h
        for block in self.middle:
            h = self.called(block, h, features)
        for level in reversed(range(HALVINGS + 1)):
            if level < HALVINGS:
                h = self.double[level](F.upsample_nearest2d(h, (2, 2)))
            for block in self.up[level]:
                h = self.called(block, F.concatenate([h, kept.pop()], axis=3), features)
        return self.last(h)

    def called(self, block: Module, h, features):
        """The output of a block."""
        return checkpoint(block, h, features) if self.recompute else block(h, features)


class ResidualBlock(Module):
    """x + f(x), with two convolutions; the features of time and label are added between them."""

    def __init__(self, inputs: int, outputs: int, features: int):
        self.before = normed(inputs, outputs)
        self.told = Linear(features, outputs)
        self.after = normed(outputs, outputs, zero=True)
        self.skip = Conv2d(inputs, outputs, 1) if inputs != outputs else None

    def forward(self, x, features):
        told = self.told(features)
        h = self.after(self.before(x) + told.reshape(told.shape[0], 1, 1, told.shape[1]))
        return h + (x if self.skip is None else self.skip(x))


class Attention(Module):
    """x + attention between all pixels, in heads of up to 64 channels."""

    def __init__(self, channels: int):
        heads = max(1, channels // 64)
        self.norm = GroupNorm(groups(channels), channels)
        self.attention = MultiheadAttention(channels, heads if channels % heads == 0 else 1)
        to_zero(self.attention.output)

    def forward(self, x, features=None):
        n, height, width, channels = x.shape
        y = self.attention(self.norm(x).reshape(n, height * width, channels))
        return x + y.reshape(x.shape)


def normed(inputs: int, outputs: int, zero: bool = False) -> Sequential:
    """Group normalisation, SiLU and a 3x3 convolution, whose weights start at zero where that is asked for."""
    convolution = Conv2d(inputs, outputs, 3, padding=1)
    return Sequential(GroupNorm(groups(inputs), inputs), SiLU(), to_zero(convolution) if zero else convolution)


def groups(channels: int) -> int:
    """Up to eight groups, each of several channels where that is possible: one value alone has no variance."""
    return max(g for g in range(1, 9) if channels % g == 0 and (g == 1 or channels > g))


def to_zero(layer: Any) -> Any:
    """Set the parameters of a layer to zero, so that a network starts simple; returns the layer."""
    for parameter in layer.parameters():
        parameter.assign(0.0)
    return layer


class TimeMLP(Module):
    """A perceptron from examples (N, ...), times and labels to outputs of the shape of examples, times `outputs`.

    Residual layers of one width. Points of few coordinates are also given as waves of several lengths, without which
    a perceptron is slow to learn details (Tancik et al. 2020, arXiv:2006.10739).
    """

    def __init__(self, shape, hidden: int, layers: int, classes: int, outputs: int = 1):
        self.shape, self.outputs, size = tuple(shape), outputs, math.prod(shape)
        waves = OCTAVES if len(shape) == 1 and size <= MOST_WAVES else 0
        self.frequencies = (2.0 ** np.arange(waves)).astype(np.float32)
        self.embedding = TimeEmbedding(max(1, hidden // 4), hidden, classes)
        self.first = Linear(size * (1 + 2 * waves), hidden)
        self.layers = [ResidualLayer(hidden) for _ in range(layers)]
        self.last = to_zero(Linear(hidden, outputs * size))

    def forward(self, x, time, labels=None):
        n, size = x.shape[0], math.prod(self.shape)
        flat = x.reshape(n, size)
        if waves := self.frequencies.size:
            angles = (flat.reshape(n, size, 1) * self.frequencies).reshape(n, size * waves)
            flat = F.concatenate([flat, F.sin(angles), F.cos(angles)], axis=1)
        features, h = F.silu(self.embedding(time, labels)), self.first(flat)
        for layer in self.layers:
            h = layer(h, features)
        return self.last(F.silu(h)).reshape(n, *self.shape[:-1], self.outputs * self.shape[-1])


class ResidualLayer(Module):
    """h + f(h), with the features of time and label added inside."""

    def __init__(self, hidden: int):
        self.before, self.told, self.after = (Linear(hidden, hidden) for _ in range(3))

    def forward(self, h, features):
        return h + self.after(F.silu(self.before(F.silu(h)) + self.told(features)))
