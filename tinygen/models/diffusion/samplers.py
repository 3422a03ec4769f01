"""Ways back from noise to examples, each a generator of x_k for k = K - 1, ..., 0.

They work on arrays of any dtype, for any chain. `denoise(x, k)` predicts x_0 from x_k; `noise()` draws standard normal
noise of the shape of x.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import Any

from tinygen.models.diffusion.process import Variance, noise_of, posterior, variance_of
from tinygen.models.diffusion.schedules import Chain

Denoise = Callable[[Any, int], Any]
Noise = Callable[[], Any]


def ancestral(chain: Chain, denoise: Denoise, x, noise: Noise, *, variance: Variance = "small") -> Iterator:
    """Draw x_(k-1) from p(x_(k-1) | x_k) (Ho et al. 2020, algorithm 2)."""
    for k in range(len(chain), 0, -1):
        x0 = denoise(x, k)
        x = ancestral_step(chain, k, x, x0, noise, variance)
        yield x


def ancestral_step(chain: Chain, k: int, x, x0, noise: Noise, variance: Variance):
    """x_(k-1), from x_k and the predicted x_0; x_0 is the mean, without noise."""
    of_x0, of_x, _ = posterior(chain, k)
    mean = of_x0 * x0 + of_x * x
    return mean if k == 1 else mean + math.sqrt(variance_of(chain, k, variance)) * noise()


def ddim(chain: Chain, denoise: Denoise, x, noise: Noise, *, eta: float = 0.0) -> Iterator:
    """Denoising diffusion implicit models (Song et al. 2021, arXiv:2010.02502, equations 12 and 16).

    With `eta` 0 nothing is random; with 1 it is `ancestral` of the small variance.
    """
    for k in range(len(chain), 0, -1):
        x0 = denoise(x, k)
        predicted = noise_of(x, x0, chain.signal(k), chain.noise(k))
        variance = eta**2 * posterior(chain, k)[2]
        left = max(0.0, 1 - float(chain.alpha_bar[k - 1]) - variance)
        x = chain.signal(k - 1) * x0 + math.sqrt(left) * predicted
        if variance:
            x = x + math.sqrt(variance) * noise()
        yield x


def dpm_solver(chain: Chain, denoise: Denoise, x) -> Iterator:
    """DPM-Solver++ of second order in several steps (Lu et al. 2022, arXiv:2211.01095, algorithm 2).

    A step extrapolates x_0 from the last two predictions, by the logarithm of signal over noise; nothing is random. The
    first and the last step are of first order: the first has no other prediction before it, the last no noise after it.
    """
    earlier, width = None, 0.0
    for k in range(len(chain), 0, -1):
        x0 = denoise(x, k)
        if k == 1:
            yield x0
            return
        step = _log_ratio(chain, k - 1) - _log_ratio(chain, k)
        ahead = x0 if earlier is None else x0 + step / (2 * width) * (x0 - earlier)
        x = chain.noise(k - 1) / chain.noise(k) * x - chain.signal(k - 1) * math.expm1(-step) * ahead
        earlier, width = x0, step
        yield x


def _log_ratio(chain: Chain, k: int) -> float:
    return math.log(chain.signal(k) / chain.noise(k))


def fill(
    chain: Chain, denoise: Denoise, x, noise: Noise, *, image, known, repeats: int, variance: Variance = "small"
) -> Iterator:
    """Draw the pixels of an image that are not known, by RePaint (Lugmayr et al. 2022, arXiv:2201.09865, algorithm 1).

    In each step the known pixels (an array of 0 and 1) are those of the image with noise. Each step but the last is
    done `repeats` times, with noise added in between, so that known and drawn pixels come to fit each other.
    """
    for k in range(len(chain), 0, -1):
        for repeat in range(repeats if k > 1 else 1):
            if repeat:
                alpha = float(chain.alpha_bar[k] / chain.alpha_bar[k - 1])
                x = math.sqrt(alpha) * x + math.sqrt(1 - alpha) * noise()
            x0 = denoise(x, k)
            x = ancestral_step(chain, k, x, x0, noise, variance)
            given = chain.signal(k - 1) * image + (chain.noise(k - 1) * noise() if k > 1 else 0.0)
            x = known * given + (1 - known) * x
        yield x


# Ordinary differential equations dx / dt = velocity(x, t)

Velocity = Callable[[Any, Any], Any]


def euler(velocity: Velocity, x, times: Iterable) -> Iterator:
    """x at each of the times but the first, by steps of first order."""
    for now, then in pairwise(times):
        x = x + (then - now) * velocity(x, now)
        yield x


def heun(velocity: Velocity, x, times: Iterable) -> Iterator:
    """x at each of the times but the first, by steps of second order with two velocities each (Heun's method)."""
    for now, then in pairwise(times):
        first = velocity(x, now)
        second = velocity(x + (then - now) * first, then)
        x = x + 0.5 * (then - now) * (first + second)
        yield x
