"""Equations 2 and 3 of Odena et al. (2017), L_S and L_C, with the non-saturating cost for the generator's -L_S."""

import numpy as np

from tests.models.equations.numerics import minus_log_sigmoid, output
from tinygen import random


def acgan(model, batch):
    noise = random.stream("train").normal((len(batch), model.config.latent))
    one_hot = np.eye(model.spec.classes)[batch.y]
    generator_input = np.concatenate([noise, one_hot], axis=1)
    fake, weight = output(model.generator, generator_input), model.config.class_weight

    def source_and_class(x):
        """The logits of "real", and -log P(C = c | x)."""
        outputs = output(model.discriminator, x)
        logits = outputs[:, 1:]
        return outputs[:, 0], np.log(np.exp(logits).sum(axis=1)) - (logits * one_hot).sum(axis=1)

    def discriminator():
        (real, real_class), (made, made_class) = source_and_class(batch.x), source_and_class(fake)
        return {
            "real": minus_log_sigmoid(real).mean(),
            "fake": minus_log_sigmoid(-made).mean(),
            "class of real": weight * real_class.mean(),
            "class of fake": weight * made_class.mean(),
        }

    def generator():
        made, made_class = source_and_class(output(model.generator, generator_input))
        return {"cost": minus_log_sigmoid(made).mean(), "class": weight * made_class.mean()}

    return {"discriminator_optimizer": discriminator, "generator_optimizer": generator}


EQUATIONS = {"acgan": acgan}
WEIGHTS = {"acgan": {"class_weight": 0.7}}
