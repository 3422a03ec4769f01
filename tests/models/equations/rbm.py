"""The free energy of the images less that of the last states of the chains (Hinton 2002; Tieleman 2008)."""

import numpy as np

from tests.models.equations.numerics import minus_log_sigmoid
from tinygen import random


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def free_energy(model, v):
    """Mean over v of -log of the sum over h of exp((v - v0) W (h - 1/2) + a v + b h)."""
    weight, a, b = (p.data for p in (model.weight, model.visible_bias, model.hidden_bias))
    inputs = (v - model.visible_centre) @ weight
    return (0.5 * inputs.sum(axis=1) - v @ a - minus_log_sigmoid(-(inputs + b)).sum(axis=1)).mean()


def chains(model, start):
    """The last states of the chains, with random numbers in the order of a training step."""
    weight, a, b = (p.data for p in (model.weight, model.visible_bias, model.hidden_bias))
    stream, v = random.stream("train"), start
    for _ in range(model.config.gibbs_steps):
        h = stream.uniform((len(v), len(b))) < sigmoid((v - model.visible_centre) @ weight + b)
        v = stream.uniform((len(v), len(a))) < sigmoid((h - 0.5) @ weight.T + a)
    return v.astype("float64")


def rbm(model, batch):
    v = batch.x.reshape(len(batch), -1).astype("float64")
    model.start_from_means(v)  # as the first step does
    end = chains(model, model.chains if model.config.persistent else v)
    return {"optimizer": lambda: {"images": free_energy(model, v), "chains": -free_energy(model, end)}}


EQUATIONS = {"rbm": rbm}
