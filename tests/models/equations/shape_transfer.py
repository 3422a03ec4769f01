"""Equation 2 of Zhu et al. (2017), their identity loss, and squares in place of logarithms, of a single generator.

The discriminator is shown the shape beside the image (Isola et al. 2017, equation 1).
"""

import numpy as np

from tests.models.equations.numerics import output


def shape_transfer(model, batch):
    config, x, generator = model.config, batch.x, model.generator
    own = np.eye(model.classes)[batch[model.shape]]
    asked = np.roll(own, -1, axis=0)

    height, width, _ = x.shape[1:]
    down, right = ((2 * np.arange(side) + 1) / side - 1 for side in (height, width))
    waves = []
    for octave in range(config.octaves):
        along = [wave(2**octave * np.pi * down)[:, None] * np.ones(width) for wave in (np.sin, np.cos)]
        across = [wave(2**octave * np.pi * right) * np.ones((height, 1)) for wave in (np.sin, np.cos)]
        waves.append(np.stack([*along, *across, *(a * b for a in along for b in across)], axis=-1))
    every_wave = np.concatenate(waves, axis=-1)

    def placed(values, shape):
        """Values of pixels with their parts, and with the waves at their places."""
        return np.concatenate([values, shape, np.broadcast_to(every_wave, (len(x), *every_wave.shape))], axis=3)

    def means(values, shape, other):
        """The mean of values over each part of a shape, at all places of that part in another one."""
        spread = np.zeros((*other.shape[:3], values.shape[3]))
        for k, part in enumerate(np.moveaxis(shape, 3, 0)[..., None]):
            mean = (part * values).sum(axis=(1, 2)) / np.maximum(part.sum(axis=(1, 2)), 1)
            spread += mean[:, None, None] * other[..., [k]]
        return spread

    def transfer(images, shape, other):
        colours = means(images, shape, other)
        texture = np.zeros((*images.shape, config.octaves))
        for octave, eight in enumerate(waves):
            for wave in np.moveaxis(eight, -1, 0)[..., None]:
                texture[..., octave] += means(images * wave, shape, other) * wave
        features = means(output(generator.encoder, placed(images, shape)), shape, other)
        described = np.concatenate([colours, texture.reshape(*images.shape[:3], -1), features], axis=3)
        return colours + output(generator.decoder, placed(described, other))

    def l1(a, b):
        """The mean absolute difference of intensities in [-1, 1]."""
        return np.abs((2.0 * a - 1) - (2.0 * b - 1)).mean()

    def judged(images, shape):
        return output(model.discriminator, np.concatenate([images, shape], axis=3))

    before = transfer(x, own, asked)

    def generators():
        fake = transfer(x, own, asked)
        return {
            "G": ((judged(fake, asked) - 1) ** 2).mean(),
            "reconstruction": config.reconstruction * l1(transfer(x, own, own), x),
            "cycle": config.cycle * l1(transfer(fake, asked, own), x),
        }

    def discriminators():
        return {
            "real": 0.5 * ((judged(x, own) - 1) ** 2).mean(),
            "fake": 0.5 * (judged(before, asked) ** 2).mean(),
        }

    return {"generator_optimizer": generators, "discriminator_optimizer": discriminators}


EQUATIONS = {"shape-transfer": shape_transfer, "pose-transfer": shape_transfer}
WEIGHTS = {name: {"reconstruction": 1.0, "cycle": 1.0} for name in EQUATIONS}
