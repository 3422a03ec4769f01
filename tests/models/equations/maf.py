"""Papamakarios et al. (2017): -log p(x) by equations 3 to 5 with batch normalisation, and the base of MAF MoG."""

import numpy as np

from tests.models.equations.numerics import log_normal
from tests.models.equations.realnvp import batch_norm, objective_of, standard_normal

LIMIT = 7


def maf(model, batch):
    def flow(x):
        x, total = x.reshape(len(x), -1), 0.0
        for layer in model.flow.layers[2:]:
            x, log_det = batch_norm(layer, x) if hasattr(layer, "log_gain") else autoregression(layer.network, x)
            total = total + log_det
        return x, total

    def log_mixture(codes):
        outputs = made(model.base.network, codes).reshape(*codes.shape, 3, -1)
        logits, means, log_std = (outputs[:, :, i] for i in range(3))
        weights = np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)
        std = np.exp(LIMIT * np.tanh(log_std / LIMIT))
        return np.log((weights * np.exp(log_normal(codes[:, :, None], means, std))).sum(axis=2)).sum(axis=1)

    return objective_of(model, batch, flow, log_mixture if model.config.components > 1 else standard_normal)


def autoregression(network, x):
    mu, alpha = np.moveaxis(made(network, x).reshape(*x.shape, 2), 2, 0)
    alpha = LIMIT * np.tanh(alpha / LIMIT)
    return (x - mu) * np.exp(-alpha), -alpha.sum(axis=1)


def made(network, x):
    """The outputs (N, D * outputs) of a masked network, in NumPy."""
    inputs, *hidden = network.degrees(0)
    of_outputs = inputs.repeat(network.outputs)
    before, h = inputs, x
    for layer, degrees in zip(network.hidden, hidden, strict=True):
        h = np.maximum(h @ (layer.weight.data * (degrees >= before[:, None])) + layer.bias.data, 0)
        before = degrees
    through = h @ (network.output.weight.data * (of_outputs > before[:, None])) + network.output.bias.data
    return through + (x @ (network.direct.weight.data * (of_outputs > inputs[:, None])) if network.direct else 0)


EQUATIONS = {"maf": maf}
