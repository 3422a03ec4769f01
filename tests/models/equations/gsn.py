"""Walkback: the cross-entropy of every step's image against the original (Bengio et al. 2014, section 3.2)."""

import numpy as np

from tests.models.equations.numerics import cross_entropy
from tinygen import random


def gsn(model, batch):
    config, stream = model.config, random.stream("train")
    x = batch.x.reshape(len(batch), -1)
    model.start_from_means(x)  # as the first step does
    hidden = (len(x), config.hidden)
    pictures, noise = [], []

    def run(corrupted):
        """The logits of each step, from the corrupted image with which it starts."""
        above, logits = np.zeros(hidden), []
        for seen, (before, after) in zip(corrupted, noise, strict=True):
            h1 = np.tanh(seen @ model.lower.data + above @ model.upper.data.T + model.lower_bias.data)
            above = np.tanh(h1 @ model.upper.data + model.upper_bias.data + before) + after
            logits.append(h1 @ model.lower.data.T + model.bias.data)
        return logits

    start = x
    for _ in range(config.walkback):
        hit = stream.uniform(x.shape)
        pictures.append(np.where(hit < config.level, hit < config.level / 2, start))
        noise.append([config.hidden_noise * stream.normal(hidden) for _ in range(2)])
        start = stream.uniform(x.shape) < 1 / (1 + np.exp(-run(pictures)[-1]))

    def terms():
        errors = [cross_entropy(logits, x).mean() / config.walkback for logits in run(pictures)]
        return {f"step {i}": error for i, error in enumerate(errors)}

    return {"optimizer": terms}


EQUATIONS = {"gsn": gsn}
