"""Networks of pix2pix and CycleGAN: U-Net and ResNet generators, and the discriminator of patches.

They map images in [0, 1], or other inputs from 0 to 1, and work inside with values in [-1, 1]. Images of any size fit:
where the sides do not divide, or are too short, the edge pixels are repeated below and on the right.
"""

import itertools
import math
from typing import Any, Literal

from tinygen import functional as F
from tinygen import random
from tinygen.autograd import array_of
from tinygen.backend import device_of
from tinygen.errors import UsageError
from tinygen.models.adversarial.dcgan import from_symmetric, to_symmetric
from tinygen.models.base import draw_rows
from tinygen.nn import (
    BatchNorm,
    Conv2d,
    ConvTranspose2d,
    InstanceNorm,
    LeakyReLU,
    Module,
    ReflectionPad2d,
    ReLU,
    Sequential,
    init,
)
from tinygen.nn.activations import activates

Norm = Literal["batch", "instance"]
MOST = 8
"""How many times more channels the widest layers have than the first, and how often the sides are halved at most."""
DROPPED = 3
"""Layers of the U-Net's second half with dropout, from the innermost on."""


class UnaveragedBatchNorm(BatchNorm):
    """Batch normalisation that in evaluation takes the statistics of each image alone, not running ones.

    Isola et al. 2017, section 3.3: "using the statistics of the test batch", here of one image.
    """

    @activates
    def forward(self, x, slope: float = 1.0):
        if self.training:
            return super().forward(x, slope=slope)
        self._check(x)
        return F.instance_norm(x, self.scale, self.shift, eps=self.eps, slope=slope)


NORMS = {"batch": UnaveragedBatchNorm, "instance": InstanceNorm}


class UNetGenerator(Module):
    """A network from images (N, H, W, inputs) to images (N, H, W, outputs) (Isola et al. 2017, section 6.1.1).

    `halvings` convolutions of stride 2 halve the sides, as many transposed ones double them, and features of one size
    are joined. The channels double with each halving, up to `MOST` times. Dropout is the only noise: it is drawn in
    evaluation too, from the `streams`.
    """

    def __init__(
        self, inputs: int, outputs: int, channels: int, halvings: int, *, norm: Norm = "batch", dropout: float = 0.5
    ):
        self.dropout, self.noisy = dropout, min(DROPPED, halvings - 1) if dropout else 0
        """Its probability, and the number of layers that have it."""
        widths = [channels * min(MOST, 2**halving) for halving in range(halvings)]
        self.down, self.up = [], []
        for halving, (before, after) in enumerate(zip([inputs, *widths], widths, strict=False)):
            normed = [NORMS[norm](after)] if 0 < halving < halvings - 1 else []
            activation: Any = LeakyReLU(0.2) if halving < halvings - 1 else ReLU()
            convolution = Conv2d(before, after, 4, stride=2, padding=1, bias=not normed)
            self.down.append(Sequential(convolution, *normed, activation))
        for halving in reversed(range(halvings)):
            joined = widths[halving] * (1 if halving == halvings - 1 else 2)
            after = widths[halving - 1] if halving else outputs
            enlarged = ConvTranspose2d(joined, after, 4, stride=2, padding=1, bias=not halving)
            self.up.append(Sequential(enlarged, *([NORMS[norm](after), ReLU()] if halving else [])))
        initialise(self)

    def forward(self, x, streams=None):
        """`streams` has a random stream for each layer with dropout; None: the stream "train"."""
        _, height, width, _ = x.shape
        x = to_symmetric(fitted(x, 2 ** len(self.down)))
        features = []
        for down in self.down:
            x = down(x)
            features.append(x)
        x = features.pop()
        for i, up in enumerate(self.up):
            x = up(x if i == 0 else F.concatenate([x, F.relu(features.pop())], axis=3))
            if i < self.noisy:
                x = dropped(x, self.dropout, streams[i] if streams else random.stream("train"))
        return from_symmetric(F.tanh(x))[:, :height, :width]


