"""Equation 2 of Zhu et al. (2017), their identity loss, and squares in place of logarithms, of a single generator.

The discriminator is shown the shape beside the image (Isola et al. 2017, equation 1).
"""

import numpy as np

from tests.models.equations.numerics import output


def shape_transfer(model, batch):
    config, x, generator = model.config, batch.x, model.generator
    own = np.eye(model.classes)[batch[model.shape]]
    asked = np.roll(own, -1, axis=0)

    def placed(values, shape):
        """Values of pixels with their parts, and with sines and cosines of their places."""
        height, width = x.shape[1:3]
        down, right = ((2 * np.arange(side) + 1) / side - 1 for side in (height, width))
        places = []
        for wave in (np.sin, np.cos):
            for octave in range(config.octaves):
                places += [wave(2**octave * np.pi * np.broadcast_to(down[:, None], (height, width)))]
                places += [wave(2**octave * np.pi * np.broadcast_to(right, (height, width)))]
        places = np.broadcast_to(np.stack(places, axis=-1), (len(x), height, width, len(places)))
        return np.concatenate([values, shape, places], axis=3)

    def appearance(images, shape):
        """The mean colour and features of each part, part by part."""
        features = np.concatenate([images, output(generator.encoder, placed(images, shape))], axis=3)
        parts = []
        for part in np.moveaxis(shape, 3, 0)[..., None]:
            parts.append((part * features).sum(axis=(1, 2)) / np.maximum(part.sum(axis=(1, 2)), 1))
        return parts

    def transfer(images, shape, other):
        parts = appearance(images, shape)
        spread = sum(part[:, None, None] * other[..., [k]] for k, part in enumerate(parts))
        return spread[..., : x.shape[3]] + output(generator.decoder, placed(spread, other))

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
