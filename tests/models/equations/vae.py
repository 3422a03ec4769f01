"""The bound of Kingma & Welling (2014), equation 10, with the KL term of appendix B; with several samples that of Burda
et al. (2016), equation 8."""

import numpy as np

from tests.models.equations.numerics import (
    cross_entropy,
    log_logistic_mixture,
    log_mean_exp,
    log_normal,
    output,
    weight_of_kl,
)
from tinygen import random


def vae(model, batch):
    config, x, n = model.config, batch.x, len(batch)

    def log_likelihood(z, x):
        parameters = output(model.decoder, z)
        return -cross_entropy(parameters, x) if model.spec.x.kind == "binary" else log_logistic_mixture(parameters, x)

    def posterior():
        mean, log_var = np.split(output(model.encoder, x), 2, axis=1)
        return mean, np.exp(0.5 * log_var)

    if config.samples == 1:
        noise = random.stream("train").normal((n, config.latent))
        weight = weight_of_kl(config, int(model.optimizer.count) + 1)

        def bound():
            mean, std = posterior()
            kl = 0.5 * (mean**2 + std**2 - 1 - 2 * np.log(std)).sum(axis=1).mean()
            reconstruction = -log_likelihood(mean + std * noise, x).mean()
            return {"reconstruction": reconstruction, "kl": weight * kl}

        return {"optimizer": bound}
    padded = -(-config.latent // 4) * 4
    noise = random.stream("train").normal((n * config.samples, padded))[:, : config.latent]
    noise = noise.reshape(n, config.samples, config.latent)

    def importance_weighted():
        mean, std = (each[:, None] for each in posterior())
        z = mean + std * noise
        likelihood = log_likelihood(z.reshape(-1, config.latent), np.repeat(x, config.samples, axis=0))
        likelihood = likelihood.reshape(n, config.samples)
        prior, q = log_normal(z, 0, 1).sum(axis=2), log_normal(z, mean, std).sum(axis=2)
        return {"bound": -log_mean_exp(likelihood + prior - q).mean()}

    return {"optimizer": importance_weighted}


EQUATIONS = {"vae": vae}
WEIGHTS = {"vae": {"beta": 30.0}}
