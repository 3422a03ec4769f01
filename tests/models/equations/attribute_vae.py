"""The bound of Yan et al. (2016), equation 6, with one pair of codes, and the cross-entropy of gates with masks."""

import numpy as np

from tests.models.equations.numerics import log_normal, minus_log_sigmoid, output
from tinygen import random


def sigmoid(logits):
    return 1 / (1 + np.exp(-logits))


def posterior(network, x, vectors):
    """Mean and standard deviation of a code, of images x with vectors beside their features."""
    features = np.maximum(output(network.features, x), 0)
    mean, log_var = np.split(output(network.head, np.concatenate([features, vectors], axis=1)), 2, axis=1)
    return mean, np.exp(0.5 * log_var)


def attribute_vae(model, batch):
    config, x, y, channels = model.config, batch.x, batch.attributes, batch.x.shape[3]
    noises = [
        random.stream("train").normal((len(x), size)) for size in (config.foreground_latent, config.background_latent)
    ]

    def loss():
        (mean_front, std_front), noise = posterior(model.foreground_encoder, x, y), noises[0]
        z_front = mean_front + std_front * noise
        mean_back, std_back = posterior(model.background_encoder, x, np.concatenate([z_front, y], axis=1))
        z_back = mean_back + std_back * noises[1]
        front = output(model.foreground_decoder, np.concatenate([z_front, y], axis=1))
        gate = sigmoid(front[..., channels:])
        mean = gate * sigmoid(front[..., :channels]) + (1 - gate) * sigmoid(output(model.background_decoder, z_back))
        std = np.asarray(model.pixels.FLOOR + np.exp(model.pixels.log_scale.numpy().astype(np.float64)))
        terms = {"reconstruction": -log_normal(x, mean, std).reshape(len(x), -1).sum(axis=1).mean()}
        for name, mean, std in (("foreground", mean_front, std_front), ("background", mean_back, std_back)):
            terms[f"{name} kl"] = config.beta * 0.5 * (mean**2 + std**2 - 1 - 2 * np.log(std)).sum(axis=1).mean()
        if config.mask_weight:
            logits = front[..., channels]
            nats = batch.mask * minus_log_sigmoid(logits) + (1 - batch.mask) * minus_log_sigmoid(-logits)
            terms["mask"] = config.mask_weight * nats.sum(axis=(1, 2)).mean()
        return terms

    return {"optimizer": loss}


EQUATIONS = {"attribute-vae": attribute_vae}
WEIGHTS = {"attribute-vae": {"beta": 10.0}}
