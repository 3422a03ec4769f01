"""Equations 3 to 6 of Ledig et al. (2017): SRResNet by squared error, SRGAN by content and adversarial loss."""

import numpy as np

from tests.models.equations.numerics import minus_log_sigmoid, output
from tinygen.autograd import no_grad


def srgan(model, batch):
    config, x, target = model.config, batch.x, batch.target.astype(np.float64)
    before = output(model.generator, x)

    def squared_error():
        """Of intensities in [-1, 1]."""
        return (((2 * output(model.generator, x) - 1) - (2 * target - 1)) ** 2).mean()

    if int(model.generator_optimizer.count) < config.resnet_steps:
        return {"generator_optimizer": lambda: {"pixels": squared_error()}}

    def activations(images):
        with no_grad():
            found = model.features.network.activations(images.astype(np.float32), config.feature_layers)
        return [np.asarray(found[name].numpy(), np.float64) for name in config.feature_layers]

    def content():
        if config.content == "pixels":
            return {"pixels": squared_error()}
        pairs = zip(activations(target), activations(output(model.generator, x)), strict=True)
        means = [((a - b) ** 2).mean() for a, b in pairs]
        return {layer: config.feature_weight * mean for layer, mean in zip(config.feature_layers, means, strict=True)}

    def logits(images):
        return output(model.discriminator, images)[:, 0]

    def discriminator():
        return {"real": minus_log_sigmoid(logits(target)).mean(), "fake": minus_log_sigmoid(-logits(before)).mean()}

    def generator():
        cost = minus_log_sigmoid(logits(output(model.generator, x))).mean()
        return content() | {"adversarial": config.adversarial_weight * cost}

    return {"generator_optimizer": generator, "discriminator_optimizer": discriminator}


EQUATIONS = {"srgan": srgan}
WEIGHTS = {"srgan": {"adversarial_weight": 0.2}}
"""Larger than in the paper, so that the adversarial term matters."""
