"""Section 3 of Denton et al. (2015): at each level a GAN of images, which are low-pass images and generated detail."""

import numpy as np

from tests.models.equations.numerics import minus_log_sigmoid, output
from tests.models.pillow import bicubic
from tinygen import random


def lapgan(model, batch):
    images = [2 * batch.x - 1]
    for _ in range(model.config.levels):
        height, width = images[-1].shape[1:3]
        images.append(bicubic(images[-1], height // 2, width // 2))
    stream, functions = random.stream("train"), {}
    for k in range(model.config.levels, -1, -1):
        real, smallest = images[k], k == model.config.levels
        low = np.zeros_like(real) if smallest else bicubic(images[k + 1], *real.shape[1:3])
        size = model.config.latent if smallest else real.shape[1] * real.shape[2]
        noise = 2 * stream.uniform((len(real), -(-size // 4) * 4))[:, :size] - 1
        name = "coarsest" if smallest else f"finer.{model.config.levels - 1 - k}"
        level = model.coarsest if smallest else model.finer[model.config.levels - 1 - k]
        given = noise if smallest else np.concatenate([low, noise.reshape(*low.shape[:3], 1)], axis=3)
        functions |= losses(name, level, real, low, given)
    return functions


def losses(name, level, real, low, given):
    def fake():
        return low + output(level.generator, given)

    def logits(x):
        return output(level.discriminator, x)[:, 0]

    before = fake()

    def discriminator():
        return {"real": minus_log_sigmoid(logits(real)).mean(), "fake": minus_log_sigmoid(-logits(before)).mean()}

    def generator():
        return {"cost": minus_log_sigmoid(logits(fake())).mean()}

    return {f"{name}.discriminator_optimizer": discriminator, f"{name}.generator_optimizer": generator}


EQUATIONS = {"lapgan": lapgan}
