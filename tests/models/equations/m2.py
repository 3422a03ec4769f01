"""Kingma et al. (2014), equations 6, 7 and 9: the costs of labelled and of unlabelled images, and the classifier's."""

import numpy as np

from tests.models.equations.cvae import log_p_given, posterior
from tests.models.equations.numerics import output
from tinygen import random


def m2(model, batch):
    return {"optimizer": objective_of(model, batch, posterior, log_likelihood)}


def log_likelihood(model, z, labels, x):
    """log p(x | y, z) in nats (N,), where the decoder has a one-hot label beside the code."""
    label = np.sqrt(model.config.latent) * np.eye(model.spec.classes)[labels]
    return log_p_given(model, np.concatenate([z, label], axis=1), x)


def objective_of(model, batch, posterior, log_likelihood):
    """Equation 9 for these functions of the model: mean and deviation of q(z | x, y), log p(x | y, z)."""
    config, classes = model.config, model.spec.classes
    stream, padded = random.stream("train"), -(-config.latent // 4) * 4
    sizes = len(batch.x), classes * len(batch.unlabelled_x)
    labelled_noise, noise = (stream.normal((n, padded))[:, : config.latent] for n in sizes)

    def cost(x, labels, noise):
        mean, std = posterior(model, x, labels)
        kl = 0.5 * (mean**2 + std**2 - 1 - 2 * np.log(std)).sum(axis=1)
        return -log_likelihood(model, mean + std * noise, labels, x) + kl + np.log(classes)

    def log_q(x):
        logits = output(model.classifier, x.reshape(len(x), *model.spec.x.shape))
        return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))

    def objective():
        x, others = batch.x, batch.unlabelled_x
        every = [cost(others, np.full(len(others), y), noise[y::classes]) for y in range(classes)]
        log_p = log_q(others)
        q = np.exp(log_p)
        return {
            "labelled": cost(x, batch.y, labelled_noise).mean(),
            "unlabelled": (q * (np.stack(every, axis=1) + log_p)).sum(axis=1).mean(),
            "classifier": -config.alpha * log_q(x)[np.arange(len(x)), batch.y].mean(),
        }

    return objective


EQUATIONS = {"m2": m2}
WEIGHTS = {"m2": {"alpha": 60.0}}
