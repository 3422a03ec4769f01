"""The Gaussian diffusion process: what a network can predict, the posterior of a step, and the bound on log p(x_0).

x_k = signal x_0 + noise_level noise, where signal^2 + noise_level^2 = 1. Equations are those of Ho et al. 2020
(arXiv:2006.11239), for any chain: where it leaves out steps, beta_k is 1 - alpha_bar_k / alpha_bar_(k-1). Functions
take arrays or Tensors, and numbers or arrays that broadcast as levels.
"""

import math
from typing import Literal

import numpy as np

from tinygen import functional as F
from tinygen.autograd import array_of
from tinygen.models.diffusion.schedules import Chain

Prediction = Literal["noise", "v", "x0"]
Variance = Literal["small", "large"]


def noised(x0, noise, signal, noise_level):
    """x_k of x_0 and standard normal noise (equation 4)."""
    return signal * x0 + noise_level * noise


# What the network predicts


def target_of(prediction: Prediction, x0, noise, signal, noise_level):
    """What the network is to predict: the noise, x_0, or v = signal noise - noise_level x_0.

    v is that of Salimans & Ho 2022 (arXiv:2202.00512): the derivative of x_k by the angle arctan(noise_level / signal).
    """
    if prediction == "v":
        return signal * noise - noise_level * x0
    return noise if prediction == "noise" else x0


def clean_of(prediction: Prediction, output, x, signal, noise_level):
    """The x_0 that an output of the network means for x_k."""
    if prediction == "noise":
        return (x - noise_level * output) / signal
    return signal * x - noise_level * output if prediction == "v" else output


def noise_of(x, x0, signal, noise_level):
    """The noise in x_k, if it was made of this x_0."""
    return (x - signal * x0) / noise_level


def velocity_of(x, x0, signal, noise_level):
    """v for x_k and the x_0 of which it was made."""
    return signal * noise_of(x, x0, signal, noise_level) - noise_level * x0


# One step back


def posterior(chain: Chain, k: int) -> tuple[float, float, float]:
    """(a, b, variance) of q(x_(k-1) | x_k, x_0) = N(a x_0 + b x_k, variance) (equations 6 and 7)."""
    before, now = float(chain.alpha_bar[k - 1]), float(chain.alpha_bar[k])
    alpha = now / before
    left = 1 - now
    return (
        math.sqrt(before) * (1 - alpha) / left,
        math.sqrt(alpha) * (1 - before) / left,
        ((1 - alpha) * (1 - before) / left),
    )


def variance_of(chain: Chain, k: int, kind: Variance) -> float:
    """The variance of p(x_(k-1) | x_k): that of the posterior, "small", or beta_k, "large" (section 3.2).

    The posterior of the first step has variance 0; both begin with that of the second step instead, as in the authors'
    code, so that p(x_0 | x_1) is a density.
    """
    if k == 1:
        return posterior(chain, 2)[2] if len(chain) > 1 else 1 - float(chain.alpha_bar[1])
    return posterior(chain, k)[2] if kind == "small" else 1 - float(chain.alpha_bar[k] / chain.alpha_bar[k - 1])


# The bound on log p(x_0) (equation 5)


def bound_weights(chain: Chain, kind: Variance) -> tuple[np.ndarray, np.ndarray]:
    """(weights, constants), each (K + 1,), of the KL terms of a bound, for k from 2; zero for 0 and 1.

    KL(q(x_(k-1) | x_k, x_0) || p(x_(k-1) | x_k)) = weights[k] |x_0 - its prediction|^2 + constants[k] D, in nats, for
    x of D numbers (equation 8 with the means of equation 7, and what it leaves out where the variances differ).
    """
    weights, constants = np.zeros(len(chain) + 1), np.zeros(len(chain) + 1)
    for k in range(2, len(chain) + 1):
        factor, _, variance = posterior(chain, k)
        own = variance_of(chain, k, kind)
        weights[k] = factor**2 / (2 * own)
        constants[k] = 0.5 * (math.log(own / variance) + variance / own - 1)
    return weights, constants


def prior_kl(chain: Chain, x0):
    """KL(q(x_K | x_0) || N(0, I)) in nats, elementwise."""
    variance = 1 - float(chain.alpha_bar[-1])
    return 0.5 * (float(chain.alpha_bar[-1]) * x0 * x0 + (variance - 1 - math.log(variance)))


def log_normal(x, mean, variance: float):
    """log N(x; mean, variance), elementwise."""
    return -0.5 * ((x - mean) * (x - mean) * (1 / variance) + math.log(2 * math.pi * variance))


SMALLEST_MASS = 1e-4
"""Below this, differences of distribution functions in float32 are too inexact."""


def log_mass(x0, mean, variance: float, levels: int):
    """log of the mass of N(mean, variance) nearest to x_0, one of `levels` values from -1 to 1, elementwise (eq. 13).

    The outermost values have all that lies beyond them. For a small mass, which rounding would hide, it is a lower
    bound: the density at the end of the interval that is farther from the mean, times the width.
    """
    values, half, scale = array_of(x0), 1 / (levels - 1), math.sqrt(0.5 / variance)
    above = 0.5 * (1 + F.erf((x0 + half - mean) * scale))
    below = 0.5 * (1 + F.erf((x0 - half - mean) * scale))
    mass = F.where(values > 1 - half, 1.0, above) - F.where(values < half - 1, 0.0, below)
    far = F.maximum(x0 + half - mean, mean - (x0 - half))
    density = log_normal(far, 0.0, variance) + math.log(2 * half)
    return F.where(array_of(mass) > SMALLEST_MASS, F.log(F.maximum(mass, SMALLEST_MASS)), density)
