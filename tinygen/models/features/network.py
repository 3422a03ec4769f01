"""Networks in the shape of VGG (Simonyan & Zisserman 2015, arXiv:1409.1556), whose activations serve as features.

Layers have the names that later papers use: `relu2_1` is the first convolution of the second block, after its ReLU.
Weights have the names of torchvision's VGG, features.{index}.weight and .bias, where the index counts convolutions,
ReLUs and pools.
"""

import re
from collections.abc import Sequence
from itertools import chain
from typing import Any, Literal

import numpy as np

from tinygen import functional as F
from tinygen.errors import UsageError
from tinygen.nn import Conv2d, Module, Sequential, init

Pool = Literal["max", "average"]
Blocks = tuple[tuple[int, ...], ...]
"""Channels of each convolution, block by block."""

VGG19: Blocks = ((64,) * 2, (128,) * 2, (256,) * 4, (512,) * 4, (512,) * 4)
MEAN, STD = np.array([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]], np.float32)
"""Mean and standard deviation of the channels of ImageNet in [0, 1], by which torchvision normalises its inputs."""

POOLS = {"max": F.max_pool2d, "average": F.avg_pool2d}


class FeatureNetwork(Module):
    """Blocks of 3x3 convolutions with ReLUs, between which pools of 2x2 halve the sides.

    It takes images (N, H, W, C) in [0, 1]; grey ones are repeated to three channels. All are normalised by `MEAN` and
    `STD`.
    """

    def __init__(self, blocks: Sequence[Sequence[int]], pool: Pool = "max"):
        self.blocks: Blocks = tuple(map(tuple, blocks))
        self.pool = pool
        self.layers = _relu_indices(self.blocks)
        self.mean, self.std = MEAN.copy(), STD.copy()
        channels = (3, *chain(*self.blocks))
        self.features = {
            index - 1: _he(Conv2d(inputs, outputs, 3, padding=1))
            for index, inputs, outputs in zip(self.layers.values(), channels, channels[1:], strict=False)
        }

    def forward(self, x):
        """The activation of the last layer, (N, h, w, channels)."""
        last = list(self.layers)[-1]
        return self.activations(x, (last,))[last]

    def activations(self, x, names: Sequence[str]) -> dict[str, Any]:
        """The activations (N, h, w, channels) of the named layers, such as relu2_1, of images (N, H, W, C)."""
        y, found = (x - self.mean) / self.std, {}
        for i, block in enumerate(self.blocks, start=1):
            if i > 1:
                y = POOLS[self.pool](y, 2)
            for j in range(1, len(block) + 1):
                name = f"relu{i}_{j}"
                y = Sequential(self.features[self.layers[name] - 1], F.relu)(y)
                if name in names:
                    found[name] = y
        return found

    def up_to(self, names: Sequence[str]) -> "FeatureNetwork":
        """A copy without the layers that come after all of the named ones; UsageError for a layer that it lacks."""
        shorter = FeatureNetwork(first_blocks(self.blocks, names), self.pool)
        state = self.state_dict()
        shorter.load_state_dict({name: state[name] for name in shorter.state_dict()})
        return shorter

    @property
    def layout(self) -> str:
        """The blocks as text, such as 64,64,M,128,128 with M for a max pool, A for an average pool."""
        pool = f",{self.pool[0].upper()},"
        return pool.join(",".join(map(str, block)) for block in self.blocks)

    @classmethod
    def of_layout(cls, layout: str) -> "FeatureNetwork":
        """A network of this `layout`, with random weights."""
        blocks = [[int(width) for width in block.split(",")] for block in re.split(",[MA],", layout)]
        return cls(blocks, "average" if "A" in layout else "max")


def _relu_indices(blocks: Blocks) -> dict[str, int]:
    """The names of the ReLUs, and the index of each among all layers as torchvision counts them."""
    found, index = {}, 0
    for i, block in enumerate(blocks):
        for j in range(len(block)):
            found[f"relu{i + 1}_{j + 1}"] = index + 1
            index += 2
        index += 1
    return found


def first_blocks(blocks: Blocks, names: Sequence[str]) -> Blocks:
    """The blocks without the convolutions that come after all of the named layers; UsageError for an unknown one."""
    known = list(_relu_indices(blocks))
    for name in names:
        if name not in known:
            raise UsageError(f"the feature network has no layer {name!r}; its layers: {', '.join(known)}")
    kept = max(map(known.index, names)) + 1
    shorter = [block[: max(0, kept - sum(map(len, blocks[:i])))] for i, block in enumerate(blocks)]
    return tuple(block for block in shorter if block)


def _he(layer: Conv2d) -> Conv2d:
    """Initialise a convolution before a ReLU (He et al. 2015); returns it."""
    layer.weight.assign(init.he_normal(layer.weight.shape))
    assert layer.bias is not None
    layer.bias.assign(0.0)
    return layer
