"""Sohn et al. (2015), equation 4 with one code of each image, over the missing pixels; and the plain network's loss."""

import numpy as np

from tests.models.equations.numerics import minus_log_sigmoid, output
from tinygen import random


def structured_cvae(model, batch):
    x, latent = batch.x, model.config.latent
    noise = random.stream("train").normal((len(x), latent))
    observed = np.asarray(model.observed, np.float64)
    guess = output(model.guesser, x * model.observed)
    completed = x * observed + (1 - observed) / (1 + np.exp(-guess))

    def nats(logits):
        each = x * minus_log_sigmoid(logits) + (1 - x) * minus_log_sigmoid(-logits)
        return (each * (1 - observed)).reshape(len(x), -1).sum(axis=1).mean()

    def bound():
        mean, log_var = np.split(output(model.encoder, x), 2, axis=1)
        prior_mean, prior_log_var = np.split(output(model.prior_network, completed), 2, axis=1)
        z = mean + np.exp(0.5 * log_var) * noise
        features = np.maximum(output(model.decoder.features, completed), 0)
        logits = guess + output(model.decoder.network, np.concatenate([z, features], axis=1))
        excess, distance = log_var - prior_log_var, (mean - prior_mean) ** 2 / np.exp(prior_log_var)
        kl = 0.5 * (np.exp(excess) + distance - 1 - excess).sum(axis=1).mean()
        return {"reconstruction": nats(logits), "kl": kl}

    def guesser():
        return {"cross-entropy": nats(output(model.guesser, x * model.observed))}

    return {"optimizer": bound, "guesser_optimizer": guesser}


EQUATIONS = {"structured-cvae": structured_cvae}
