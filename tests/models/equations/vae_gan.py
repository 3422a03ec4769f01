"""Equations 3, 5 and 7 of Larsen et al. (2016), and which of these losses each network minimises (algorithm 1)."""

import numpy as np

from tests.models.equations.numerics import minus_log_sigmoid, output
from tinygen import random


def vae_gan(model, batch):
    config, x, n = model.config, np.asarray(batch.x, np.float32), len(batch)
    noise, drawn = (random.stream("train").normal((n, config.latent)) for _ in range(2))
    body, head = model.discriminator.layers

    def posterior():
        mean, log_var = np.split(output(model.encoder, x), 2, axis=1)
        return mean, np.exp(0.5 * log_var)

    def code():
        mean, std = posterior()
        return mean + std * noise

    def discriminated(fakes):
        """Features and logits of real images, and, in a batch of their own, of reconstructions and samples."""
        of_real, of_fakes = output(body, x), output(body, fakes)
        logits = [output(head, features)[:, 0] for features in (of_real, of_fakes)]
        return (of_real, of_fakes[:n]), (logits[0], logits[1][:n], logits[1][n:])

    def decoded(z):
        return output(model.decoder, np.concatenate([z, drawn]))

    def error(features):
        return 0.5 * ((features[0] - features[1]) ** 2).sum() / n

    before = code()  # codes of the encoder before its step
    fakes_before = decoded(before)  # fakes from encoder and decoder before their steps

    def encoder():
        mean, std = posterior()
        features, _ = discriminated(decoded(mean + std * noise))
        return {
            "prior": 0.5 * (mean**2 + std**2 - 1 - 2 * np.log(std)).sum(axis=1).mean(),
            "features": error(features),
        }

    def decoder():
        features, (_, rebuilt, samples) = discriminated(decoded(before))
        weight = config.reconstruction_weight
        log_not_d = -minus_log_sigmoid(-rebuilt).mean(), -minus_log_sigmoid(-samples).mean()
        return {
            "features": weight * error(features),
            "reconstructions": (1 - weight) * log_not_d[0],
            "samples": (1 - weight) * log_not_d[1],
        }

    def discriminator():
        _, (real, *fake) = discriminated(fakes_before)
        return {
            "real": minus_log_sigmoid(real).mean(),
            "reconstructions": 0.5 * minus_log_sigmoid(-fake[0]).mean(),
            "samples": 0.5 * minus_log_sigmoid(-fake[1]).mean(),
        }

    return {
        "encoder_optimizer": encoder,
        "decoder_optimizer": decoder,
        "discriminator_optimizer": discriminator,
    }


EQUATIONS = {"vae-gan": vae_gan}
WEIGHTS = {"vae-gan": {"reconstruction_weight": 0.1, "margin": 50.0}}
