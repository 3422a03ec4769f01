"""The equation of a restricted Boltzmann machine of v = (x, h2), h2 by mean field (Salakhutdinov & Hinton 2009)."""

import numpy as np

from tests.models.equations.rbm import chains, free_energy, sigmoid
from tinygen import random


def dbm(model, batch):
    x = batch.x.reshape(len(batch), -1).astype("float64")
    model.start_from_means(x.astype("float32"))  # as the first step does
    weight, a, b = (p.data.astype("float64") for p in (model.weight, model.visible_bias, model.hidden_bias))
    size, centre = x.shape[1], model.visible_centre
    h2 = np.full((len(x), model.config.above), 0.5)
    for _ in range(model.config.mean_field_steps):
        h1 = sigmoid((x - centre[:size]) @ weight[:size] + (h2 - centre[size:]) @ weight[size:] + b)
        h2 = sigmoid((h1 - 0.5) @ weight[size:].T + a[size:])
    v, stream = np.concatenate([x, h2], axis=1), random.stream("train")
    for _ in range(model.config.posterior_steps):
        h1 = stream.uniform((len(v), len(b))) < sigmoid((v - centre) @ weight + b)
        drawn = stream.uniform((len(v), len(a))) < sigmoid((h1 - 0.5) @ weight.T + a)
        v = np.concatenate([x, drawn[:, size:]], axis=1)
    end = chains(model, model.chains if model.config.persistent else v)
    return {"optimizer": lambda: {"images": free_energy(model, v), "chains": -free_energy(model, end)}}


EQUATIONS = {"dbm": dbm}
