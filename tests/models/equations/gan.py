"""The game of Goodfellow et al. (2014), equation 1, and its costs and penalties since."""

from tests.models.equations.game import (
    discriminator_terms,
    generator_cost,
    packs,
    penalty_of,
    perceptron_slopes,
    settled,
)
from tests.models.equations.numerics import output
from tinygen import random


def gan(model, batch):
    settled(model.discriminator)
    config, stream = model.config, random.stream("train")
    real, fake = (
        packs(model, batch.x),
        packs(model, output(model.generator, stream.normal((len(batch), config.latent)))),
    )
    penalty = penalty_of(config, real, fake, lambda points: perceptron_slopes(model.discriminator, points, 0.2))
    noise = stream.normal((len(batch), config.latent))

    def discriminator():
        outputs = (output(model.discriminator, x) for x in (real, fake))
        return discriminator_terms(config, *outputs) | penalty()

    def generator():
        fakes = packs(model, output(model.generator, noise))
        return {"cost": generator_cost(config, *(output(model.discriminator, x) for x in (real, fakes)))}

    return {"discriminator_optimizer": discriminator, "generator_optimizer": generator}


EQUATIONS = {"gan": gan}
WEIGHTS = {"gan": {"penalty_weight": 3.0}}
