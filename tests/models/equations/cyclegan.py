"""Equations 1 to 3 of Zhu et al. (2017) with squares in place of logarithms (section 4), and the identity loss."""

import numpy as np

from tests.models.equations.numerics import output


def cyclegan(model, batch):
    config, x, y = model.config, batch.x, batch.target

    def l1(a, b):
        """The mean absolute difference of intensities in [-1, 1]."""
        return np.abs((2.0 * a - 1) - (2.0 * b - 1)).mean()

    def to_y(images):
        return output(model.generator, images)

    def to_x(images):
        return output(model.reverse_generator, images)

    def in_y(images):
        return output(model.discriminator, images)

    def in_x(images):
        return output(model.reverse_discriminator, images)

    # The pools are not full yet in the first steps: the discriminators are shown the fakes of the present step.
    before_y, before_x = to_y(x), to_x(y)

    def generators():
        terms = {
            "G": ((in_y(to_y(x)) - 1) ** 2).mean(),
            "F": ((in_x(to_x(y)) - 1) ** 2).mean(),
            "cycle of x": config.cycle * l1(to_x(to_y(x)), x),
            "cycle of y": config.cycle * l1(to_y(to_x(y)), y),
        }
        if config.identity:
            weight = config.identity * config.cycle
            terms |= {"identity of y": weight * l1(to_y(y), y), "identity of x": weight * l1(to_x(x), x)}
        return terms

    def discriminators():
        return {
            "real y": 0.5 * ((in_y(y) - 1) ** 2).mean(),
            "fake y": 0.5 * (in_y(before_y) ** 2).mean(),
            "real x": 0.5 * ((in_x(x) - 1) ** 2).mean(),
            "fake x": 0.5 * (in_x(before_x) ** 2).mean(),
        }

    return {"generator_optimizer": generators, "discriminator_optimizer": discriminators}


EQUATIONS = {"cyclegan": cyclegan}
WEIGHTS = {"cyclegan": {"cycle": 1.0}}
