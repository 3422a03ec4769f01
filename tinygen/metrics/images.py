"""Metrics of images beside true ones."""

import math

SMALLEST = 1e-10  # 100 dB


def psnr(squared_error: float) -> float:
    """Peak signal-to-noise ratio in dB of images in [0, 1] of a mean squared error; at most 100."""
    return -10 * math.log10(max(squared_error, SMALLEST))
