"""The bound of Kingma & Welling (2014), equation 10, in which q(z | x, y) and p(x | y, z) are given one-hot labels.

With several samples it is that of Burda et al. (2016), equation 8.
"""

import numpy as np

from tests.models.equations.numerics import cross_entropy, log_logistic_mixture, log_mean_exp, log_normal, output
from tinygen import random


def posterior(model, x, labels):
    """Mean and standard deviation (N, latent) of q(z | x, y)."""
    features = np.maximum(output(model.encoder.features, x), 0)
    outputs = output(model.encoder.head, np.concatenate([features, np.eye(model.spec.classes)[labels]], axis=1))
    mean, log_var = np.split(outputs, 2, axis=1)
    return mean, np.exp(0.5 * log_var)


def log_likelihood(model, z, labels, x):
    """log p(x | y, z) in nats (N,), where the first layer of the decoder has weights of its own for each class."""
    (n, latent), classes = z.shape, model.spec.classes
    inputs = np.zeros((n, classes, latent))
    inputs[np.arange(n), labels] = z
    label = np.sqrt(latent) * np.eye(classes)[labels]
    return log_p_given(model, np.sqrt(classes) * np.concatenate([inputs.reshape(n, -1), label], axis=1), x)


def log_p_given(model, inputs, x):
    """log p(x) in nats (N,), for the inputs of the decoder (N, inputs)."""
    logits = output(model.decoder, inputs)
    return -cross_entropy(logits, x) if model.spec.x.kind == "binary" else log_logistic_mixture(logits, x)


def cvae(model, batch):
    config, x, labels, n = model.config, batch.x, batch.y, len(batch)
    if config.samples == 1:
        noise = random.stream("train").normal((n, config.latent))

        def bound():
            mean, std = posterior(model, x, labels)
            kl = 0.5 * (mean**2 + std**2 - 1 - 2 * np.log(std)).sum(axis=1).mean()
            reconstruction = -log_likelihood(model, mean + std * noise, labels, x).mean()
            return {"reconstruction": reconstruction, "kl": config.beta * kl}

        return {"optimizer": bound}
    padded = -(-config.latent // 4) * 4
    noise = random.stream("train").normal((n * config.samples, padded))[:, : config.latent]
    noise = noise.reshape(n, config.samples, config.latent)

    def importance_weighted():
        mean, std = (each[:, None] for each in posterior(model, x, labels))
        z = mean + std * noise
        repeated = [each.repeat(config.samples, axis=0) for each in (labels, x)]
        likelihood = log_likelihood(model, z.reshape(-1, config.latent), *repeated).reshape(n, config.samples)
        prior, q = log_normal(z, 0, 1).sum(axis=2), log_normal(z, mean, std).sum(axis=2)
        return {"bound": -log_mean_exp(likelihood + prior - q).mean()}

    return {"optimizer": importance_weighted}


EQUATIONS = {"cvae": cvae}
WEIGHTS = {"cvae": {"beta": 30.0}}
