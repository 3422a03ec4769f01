"""Section 3 of Hou et al. (2017): the KL divergence, and the mean squared differences of activations."""

import numpy as np

from tests.models.equations.numerics import output
from tinygen import random
from tinygen.autograd import no_grad


def dfc_vae(model, batch):
    config, x = model.config, np.asarray(batch.x, np.float32)
    noise = random.stream("train").normal((len(x), config.latent))

    def activations(images):
        with no_grad():
            found = model.features.network.activations(images.astype(np.float32), config.feature_layers)
        return [np.asarray(found[name].numpy(), np.float64) for name in config.feature_layers]

    def loss():
        mean, log_var = np.split(output(model.encoder, x), 2, axis=1)
        rebuilt = output(model.decoder, mean + np.exp(0.5 * log_var) * noise)
        kl = 0.5 * (mean**2 + np.exp(log_var) - 1 - log_var).sum(axis=1).mean()
        pairs = zip(activations(x), activations(rebuilt), strict=True)
        differences = [((of_rebuilt - of_x) ** 2).mean() for of_x, of_rebuilt in pairs]
        layers = {
            name: config.feature_weight * each for name, each in zip(config.feature_layers, differences, strict=True)
        }
        return layers | {"kl": config.kl_weight * kl}

    return {"optimizer": loss}


EQUATIONS = {"dfc-vae": dfc_vae}
WEIGHTS = {"dfc-vae": {"kl_weight": 0.05}}
