"""Cross-entropy of the rebuilt image against the image (Vincent et al. 2010, equations 2 and 7)."""

import numpy as np

from tests.models.equations.numerics import cross_entropy, output
from tinygen import random


def ae(model, batch):
    return {"optimizer": lambda: {"cross-entropy": reconstruction_loss(model, batch.x, batch.x)}}


def dae(model, batch):
    x, level = batch.x, model.config.level
    size = x[0].size
    padded = (len(x), -(-size // 4) * 4)
    stream = random.stream("train")
    if model.config.noise == "gaussian":
        corrupted = x + level * stream.normal(padded)[:, :size].reshape(x.shape)
    else:
        hit = stream.uniform(padded)[:, :size].reshape(x.shape)
        to_one = model.config.noise == "salt-and-pepper"
        corrupted = np.where(hit < level, (hit < level / 2) * to_one, x)
    return {"optimizer": lambda: {"cross-entropy": reconstruction_loss(model, corrupted, x)}}


def reconstruction_loss(model, inputs, x) -> float:
    return cross_entropy(output(model.decoder, output(model.encoder, inputs)), x).mean()


EQUATIONS = {"ae": ae, "dae": dae}
