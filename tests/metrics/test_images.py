"""PSNR and SSIM against their definitions, computed in another way."""

import numpy as np
import pytest

from tinygen.errors import UsageError
from tinygen.metrics.images import psnr, ssim
from tinygen.random import Stream


def pair_of_images():
    x = Stream(0, "images").uniform((2, 14, 17, 3)).astype(np.float32)
    noise = Stream(1, "noise").normal(x.shape).astype(np.float32)
    return x, (0.8 * x + 0.1 + 0.1 * noise).clip(0, 1)


def test_psnr_of_errors_of_a_tenth_is_20_db():
    assert psnr(0.01) == pytest.approx(20.0)
    assert psnr(0.0) == 100.0


def test_ssim_is_the_mean_over_windows_of_equation_13():
    x, y = pair_of_images()
    distance = np.hypot(*np.mgrid[-5:6, -5:6])
    window = np.exp(-0.5 * (distance / 1.5) ** 2)[..., None]
    window /= window.sum()
    for image, other, value in zip(x.astype(float), y.astype(float), ssim(x, y), strict=True):
        similarities = []
        for row in range(14 - 10):
            for column in range(17 - 10):
                a, b = (each[row : row + 11, column : column + 11] for each in (image, other))
                mean_a, mean_b = (window * a).sum(axis=(0, 1)), (window * b).sum(axis=(0, 1))
                var_a = (window * (a - mean_a) ** 2).sum(axis=(0, 1))
                var_b = (window * (b - mean_b) ** 2).sum(axis=(0, 1))
                covariance = (window * (a - mean_a) * (b - mean_b)).sum(axis=(0, 1))
                similarities.append(
                    (2 * mean_a * mean_b + 1e-4)
                    / (mean_a**2 + mean_b**2 + 1e-4)
                    * (2 * covariance + 9e-4)
                    / (var_a + var_b + 9e-4)
                )
        assert value == pytest.approx(np.mean(similarities), rel=1e-9)


def test_ssim_is_1_for_equal_images_and_falls_with_noise():
    x, y = pair_of_images()
    assert ssim(x, x) == pytest.approx(np.ones(2))
    assert (ssim(x, y) < 0.99).all()
    assert (ssim(x, 1 - x) < ssim(x, y)).all()


@pytest.mark.parametrize(("shape", "other"), [((1, 10, 20, 1), (1, 10, 20, 1)), ((1, 12, 12, 1), (1, 12, 13, 1))])
def test_images_that_ssim_cannot_compare_are_refused(shape, other):
    with pytest.raises(UsageError, match="11x11"):
        ssim(np.zeros(shape, np.float32), np.zeros(other, np.float32))
