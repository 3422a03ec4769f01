"""The game of Goodfellow et al. (2014) and its costs since; for labels, the projection of Miyato & Koyama (2018),
equation 3."""

import numpy as np

from tests.models.equations.game import discriminator_terms, generator_cost, packs, penalty_of, settled, slopes
from tests.models.equations.numerics import output
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
    settled(model.discriminator)
    config, real = model.config, packs(model, batch.x)

    def fakes():
        return packs(model, output(model.generator, generator_input))

    fake = fakes()
    penalty = penalty_of(config, real, fake, lambda x: slopes(lambda points: model.discriminator(points)[:, 0], x))

    def discriminator():
        return discriminator_terms(config, logits(real), logits(fake)) | penalty()

    def generator():
        return {"cost": generator_cost(config, logits(real), logits(fakes()))}

    return {"discriminator_optimizer": discriminator, "generator_optimizer": generator}


EQUATIONS = {"dcgan": dcgan, "cdcgan": cdcgan}
WEIGHTS = {"dcgan": {"penalty_weight": 3.0}}