class ResNetGenerator(Module):
    """A network from images (N, H, W, inputs) to images (N, H, W, outputs) (Zhu et al. 2017, section 7.2).

    c7s1-64, d128, d256, `blocks` times R256, u128, u64 and c7s1-3 for 64 `channels` and two `halvings`. Images are
    padded by reflection.
    """

    def __init__(self, inputs: int, outputs: int, channels: int, blocks: int, halvings: int = 2):
        widths = [channels * 2**halving for halving in range(halvings + 1)]
        self.halvings = halvings
        layers = [ReflectionPad2d(3), *_normed(Conv2d(inputs, channels, 7, bias=False), channels)]
        for narrow, wide in itertools.pairwise(widths):
            layers += _normed(Conv2d(narrow, wide, 3, stride=2, padding=1, bias=False), wide)
        layers += [ResidualBlock(widths[-1]) for _ in range(blocks)]
        for wide, narrow in itertools.pairwise(widths[::-1]):
            layers += _normed(ConvTranspose2d(wide, narrow, 3, 2, 1, output_padding=1, bias=False), narrow)
        self.layers = Sequential(*layers, ReflectionPad2d(3), Conv2d(channels, outputs, 7))
        initialise(self)

    def forward(self, x):
        _, height, width, _ = x.shape
        x = to_symmetric(fitted(x, 2**self.halvings, max(4, 2 * 2**self.halvings)))
        return from_symmetric(F.tanh(self.layers(x)))[:, :height, :width]


def _normed(convolution: Module, channels: int) -> list[Module]:
    """A convolution to so many channels, instance normalisation and a ReLU."""
    return [convolution, InstanceNorm(channels), ReLU()]


class ResidualBlock(Module):
    """x + f(x), where f is two 3x3 convolutions with reflection padding, each normalised, and a ReLU between them."""

    def __init__(self, channels: int):
        def convolved():
            return ReflectionPad2d(1), Conv2d(channels, channels, 3, bias=False), InstanceNorm(channels)

        self.layers = Sequential(*convolved(), ReLU(), *convolved())

    def forward(self, x):
        return x + self.layers(x)


PATCHES = {16: 1, 34: 2, 70: 3}
"""Sides of the patches that a discriminator can judge, and how often it halves the sides of images for them."""


class PatchDiscriminator(Module):
    """A network from images (N, H, W, C) to the logits (N, h, w, 1) of their overlapping patches.

    Isola et al. 2017, section 6.1.2: C64-C128-C256-C512 for patches of 70x70 pixels and 64 `channels`, of which the
    last has stride 1, as the last convolution to one number has. Smaller `patch`es have fewer layers of stride 2.
    """

    def __init__(self, inputs: int, channels: int, patch: int, *, norm: Norm = "batch"):
        halvings = PATCHES[patch]
        self.least = 3 * 2**halvings
        """Least side of an image, for a single patch."""
        widths = [channels * min(MOST, 2**i) for i in range(halvings + 1)]
        layers: list[Any] = [Conv2d(inputs, channels, 4, stride=2, padding=1), LeakyReLU(0.2)]
        for i, (before, after) in enumerate(itertools.pairwise(widths)):
            stride = 2 if i < halvings - 1 else 1
            layers += [Conv2d(before, after, 4, stride=stride, padding=1, bias=False), NORMS[norm](after)]
            layers += [LeakyReLU(0.2)]
        self.layers = Sequential(*layers, Conv2d(widths[-1], 1, 4, padding=1))
        initialise(self)

    def forward(self, x):
        return self.layers(to_symmetric(fitted(x, 1, self.least)))


def refuse_unknown_patch(patch: int | None) -> None:
    """UsageError for a side of patches for which there is no discriminator."""
    if patch not in (None, *PATCHES):
        raise UsageError(f"patch is {patch}; use one of {', '.join(map(str, PATCHES))}, or leave it out")


def largest_patch(height: int, width: int) -> int:
    """The largest patch within an image of this size, or the smallest of all."""
    return max((patch for patch in PATCHES if patch <= min(height, width)), default=min(PATCHES))


def fitted(x, multiple: int, least: int = 1):
    """Images (N, H, W, C) whose edge pixels are repeated until each side is a multiple, and not below the least."""
    sides = [max(least, -(-side // multiple) * multiple) - side for side in x.shape[1:3]]
    return F.pad(x, ((0, 0), *((0, more) for more in sides), (0, 0)), mode="replicate") if any(sides) else x


def dropped(x, probability: float, stream: random.Stream):
    """Dropout whose mask of an example depends on the position of the example in the stream alone."""
    data = array_of(x)
    uniform = draw_rows(stream.uniform, len(data), math.prod(data.shape[1:]), device_of(data)).reshape(data.shape)
    return F.where(uniform >= probability, x * (1 / (1 - probability)), 0.0)


def initialise(network: Module) -> None:
    """Draw the weights of convolutions from N(0, 0.02^2) and scales from N(1, 0.02^2); biases are zero."""
    for module in network.modules():
        if isinstance(module, Conv2d | ConvTranspose2d):
            module.weight.assign(init.normal(module.weight.shape, 0.02))
            if module.bias is not None:
                module.bias.assign(0.0)
        elif isinstance(module, BatchNorm) and module.scale is not None:
            module.scale.assign(1 + init.normal(module.scale.shape, 0.02))
