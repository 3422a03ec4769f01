"""Kingma et al. (2016): the bound with log q(z | x) of algorithm 1, in the inverse form, and the free bits of C.8.

With several samples it is the bound of Burda et al. (2016), equation 8.
"""

import numpy as np

from tests.models.equations.numerics import cross_entropy, log_logistic_mixture, log_mean_exp, log_normal, output
from tinygen import random
from tinygen.autograd import no_grad


def iaf_vae(model, batch):
    config, x, n = model.config, batch.x, len(batch)
    latent, samples = config.latent, config.samples
    padded = latent if samples == 1 else -(-latent // 4) * 4
    noise = random.stream("train").normal((n * samples, padded))[:, :latent]

    def flow():
        """z and log q(z | x) of each dimension, (n * samples, latent)."""
        encoded = output(model.encoder, x).repeat(samples, axis=0)
        mean, log_var, context = np.split(encoded, [latent, 2 * latent], axis=1)
        std = np.exp(0.5 * log_var)
        z = mean + std * noise
        log_q = log_normal(z, mean, std)
        for step in model.flow.steps:
            with no_grad():
                outputs = step(z.astype(np.float32), context=context.astype(np.float32)).numpy().astype(np.float64)
            m, s = 0.1 * outputs[:, :, 0], 0.1 * outputs[:, :, 1]
            z, log_q = (z - m) / np.exp(s), log_q + s
        return z, log_q

    def log_likelihood(z):
        logits, images = output(model.decoder, z), x.repeat(samples, axis=0)
        binary = model.spec.x.kind == "binary"
        return -cross_entropy(logits, images) if binary else log_logistic_mixture(logits, images)

    def bound():
        z, log_q = flow()
        kl = (log_q - log_normal(z, 0, 1)).mean(axis=0)
        if config.free_bits:
            kl = np.maximum(kl, config.free_bits)
        return {"reconstruction": -log_likelihood(z).mean(), "kl": config.beta * kl.sum()}

    def importance_weighted():
        z, log_q = flow()
        weights = log_likelihood(z) + (log_normal(z, 0, 1) - log_q).sum(axis=1)
        return {"bound": -log_mean_exp(weights.reshape(n, samples)).mean()}

    return {"optimizer": bound if samples == 1 else importance_weighted}


EQUATIONS = {"iaf-vae": iaf_vae}
WEIGHTS = {"iaf-vae": {"beta": 30.0}}
