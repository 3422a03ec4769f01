"""The losses of Ho et al. (2020): equation 14, the bound of equations 5, 8 and 13; and of Hang et al. (2023)."""

import math

import numpy as np

from tests.models.equations.numerics import log_normal
from tinygen import random
from tinygen.autograd import no_grad


def schedule(config):
    """beta_1, ..., beta_T."""
    steps = config.timesteps
    if config.schedule == "linear":
        end = min(0.999, 20 / steps) if config.beta_end is None else config.beta_end
        start = 0.1 / steps if config.beta_start is None else config.beta_start
        return np.array([start + (end - start) * i / (steps - 1) for i in range(steps)])
    f = [math.cos((t / steps + 0.008) / 1.008 * math.pi / 2) ** 2 for t in range(steps + 1)]
    return np.array([min(1 - f[t] / f[t - 1], 0.999) for t in range(1, steps + 1)])


def as_seen(model, x):
    """Images in [-1, 1], points as they are measured in `prepare`."""
    if model.of_points:
        return (x - np.asarray(model.centre, np.float64)) / float(model.deviation)
    return 2 * x.astype(np.float64) - 1


def outputs(model, x, times, labels):
    with no_grad():
        return np.asarray(model.network(x.astype(np.float32), times.astype(np.float32), labels).numpy(), np.float64)


def hidden_labels(model, batch):
    """The labels of which a share is replaced by the number of classes."""
    if model.config.condition == "none":
        return None
    kept = random.stream("train").uniform(len(batch)) >= model.config.drop_labels
    return np.where(kept, batch.y, model.spec.classes)


def log_mass(x, mean, std, values):
    """log of the mass of N(mean, std^2) in the interval around x, one of `values` numbers from -1 to 1."""
    cdf = np.vectorize(lambda z: 0.5 * math.erfc(-z / math.sqrt(2)))
    half = 1 / (values - 1)
    above = np.where(x > 1 - half, 1.0, cdf((x + half - mean) / std))
    below = np.where(x < half - 1, 0.0, cdf((x - half - mean) / std))
    far = np.maximum(x + half - mean, mean - x + half) / std
    bound = -0.5 * far**2 - math.log(std) - 0.5 * math.log(2 * math.pi) + math.log(2 * half)
    return np.where(above - below > 1e-4, np.log(np.maximum(above - below, 1e-300)), bound)


def ddpm(model, batch):
    config, n = model.config, len(batch)
    betas = schedule(config)
    alpha_bar = np.concatenate([[1.0], np.cumprod(1 - betas)])
    stream = random.stream("train")
    t = 1 + stream.integers(config.timesteps, n)
    noise = stream.normal(batch.x.shape).astype(np.float64)
    labels, x0 = hidden_labels(model, batch), as_seen(model, batch.x)
    shape = (n, *[1] * (x0.ndim - 1))
    a = np.sqrt(alpha_bar[t]).reshape(shape)
    s = np.sqrt(1 - alpha_bar[t]).reshape(shape)
    x = a * x0 + s * noise
    target = {"noise": noise, "v": a * noise - s * x0, "x0": x0}[config.prediction]
    size = x0[0].size

    def clean(y):
        return {"noise": (x - s * y) / a, "v": a * x - s * y, "x0": y}[config.prediction]

    def summed(terms):
        return terms.reshape(n, -1).sum(axis=1)

    def step_term(k, i, predicted):
        """KL(q(x_(k-1) | x_k, x_0) || p(x_(k-1) | x_k)) of example i, by equation 7; for k = 1 -log p(x_0 | x_1)."""
        beta, before, now = betas[k - 1], alpha_bar[k - 1], alpha_bar[k]
        small = beta * (1 - before) / (1 - now)
        if k == 1:
            std = math.sqrt(betas[1] * (1 - alpha_bar[1]) / (1 - alpha_bar[2]))
            if model.levels:
                return -log_mass(x0[i], predicted, std, model.levels).sum()
            return -log_normal(x0[i], predicted, std).sum()
        means = [
            math.sqrt(before) * beta / (1 - now) * clean_x + math.sqrt(1 - beta) * (1 - before) / (1 - now) * x[i]
            for clean_x in (x0[i], predicted)
        ]
        own = small if config.variance == "small" else beta
        distance = ((means[0] - means[1]) ** 2).sum()
        return 0.5 * size * (math.log(own / small) + small / own - 1) + distance / (2 * own)

    def terms():
        y = outputs(model, x, t / config.timesteps, labels)
        error = summed((y - target) ** 2) / size
        if config.loss == "simple":
            return {"error": error.mean()}
        if config.loss == "min-snr":
            ratio = alpha_bar[t] / (1 - alpha_bar[t])
            of_x0 = summed((clean(y) - x0) ** 2) / size
            return {"error": (np.minimum(ratio, 5.0) * of_x0).mean()}
        steps = [config.timesteps * step_term(k, i, clean(y)[i]) for i, k in enumerate(t)]
        if config.variance == "large":  # constants have no gradient and are left out of the loss
            raise AssertionError("the tiny configuration of this loss has small variances")
        return {"bound": np.mean(steps)}

    return {"optimizer": terms}


EQUATIONS = {"ddpm": ddpm}
