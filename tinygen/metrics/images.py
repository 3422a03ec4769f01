"""Metrics that compare images with the true ones."""

import math

import numpy as np

from tinygen.errors import UsageError

LEAST_ERROR = 1e-10  # 100 dB


def psnr(squared_error: float) -> float:
    """The peak signal-to-noise ratio in dB, at most 100, from the mean squared error of images in [0, 1]."""
    return -10 * math.log10(max(squared_error, LEAST_ERROR))


WINDOW, SIGMA = 11, 1.5
"""Side and standard deviation, in pixels, of the Gaussian window of `ssim`."""


def ssim(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The structural similarity (N,) of images (N, H, W, C) in [0, 1], at most 1, averaged over pixels and channels.

    As in Wang et al. 2004, equation 13, with the 11x11 Gaussian window and constants of section III.C; pixels whose
    window leaves the image are left out. UsageError if the images are smaller than the window, or of two shapes.
    """
    if x.shape != y.shape or min(x.shape[1:3]) < WINDOW:
        raise UsageError(
            f"SSIM compares images of one shape of at least {WINDOW}x{WINDOW}, not {x.shape} and {y.shape}"
        )
    x, y = x.astype(np.float64), y.astype(np.float64)
    mean_x, mean_y = _blurred(x), _blurred(y)
    var_x, var_y = _blurred(x * x) - mean_x**2, _blurred(y * y) - mean_y**2
    covariance = _blurred(x * y) - mean_x * mean_y
    c1, c2 = 0.01**2, 0.03**2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    return (luminance * (2 * covariance + c2) / (var_x + var_y + c2)).mean(axis=(1, 2, 3))


def _blurred(x: np.ndarray) -> np.ndarray:
    """Means under the Gaussian window, along both axes in turn, where it lies inside the images."""
    places = np.arange(WINDOW) - WINDOW // 2
    window = np.exp(-(places**2) / (2 * SIGMA**2))
    window /= window.sum()
    for axis in (1, 2):
        x = np.lib.stride_tricks.sliding_window_view(x, WINDOW, axis=axis) @ window
    return x
