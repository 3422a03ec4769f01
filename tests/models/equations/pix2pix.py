"""Equations 1, 3 and 4 of Isola et al. (2017): absolute error, and the logits of patches of real and of fake pairs."""

import numpy as np

from tests.models.equations.numerics import minus_log_sigmoid, output
from tinygen import random


def pix2pix(model, batch):
    streams, weight = random.get_state(), model.config.adversarial

    def fake():
        """Translations with the dropout of the training step."""
        now = random.get_state()
        random.set_state(streams)
        translated = output(model.generator, batch.x)
        random.set_state(now)
        return translated

    def logits(y):
        return output(model.discriminator, np.concatenate([batch.x, y], axis=3))

    before = fake() if weight else None

    def discriminator():
        return {
            "real": 0.5 * minus_log_sigmoid(logits(batch.target)).mean(),
            "fake": 0.5 * minus_log_sigmoid(-logits(before)).mean(),
        }

    def generator():
        y = fake()
        terms = {"l1": model.config.l1 * np.abs((2 * y - 1) - (2 * batch.target.astype(np.float64) - 1)).mean()}
        return terms | ({"adversarial": weight * minus_log_sigmoid(logits(y)).mean()} if weight else {})

    return {"generator_optimizer": generator} | ({"discriminator_optimizer": discriminator} if weight else {})


EQUATIONS = {"pix2pix": pix2pix}
WEIGHTS = {"pix2pix": {"l1": 3.0}}
