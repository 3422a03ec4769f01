"""Encoders and decoders that several models share."""

from typing import Literal

from tinygen.errors import UsageError
from tinygen.functional import relu
from tinygen.nn import Conv2d, ConvTranspose2d, Flatten, Linear, Reshape, Sequential

Architecture = Literal["mlp", "conv"]


def encoder(architecture: Architecture, image_shape, hidden: int, outputs: int) -> Sequential:
    """Images (N, H, W, C) to (N, outputs): one hidden layer, or two convolutions of stride 2 and a hidden layer."""
    height, width, channels = image_shape
    if architecture == "mlp":
        return Sequential(Flatten(), Linear(height * width * channels, hidden), relu, Linear(hidden, outputs))
    rows, columns = _quarter(image_shape)
    return Sequential(
        Conv2d(channels, 32, 4, stride=2, padding=1),
        relu,
        Conv2d(32, 64, 4, stride=2, padding=1),
        relu,
        Flatten(),
        Linear(rows * columns * 64, hidden),
        relu,
        Linear(hidden, outputs),
    )


def decoder(architecture: Architecture, image_shape, hidden: int, inputs: int) -> Sequential:
    """Codes (N, inputs) to logits of images (N, H, W, C): the encoder the other way round."""
    height, width, channels = image_shape
    if architecture == "mlp":
        return Sequential(
            Linear(inputs, hidden), relu, Linear(hidden, height * width * channels), Reshape(*image_shape)
        )
    rows, columns = _quarter(image_shape)
    return Sequential(
        Linear(inputs, hidden),
        relu,
        Linear(hidden, rows * columns * 64),
        relu,
        Reshape(rows, columns, 64),
        ConvTranspose2d(64, 32, 4, stride=2, padding=1),
        relu,
        ConvTranspose2d(32, channels, 4, stride=2, padding=1),
    )


def _quarter(image_shape) -> tuple[int, int]:
    height, width, _ = image_shape
    if height % 4 or width % 4:
        raise UsageError(
            f"the convolutional network needs sides that 4 divides, not {height}x{width}; use --architecture mlp"
        )
    return height // 4, width // 4
