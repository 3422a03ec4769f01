"""The costs of Goodfellow et al. (2014) with the non-saturating one for the generator; for labels, the projection of
Miyato & Koyama (2018), equation 3."""

import numpy as np

from tests.models.equations.numerics import minus_log_sigmoid, output
from tinygen import random


def dcgan(model, batch):
    noise = random.stream("train").normal((len(batch), model.config.latent))
    return losses(model, batch, noise, lambda x: output(model.discriminator, x)[:, 0])


def cdcgan(model, batch):
    noise = random.stream("train").normal((len(batch), model.config.latent))
    rows, one_hot = np.arange(len(batch)), np.eye(model.spec.classes)[batch.y]

    def logits(x):
        scores = output(model.discriminator, x)
        return scores[:, 0] + scores[rows, 1 + batch.y]

    return losses(model, batch, np.concatenate([noise, one_hot], axis=1), logits)


def losses(model, batch, generator_input, logits):
    fake = output(model.generator, generator_input)

    def discriminator():
        return {"real": minus_log_sigmoid(logits(batch.x)).mean(), "fake": minus_log_sigmoid(-logits(fake)).mean()}

    def generator():
        return {"cost": minus_log_sigmoid(logits(output(model.generator, generator_input))).mean()}

    return {"discriminator_optimizer": discriminator, "generator_optimizer": generator}


EQUATIONS = {"dcgan": dcgan, "cdcgan": cdcgan}
