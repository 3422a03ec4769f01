"""Metrics that compare images with the true ones."""

import math

LEAST_ERROR = 1e-10  # 100 dB


def psnr(squared_error: float) -> float:
    """The peak signal-to-noise ratio in dB, at most 100, from the mean squared error of images in [0, 1]."""
    return -10 * math.log10(max(squared_error, LEAST_ERROR))
