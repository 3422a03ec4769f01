"""Functions that the equations share: log probabilities in NumPy, in float64, and outputs of networks."""

import math

import numpy as np

from tinygen.autograd import no_grad


def output(network, x) -> np.ndarray:
    """Outputs of a network, in its present mode, as a float64 array."""
    with no_grad():
        return np.asarray(network(np.asarray(x, np.float32)).numpy(), np.float64)


def minus_log_sigmoid(logits):
    """-log sigmoid(logits), elementwise."""
    return np.log1p(np.exp(-np.abs(logits))) + np.maximum(-logits, 0)


def cross_entropy(logits, x):
    """-log Bernoulli(x), summed over all but the examples: (N,)."""
    nats = x * minus_log_sigmoid(logits) + (1 - x) * minus_log_sigmoid(-logits)
    return nats.reshape(len(x), -1).sum(axis=1)


EDGE = 254 / 255  # on [-1, 1], half-way between the outermost value and its neighbour


def log_logistic_mixture(parameters, x):
    """log p of 8-bit images x (N, H, W, C) in [0, 1], summed over all but the examples: (N,).

    A mixture of discretised logistic distributions, in which the mean of a channel depends linearly on the channels
    before (Salimans et al. 2017, equations 1 to 3). The parameters (N, H, W, ...) are logits, means, log scales and
    coefficients, each of all components.
    """
    channels = x.shape[-1]
    each = 1 + 2 * channels + channels * (channels - 1) // 2
    logits, *others = np.split(parameters, each, axis=-1)
    means, log_scales, coefficients = others[:channels], others[channels : 2 * channels], others[2 * channels :]
    values = [2 * np.asarray(x[..., c], np.float64)[..., None] - 1 for c in range(channels)]
    log_mass = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    for c, value in enumerate(values):
        before = coefficients[c * (c - 1) // 2 : c * (c - 1) // 2 + c]
        mean = means[c] + sum(np.tanh(a) * earlier for a, earlier in zip(before, values, strict=False))
        scale = np.exp(np.maximum(log_scales[c], -7))
        low, high = ((value + side / 255 - mean) / scale for side in (-1, 1))
        below, above = -np.logaddexp(0, -high), -np.logaddexp(0, low)  # log mass up to `high`, and from `low` on
        between = below + above + np.log(-np.expm1(low - high))  # no difference of numbers near 1
        log_mass = log_mass + np.where(value < -EDGE, below, np.where(value > EDGE, above, between))
    return np.logaddexp.reduce(log_mass, axis=-1).reshape(len(x), -1).sum(axis=1)


def log_normal(x, mean, std):
    """log N(x; mean, std^2), elementwise."""
    return -0.5 * ((x - mean) / std) ** 2 - np.log(std) - 0.5 * math.log(2 * math.pi)


def log_mean_exp(x):
    """log of the mean of exp(x) over the last axis, computed without overflow."""
    top = x.max(axis=-1, keepdims=True)
    return (top + np.log(np.exp(x - top).mean(axis=-1, keepdims=True)))[..., 0]


def weight_of_kl(config, step):
    """The weight of the KL term in a step, counted from 1: a logistic function of `annealing_steps`, from 0
    to beta."""
    if step >= config.annealing_steps:
        return config.beta
    low, now, high = (1 / (1 + math.exp(-6 * x)) for x in (-1, 2 * step / config.annealing_steps - 1, 1))
    return config.beta * (now - low) / (high - low)
