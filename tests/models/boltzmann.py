"""What the exact tests of Boltzmann machines share: models far from their start, and all states of a few units."""

import itertools

import numpy as np

from tinygen import models, random
from tinygen.data import Image, Spec
from tinygen.random import Stream


def machine(name, height, width, scale=1.0, **config):
    """A model of binary images of this size whose weights and biases are far from 0."""
    random.seed(0)
    model = models.get(name)
    model = model(model.Config(**config), Spec("noise", {"x": Image(height, width, 1, "binary")}))
    for number, p in enumerate(model.parameters()):
        p.assign(scale * Stream(number, "far").normal(p.shape))
    model.visible_centre[...] = Stream(0, "centre").uniform(model.size)
    return model


def every_state(units):
    """All states of so many binary units: (2 ** units, units)."""
    return np.array(list(itertools.product((0, 1), repeat=units)), np.float32)
