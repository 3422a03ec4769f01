"""The game of Goodfellow et al. (2014), equation 1, and the generator's three costs (2016, section 3.2)."""

import numpy as np

from tests.models.equations.numerics import minus_log_sigmoid, output
from tinygen import random


def gan(model, batch):
    draws = [random.stream("train").normal((len(batch), model.config.latent)) for _ in range(2)]
    fake = output(model.generator, draws[0])

    def discriminator():
        return {
            "real": minus_log_sigmoid(output(model.discriminator, batch.x)).mean(),
            "fake": minus_log_sigmoid(-output(model.discriminator, fake)).mean(),
        }

    def generator():
        p = 1 / (1 + np.exp(-output(model.discriminator, output(model.generator, draws[1]))))
        costs = {"minimax": np.log(1 - p), "non-saturating": -np.log(p), "maximum-likelihood": -p / (1 - p)}
        return {"cost": costs[model.config.cost].mean()}

    return {"discriminator_optimizer": discriminator, "generator_optimizer": generator}


EQUATIONS = {"gan": gan}
