"""The value of Donahue et al. (2017), equation 2, for the discriminator, and the same with swapped labels for generator
and encoder; the encoder of Dumoulin et al. (2017) draws a code."""

import numpy as np

from tests.models.equations.numerics import minus_log_sigmoid, output
from tinygen import random


def bigan(model, batch):
    n, latent = len(batch), model.config.latent
    z = random.stream("train").normal((n, latent))
    noise = random.stream("train").normal((n, latent)) if model.config.stochastic else None

    def code():
        encoded = output(model.encoder, batch.x)
        return encoded if noise is None else encoded[:, :latent] + np.exp(0.5 * encoded[:, latent:]) * noise

    def logits(x, codes):
        return output(model.discriminator.network, np.concatenate([x.reshape(n, -1), codes], axis=1))[:, 0]

    codes, fake = code(), output(model.generator, z)

    def discriminator():
        real, made = logits(batch.x, codes), logits(fake, z)
        return {"real": minus_log_sigmoid(real).mean(), "fake": minus_log_sigmoid(-made).mean()}

    def generator_and_encoder():
        made, real = logits(output(model.generator, z), z), logits(batch.x, code())
        return {"generator": minus_log_sigmoid(made).mean(), "encoder": minus_log_sigmoid(-real).mean()}

    return {"discriminator_optimizer": discriminator, "generator_optimizer": generator_and_encoder}


EQUATIONS = {"bigan": bigan}
