"""Luma and chroma of colours in [0, 1], as in JPEG files (ITU-R BT.601; ITU-T T.871, section 7)."""

from typing import Any

import numpy as np

from tinygen.backend import array_module

RED, GREEN, BLUE = 0.299, 0.587, 0.114
"""The weights of luma, whose sum is 1."""


def luma(x: Any) -> Any:
    """Y (N, H, W, 1) of images (N, H, W, 3); images of one channel are returned as they are."""
    return x if x.shape[-1] == 1 else RED * x[..., :1] + GREEN * x[..., 1:2] + BLUE * x[..., 2:]


def chroma(x: Any) -> Any:
    """Cb and Cr (N, H, W, 2), in [-0.5, 0.5], of images (N, H, W, 3)."""
    y = luma(x)
    return array_module(x).concatenate([(x[..., 2:] - y) / (2 - 2 * BLUE), (x[..., :1] - y) / (2 - 2 * RED)], axis=-1)


def colours(y: np.ndarray, cb_cr: np.ndarray) -> np.ndarray:
    """Images (N, H, W, 3) in [0, 1] of luma (N, H, W, 1) and chroma.

    The chroma of a colour outside [0, 1] is scaled down until the colour lies at the edge; its luma stays the same.
    """
    blue, red = (2 - 2 * BLUE) * cb_cr[..., 0], (2 - 2 * RED) * cb_cr[..., 1]
    difference = np.stack([red, -(RED * red + BLUE * blue) / GREEN, blue], axis=-1)
    most = np.where(difference > 0, 1 - y, y)
    with np.errstate(divide="ignore", invalid="ignore"):
        scales = np.where(np.abs(difference) > most, most / np.abs(difference), 1)
    return (y + scales.min(axis=-1, keepdims=True) * difference).clip(0, 1).astype(y.dtype)
