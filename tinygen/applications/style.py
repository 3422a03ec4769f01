"""Style transfer: a picture with the content of one picture and the style of another (Gatys, Ecker & Bethge 2016, CVPR,
"Image style transfer using convolutional neural networks").

The layers, the weights and L-BFGS are those of github.com/jcjohnson/neural-style.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygen import functional as F
from tinygen.autograd import no_grad
from tinygen.backend import to_device, to_numpy
from tinygen.errors import UsageError
from tinygen.models.features.network import FeatureNetwork
from tinygen.nn import Parameter
from tinygen.optim import LBFGS

CONTENT_LAYER = "relu4_2"
STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
AT_ONCE = 10
"""Iterations of L-BFGS between two reports."""


@dataclass(frozen=True)
class Weights:
    """Weights of the terms of the loss, for activations whose mean is 1 and pixels in [0, 1]."""

    content: float = 5.0
    style: float = 100.0
    variation: float = 1e-3


@dataclass(frozen=True)
class Losses:
    """The terms of the loss, not weighted."""

    content: Any
    style: Any
    variation: Any

    def weighted(self, weights: Weights) -> Any:
        """Their weighted sum."""
        return weights.content * self.content + weights.style * self.style + weights.variation * self.variation


class Transfer:
    """The loss of a picture x, given the content picture and the style picture, each (1, H, W, 3) in [0, 1].

    Each layer's activations are divided by their mean over both pictures: so the weights mean the same in every
    network. (The paper scales the weights of VGG such that every filter has a mean of 1 over many images.)
    """

    def __init__(
        self,
        network: FeatureNetwork,
        content: np.ndarray,
        style: np.ndarray,
        *,
        content_layer: str = CONTENT_LAYER,
        style_layers: Sequence[str] = STYLE_LAYERS,
        device: str = "cpu",
    ):
        self.content_layer, self.style_layers, self.device = content_layer, tuple(style_layers), device
        layers = tuple(dict.fromkeys((*style_layers, content_layer)))
        self.network = network.up_to(layers)
        self.network.requires_grad(False).to(device)
        refuse_small(self.network, content, style)
        with no_grad():
            found = [self.network.activations(to_device(each, device), layers) for each in (content, style)]
        means = {name: np.mean([float(of[name].mean()) for of in found]) for name in layers}
        self.scales = {name: 1 / max(float(mean), 1e-12) for name, mean in means.items()}
        self.content = found[0][content_layer] * self.scales[content_layer]
        self.grams = {name: gram(found[1][name] * self.scales[name]) for name in self.style_layers}

    def losses(self, x) -> Losses:
        """The three terms for a picture x (1, H, W, 3) of the content picture's size.

        Content: the mean squared difference of activations from the content picture's. Style: the sum over layers of
        the mean squared differences of Gram matrices from the style picture's. Variation: the sum of the squared
        differences of neighbouring pixels.
        """
        found = self._activations(x)
        content = F.square(found[self.content_layer] - self.content).mean()
        return Losses(content, self._style(found), total_variation(x))

    def style_distance(self, x: np.ndarray) -> float:
        """The style term for a picture x (1, H, W, 3) in [0, 1] of any size."""
        with no_grad():
            return float(self._style(self._activations(to_device(x, self.device))))

    def _activations(self, x) -> dict[str, Any]:
        """Activations of the layers in use, divided by their means over both pictures."""
        return {name: self.scales[name] * a for name, a in self.network.activations(x, tuple(self.scales)).items()}

    def _style(self, found):
        return sum(F.square(gram(found[name]) - self.grams[name]).mean() for name in self.style_layers)

    def minimise(self, start: np.ndarray, weights: Weights, steps: int) -> Iterator[tuple[int, Losses, np.ndarray]]:
        """Iterate L-BFGS on the pixels from a first picture; yields the iteration, its losses and the picture.

        Pixels are not bound to [0, 1] on the way; the pictures that are yielded are cut to it.
        """
        x = Parameter(to_device(np.array(start, np.float32), self.device))
        optimizer = LBFGS([x], iterations=1)
        for done in range(0, steps, AT_ONCE):
            optimizer.iterations = min(AT_ONCE, steps - done)
            optimizer.step(lambda: self.losses(x).weighted(weights))
            with no_grad():
                yield done + optimizer.iterations, self.losses(x), to_numpy(x.data).clip(0, 1)


def gram(activations):
    """Products of all pairs of channels of activations (1, h, w, C), averaged over places: (C, C) (equation 3).

    The paper's sums over places depend on the size of the picture; these means do not.
    """
    flat = activations.reshape(-1, activations.shape[3])
    return flat.T @ flat * (1 / len(flat))


def total_variation(x):
    """The sum of squared differences of neighbouring pixels of pictures (N, H, W, C), along both axes."""
    return F.square(x[:, 1:] - x[:, :-1]).sum() + F.square(x[:, :, 1:] - x[:, :, :-1]).sum()


def refuse_small(network: FeatureNetwork, *pictures: np.ndarray) -> None:
    """UsageError for a picture that the network's pools would halve to nothing."""
    least = 1 << (len(network.blocks) - 1)
    for picture in pictures:
        height, width = picture.shape[1:3]
        if min(height, width) < least:
            name = list(network.layers)[-1]
            raise UsageError(f"a picture of {width}x{height} pixels is too small for {name}: its sides need {least}")
