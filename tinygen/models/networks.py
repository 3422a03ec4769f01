"""Encoders and decoders that several models share."""

from typing import Any, Literal

import numpy as np

from tinygen.errors import UsageError
from tinygen.functional import relu
from tinygen.nn import Conv2d, ConvTranspose2d, Flatten, Linear, Module, Reshape, Sequential, Upsample2d, init

Architecture = Literal["mlp", "conv"]
FEATURES = 64
"""Most features of a pixel that the last fully connected layer of a decoder computes."""


def encoder(architecture: Architecture, image_shape, hidden: int, outputs: int, layers=1, channels=32) -> Sequential:
    """A network from images (N, H, W, C) to (N, outputs): hidden layers, for "conv" after two convolutions of stride 2.

    The first convolution has `channels` channels, the second twice as many.
    """
    height, width, colours = image_shape
    if architecture == "mlp":
        return Sequential(Flatten(), *_hidden(height * width * colours, hidden, layers), Linear(hidden, outputs))
    rows, columns = _quarter(image_shape)
    return Sequential(
        _he(Conv2d(colours, channels, 4, stride=2, padding=1), 16 * colours),
        relu,
        _he(Conv2d(channels, 2 * channels, 4, stride=2, padding=1), 16 * channels),
        relu,
        Flatten(),
        *_hidden(rows * columns * 2 * channels, hidden, layers),
        Linear(hidden, outputs),
    )


def decoder(architecture: Architecture, image_shape, hidden: int, inputs: int, layers=1, channels=32) -> Sequential:
    """A network from codes (N, inputs) to images (N, H, W, C) of logits or other parameters: the encoder mirrored.

    Where C is above `FEATURES`, fully connected layers compute that many features of each pixel, and a 1x1 convolution
    the C parameters from these. Where C is above 1, as for colours, the last layer convolves repeated pixels: a
    transposed convolution, whose four output pixels of an input pixel have separate weights, leaves a checkerboard
    (Odena et al. 2016, doi:10.23915/distill.00003).
    """
    height, width, colours = image_shape
    if architecture == "mlp":
        features = min(colours, FEATURES)
        last = [Linear(hidden, height * width * features), Reshape(height, width, features)]
        mixed = [] if features == colours else [relu, Conv2d(features, colours, 1)]
        return Sequential(*_hidden(inputs, hidden, layers), *last, *mixed)
    rows, columns = _quarter(image_shape)
    network = Sequential(
        *_hidden(inputs, hidden, layers),
        _he(Linear(hidden, rows * columns * 2 * channels), hidden),
        relu,
        Reshape(rows, columns, 2 * channels),
        _he(ConvTranspose2d(2 * channels, channels, 4, stride=2, padding=1), 4 * 2 * channels),
        relu,
        *(
            [Upsample2d(2), Conv2d(channels, colours, 3, padding=1)]
            if colours > 1
            else [ConvTranspose2d(channels, colours, 4, stride=2, padding=1)]
        ),
    )
    if colours > 1:
        inner, outer = (layer for layer in network.layers if isinstance(layer, ConvTranspose2d | Conv2d))
        _smooth(inner, (1, 3, 3, 1), variance=2 / (2 * channels))  # He et al. 2015, as a ReLU follows
        _smooth(outer, (1, 2, 1), variance=1 / (3 * channels))
    return network


def classifier(inputs: int, hidden: int, layers: int) -> Sequential:
    """A network from vectors (N, inputs) to one logit each (N, 1)."""
    return Sequential(*_hidden(inputs, hidden, layers), Linear(hidden, 1))


def _hidden(inputs: int, hidden: int, layers: int) -> list[Any]:
    """Fully connected layers of one width, each followed by a ReLU."""
    sizes = [inputs] + [hidden] * (layers - 1)
    return [part for size in sizes for part in (_he(Linear(size, hidden), size), relu)]


def _he(layer, fan_in: int) -> Module:
    """Initialise a layer with weights that keep the variance through a ReLU (He et al. 2015); returns it.

    `fan_in` counts the inputs of one output: with stride 2, 4 of the 16 taps of a transposed convolution.
    """
    layer.weight.assign(init.normal(layer.weight.shape, (2 / fan_in) ** 0.5))
    layer.bias.assign(0.0)
    return layer


def _smooth(layer, taps: tuple[int, ...], variance: float) -> None:
    """Initialise an upsampling convolution to bilinear upsampling of random mixtures of channels.

    (1, 3, 3, 1) are the taps of a transposed convolution of stride 2 (as in Long et al. 2015, arXiv:1411.4038),
    (1, 2, 1) those of a convolution of repeated pixels. `variance` is that of the weights that mix channels.
    """
    along = np.array(taps, np.float32) / 4
    mixture = init.normal(layer.weight.shape[2:], variance**0.5)
    layer.weight.assign(along[:, None, None, None] * along[:, None, None] * mixture)
    layer.bias.assign(0.0)


def _quarter(image_shape) -> tuple[int, int]:
    height, width, _ = image_shape
    if height % 4 or width % 4:
        raise UsageError(
            f"the convolutional network needs sides that 4 divides, not {height}x{width}; use --architecture mlp"
        )
    return height // 4, width // 4
