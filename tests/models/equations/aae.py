"""The two phases of section 2: the squared error and the encoder's cost, and the discriminator's."""

import numpy as np

from tests.models.equations.numerics import minus_log_sigmoid, output
from tinygen import random


def aae(model, batch):
    config, x, n = model.config, batch.x, len(batch)
    mask = random.stream("train").uniform(x.shape) >= config.dropout if config.dropout else np.ones(x.shape)
    dropped = x * mask / (1 - config.dropout)
    noise = random.stream("train").normal((n, -(-config.latent // 4) * 4))[:, : config.latent].astype("float64")
    prior_samples = noise if config.prior == "normal" else on_a_ring(noise, model.components)
    codes = output(model.encoder, dropped)  # of the encoder before its update

    def encoder():
        now = output(model.encoder, dropped)
        rebuilt = 1 / (1 + np.exp(-output(model.decoder, now)))
        fooled = minus_log_sigmoid(output(model.discriminator, now)).mean()
        return {"error": ((rebuilt - x) ** 2).sum() / n, "adversarial": config.regularisation * fooled}

    def discriminator():
        return {
            "prior": minus_log_sigmoid(output(model.discriminator, prior_samples)).mean(),
            "codes": minus_log_sigmoid(-output(model.discriminator, codes)).mean(),
        }

    return {"optimizer": encoder, "discriminator_optimizer": discriminator}


def on_a_ring(noise, components):
    """(1.4 + 0.5 a, 0.1 b) for the noise (a, b) of example i, rotated by the angle of component i % components."""
    angle = 2 * np.pi * np.arange(len(noise)) / components
    points = (1.4 + 0.5 * noise[:, 0] + 0.1j * noise[:, 1]) * np.exp(1j * angle)
    return np.stack([points.real, points.imag], axis=1)


EQUATIONS = {"aae": aae}
WEIGHTS = {"aae": {"regularisation": 4.0}}
