"""The bound of Sohl-Dickstein et al. (2015): KL divergences of steps, by the probabilities of table C.1 there."""

import math

import numpy as np

from tests.models.equations.ddpm import as_seen
from tests.models.equations.numerics import minus_log_sigmoid
from tinygen import random
from tinygen.autograd import no_grad


def networks_output(model, x, t):
    times = (np.asarray(t) / model.config.timesteps).astype(np.float32)
    with no_grad():
        return np.asarray(model.network.network(x.astype(np.float32), times).numpy(), np.float64)


def diffusion(model, batch):
    T, n, stream = model.config.timesteps, len(batch), random.stream("train")
    t = 2 + stream.integers(T - 1, n)
    noise = (stream.uniform if model.levels else stream.normal)(batch.x.shape).astype(np.float64)
    terms_of = binary if model.levels else gaussian
    return {"optimizer": terms_of(model, batch.x.astype(np.float64), t, noise, T)}


def gaussian(model, x, t, noise, T):
    x0, size = as_seen(model, x), x[0].size

    def terms():
        logits = np.asarray(model.network.logits.data, np.float64)
        betas = np.concatenate([[model.config.first_beta], 1 / (1 + np.exp(-logits))])
        signal = np.concatenate([[1.0], np.cumprod(1 - betas)])
        parts = zip(t, x0, noise, strict=True)
        xs = np.stack([math.sqrt(signal[k]) * a + math.sqrt(1 - signal[k]) * e for k, a, e in parts])
        shift, scale = np.split(networks_output(model, xs, t), 2, axis=-1)
        kl = 0.0
        for i, k in enumerate(t):
            beta, left, before = betas[k - 1], 1 - signal[k], 1 - signal[k - 1]
            variance = beta * before / left
            centre = (math.sqrt(signal[k - 1]) * beta * x0[i] + math.sqrt(1 - beta) * before * xs[i]) / left
            mean = math.sqrt(1 - beta) * xs[i] + math.sqrt(beta) * shift[i]
            own = 1 / (1 + np.exp(-(scale[i] / math.sqrt(T) + math.log(beta / (1 - beta)))))
            kl += (0.5 * (np.log(own / variance) + (variance + (centre - mean) ** 2) / own - 1)).sum() / n_of(t)
        squares = (x0**2).reshape(len(x0), -1).sum(axis=1).mean()
        first = betas[0]
        start = 0.5 * (size * math.log(2 * math.pi * first) + first * squares + size * (1 - first))
        end = 0.5 * (signal[T] * squares + size * (1 - signal[T]) - size - size * math.log(1 - signal[T]))
        return {"start": start, "steps": (T - 1) * kl, "end": end}

    return terms


def n_of(t):
    return len(t)


def binary(model, x0, t, noise, T):
    kept = np.array([1.0] + [1 - 1 / (T - k + 1) for k in range(1, T + 1)])
    all_kept = np.cumprod(kept)

    def at(table, steps):
        return table[steps].reshape(len(t), *[1] * (x0.ndim - 1))

    def chance(of, keep):
        """The probability of 1 after a pixel is kept with this probability, and otherwise drawn anew."""
        return keep * of + 0.5 * (1 - keep)

    xs = (noise < chance(x0, at(all_kept, t))).astype(np.float64)
    now = at(kept, t)
    joint = [
        np.where(white, chance(x0, at(all_kept, t - 1)), 1 - chance(x0, at(all_kept, t - 1)))
        * np.where(xs > 0, chance(white, now), 1 - chance(white, now))
        for white in (0.0, 1.0)
    ]
    q = joint[1] / (joint[0] + joint[1])

    def terms():
        likely = np.log(chance(1.0, now) / (1 - chance(1.0, now)))
        logits = networks_output(model, 2 * xs - 1, t) + np.where(xs > 0, likely, -likely)
        kl = q * (np.log(np.maximum(q, 1e-300)) + minus_log_sigmoid(logits))
        kl += (1 - q) * (np.log(np.maximum(1 - q, 1e-300)) + minus_log_sigmoid(-logits))
        flip = 0.5 / T
        entropy = -flip * math.log(flip) - (1 - flip) * math.log(1 - flip)
        return {"start": entropy * x0[0].size, "steps": (T - 1) * kl.sum() / len(t)}

    return terms


EQUATIONS = {"diffusion": diffusion}
WEIGHTS = {"diffusion": {"first_beta": 0.2, "timesteps": 3}}
