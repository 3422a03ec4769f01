"""Equations 1 and 5 of Chen et al. (2016), with the non-saturating cost; a Q with variance 1 for continuous codes."""

import numpy as np

from tests.models.equations.numerics import minus_log_sigmoid, output
from tinygen import random


def infogan(model, batch):
    config, stream, n = model.config, random.stream("train"), len(batch)
    noise = stream.normal((n, config.latent))
    categories = stream.integers(config.categories, (n, config.categorical))
    continuous = 2 * stream.uniform((n, config.continuous)) - 1
    one_hot = np.eye(config.categories)[categories].reshape(n, -1)
    generator_input = np.concatenate([noise, one_hot, continuous], axis=1)
    fake = output(model.generator, generator_input)

    def information(of_fake):
        """-lambda E[log Q(c | x)], up to a constant."""
        logits, means = np.split(of_fake[:, 1:], [one_hot.shape[1]], axis=1)
        nats = 0.0
        for code, part in enumerate(np.split(logits, config.categorical, axis=1)):
            nats += (np.log(np.exp(part).sum(axis=1)) - part[np.arange(n), categories[:, code]]).mean()
        squares = 0.5 * ((means - continuous) ** 2).sum() / n
        return {"categories": config.information_weight * nats, "continuous": config.information_weight * squares}

    def discriminator():
        of_real, of_fake = output(model.discriminator, batch.x), output(model.discriminator, fake)
        sources = {
            "real": minus_log_sigmoid(of_real[:, 0]).mean(),
            "fake": minus_log_sigmoid(-of_fake[:, 0]).mean(),
        }
        return sources | information(of_fake)

    def generator():
        of_fake = output(model.discriminator, output(model.generator, generator_input))
        return {"cost": minus_log_sigmoid(of_fake[:, 0]).mean()} | information(of_fake)

    return {"discriminator_optimizer": discriminator, "generator_optimizer": generator}


EQUATIONS = {"infogan": infogan}
WEIGHTS = {"infogan": {"information_weight": 0.7}}
