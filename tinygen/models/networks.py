"""Encoders, decoders and U-Nets that several models share."""

import itertools
from typing import Any, Literal

import numpy as np

from tinygen.errors import UsageError
from tinygen.functional import concatenate, relu, upsample_nearest2d
from tinygen.nn import Conv2d, ConvTranspose2d, Flatten, Linear, Module, Reshape, Sequential, Upsample2d, init

Architecture = Literal["mlp", "conv", "broadcast"]
FEATURES = 64
"""Most features of a pixel that the last fully connected layer of a decoder computes."""


def encoder(architecture: Architecture, image_shape, hidden: int, outputs: int, layers=1, channels=32) -> Sequential:
    """A network from images (N, H, W, C) to (N, outputs): hidden layers, but for "mlp" after convolutions of stride 2.

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


def decoder(architecture: Architecture, image_shape, hidden: int, inputs: int, layers=1, channels=32) -> Module:
    """A network from codes (N, inputs) to images (N, H, W, C) of logits or other parameters: the encoder mirrored.

    For "broadcast" it is a `BroadcastDecoder` with 2 * `channels` features.

    Where C is above `FEATURES`, fully connected layers compute that many features of each pixel, and a 1x1 convolution
    the C parameters from these. Where C is above 1, as for colours, the last layer convolves repeated pixels: a
    transposed convolution, whose four output pixels of an input pixel have separate weights, leaves a checkerboard
    (Odena et al. 2016, doi:10.23915/distill.00003).
    """
    height, width, colours = image_shape
    if architecture == "broadcast":
        return BroadcastDecoder(image_shape, inputs, 2 * channels)
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


class BroadcastDecoder(Module):
    """A network from codes (N, inputs) to images (N, H, W, C), which computes each pixel from the code and its place.

    The same three hidden layers of `features` units serve all pixels. A shift of what an image shows is then a simple
    function of a code, so that single dimensions learn rows and columns (Watters et al. 2019, arXiv:1901.07017; their
    layers also see neighbours).
    """

    def __init__(self, image_shape, inputs: int, features: int):
        self.image_shape = height, width, colours = image_shape
        rows, columns = (np.linspace(-1, 1, side, dtype=np.float32) for side in (height, width))
        self.places = np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=-1).reshape(height * width, 2)
        self.of_code = _he(Linear(inputs, features), inputs + 2)
        self.of_place = _he(Linear(2, features), 2)
        inner = [part for _ in range(2) for part in (_he(Linear(features, features), features), relu)]
        self.rest = Sequential(relu, *inner, Linear(features, colours))

    def forward(self, codes):
        sums = self.of_code(codes).reshape(len(codes), 1, -1) + self.of_place(self.places)
        return self.rest(sums).reshape(-1, *self.image_shape)


class UNet(Module):
    """A network from images (N, H, W, inputs) of any size to (N, H, W, outputs) (Ronneberger et al. 2015, figure 1).

    `halvings` times the sides are halved, rounded up, and the channels doubled. Then features are enlarged as often,
    each time joined with the earlier ones of the same size. Unlike in the paper, convolutions keep the size of images,
    and convolutions of stride 2 replace pooling. The last layer starts at zero.
    """

    def __init__(self, inputs: int, outputs: int, channels: int, halvings: int):
        widths = [channels * 2**halving for halving in range(halvings + 1)]
        pairs = list(itertools.pairwise(widths))
        self.first = Sequential(*_convolved(inputs, channels), *_convolved(channels, channels))
        self.down = [Sequential(*_convolved(a, b, stride=2), *_convolved(b, b)) for a, b in pairs]
        self.narrow = [Conv2d(b, a, 1) for a, b in pairs]
        self.up = [Sequential(*_convolved(2 * a, a), *_convolved(a, a)) for a, _ in pairs]
        self.last = Conv2d(channels, outputs, 1)
        for parameter in self.last.parameters():
            parameter.assign(0.0)

    def forward(self, x):
        features = [self.first(x)]
        for down in self.down:
            features.append(down(features[-1]))
        x = features.pop()
        for halve_channels, up in zip(reversed(self.narrow), reversed(self.up), strict=True):
            earlier = features.pop()
            _, height, width, _ = earlier.shape
            enlarged = upsample_nearest2d(halve_channels(x), (2, 2))[:, :height, :width]
            x = up(concatenate([earlier, enlarged], axis=3))
        return self.last(x)


def _convolved(inputs: int, outputs: int, stride: int = 1) -> list[Any]:
    """A 3x3 convolution that keeps the size of images (stride 1) or halves it (stride 2), and a ReLU."""
    return [_he(Conv2d(inputs, outputs, 3, stride=stride, padding=1), 9 * inputs), relu]


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
            f"the convolutional network needs sides divisible by 4, not {height}x{width}; use --architecture mlp"
        )
    return height // 4, width // 4
