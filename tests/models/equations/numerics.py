"""What the equations share: functions of probability in NumPy, in float64, and networks as functions of arrays."""

import math

import numpy as np

from tinygen.autograd import no_grad


def output(network, x) -> np.ndarray:
    """What a network in training mode makes of an array, float64."""
    with no_grad():
        return np.asarray(network(np.asarray(x, np.float32)).numpy(), np.float64)


def minus_log_sigmoid(logits):
    """-log of the probability that a logit stands for."""
    return np.log1p(np.exp(-np.abs(logits))) + np.maximum(-logits, 0)


def cross_entropy(logits, x):
    """-log Bernoulli(x), summed over all but the examples: (N,)."""
    nats = x * minus_log_sigmoid(logits) + (1 - x) * minus_log_sigmoid(-logits)
    return nats.reshape(len(x), -1).sum(axis=1)


def log_normal(x, mean, std):
    """log N(x; mean, std^2), elementwise."""
    return -0.5 * ((x - mean) / std) ** 2 - np.log(std) - 0.5 * math.log(2 * math.pi)


def log_mean_exp(x):
    """Over the last axis."""
    top = x.max(axis=-1, keepdims=True)
    return (top + np.log(np.exp(x - top).mean(axis=-1, keepdims=True)))[..., 0]
