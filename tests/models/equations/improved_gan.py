"""Salimans et al. (2016), section 5 and equations of sections 3.1 and 3.4, with the constants of the authors' code."""

import numpy as np

from tests.models.equations.numerics import minus_log_sigmoid, output
from tinygen import functional, random
from tinygen.models.adversarial.improved_gan import GaussianNoise
from tinygen.nn import Flatten


def improved_gan(model, batch):
    config, x = model.config, batch.unlabelled_x
    widths = [x[0].size, config.hidden, config.hidden // 2, *[config.hidden // 4] * 3]

    def noise(n, layers):
        return [random.stream("train").normal((n, width)) for width in widths[:layers]]

    first = random.stream("train").normal((len(x), config.latent))
    of_labelled, of_real, of_fake = (noise(n, 6) for n in (len(batch.x), len(x), len(x)))
    second = random.stream("train").normal((len(x), config.latent))
    body, head = model.discriminator.layers
    fakes = output(model.generator, first)

    def through(layers, h, noises):
        """The layers one by one, with noise that was drawn in advance."""
        h, noises = h.reshape(len(h), -1), iter(noises)
        for layer in layers:
            if isinstance(layer, GaussianNoise):
                h = h + layer.std * next(noises)
            elif layer is functional.relu:
                h = np.maximum(h, 0)
            elif not isinstance(layer, Flatten):
                h = output(layer, h)
        return h

    def logits(images, noises):
        return through([*body.layers, *head.layers], images, noises)

    def log_z(images, noises):
        return np.log(np.exp(logits(images, noises)).sum(axis=1))

    def discriminator():
        labelled, t = logits(batch.x, of_labelled), config.smoothing
        log_p = labelled - np.log(np.exp(labelled).sum(axis=1, keepdims=True))
        real, fake = log_z(x, of_real), log_z(fakes, of_fake)
        return {
            "labelled": -log_p[np.arange(len(labelled)), batch.y].mean(),
            "real": 0.5 * (t * minus_log_sigmoid(real) + (1 - t) * minus_log_sigmoid(-real)).mean(),
            "fake": 0.5 * minus_log_sigmoid(-fake).mean(),
        }

    layers = 5 if config.feature_matching else 6
    third, fourth = noise(len(x), layers), noise(len(x), 5) if config.feature_matching else None

    def generator():
        images = output(model.generator, second)
        if not config.feature_matching:
            return {"cost": minus_log_sigmoid(log_z(images, third)).mean()}
        means = [through(body.layers, each, noises).mean(axis=0) for each, noises in ((x, third), (images, fourth))]
        return {"features": ((means[0] - means[1]) ** 2).sum()}

    return {"discriminator_optimizer": discriminator, "generator_optimizer": generator}


EQUATIONS = {"improved-gan": improved_gan}
