"""Kingma et al. (2014): M1 is the bound of Kingma & Welling (2014), equation 10; then M2, equation 9, of its codes."""

import numpy as np

from tests.models.equations.cvae import posterior
from tests.models.equations.m2 import objective_of
from tests.models.equations.numerics import log_normal, output
from tests.models.equations.vae import vae
from tinygen import random
from tinygen.data import Batch


def m1_m2(model, batch):
    if int(model.m1.optimizer.count) < model.config.m1_steps:
        terms = vae(model.m1, Batch(x=batch.unlabelled_x))["optimizer"]
        return {"m1.optimizer": lambda: {"bound": sum(terms().values())}}
    stream, latent = random.stream("train"), model.config.m1_latent
    padded = -(-latent // 4) * 4

    def codes(x):
        mean, log_var = np.split(output(model.m1.encoder, x), 2, axis=1)
        return mean + np.exp(0.5 * log_var) * stream.normal((len(x), padded))[:, :latent]

    labelled, unlabelled = codes(batch.x), codes(batch.unlabelled_x)
    active = np.asarray(model.m2.active) > 0

    def log_likelihood(m2, z, labels, x):
        label = np.sqrt(m2.config.latent) * np.eye(m2.spec.classes)[labels]
        inputs = np.concatenate([z, label], axis=1)
        mean, log_var = np.split(output(m2.decoder, inputs)[:, 0, 0], 2, axis=1)
        learned, prior = log_normal(x, mean, np.exp(0.5 * log_var)), log_normal(x, 0, 1)
        return np.where(active, learned, prior).sum(axis=1)

    def q(m2, x, labels):
        return posterior(m2, x[:, None, None], labels)

    codes_and_labels = Batch(x=labelled, y=batch.y, unlabelled_x=unlabelled)
    return {"m2.optimizer": objective_of(model.m2, codes_and_labels, q, log_likelihood)}


EQUATIONS = {"m1-m2": m1_m2}
WEIGHTS = {"m1-m2": {"alpha": 60.0}}
