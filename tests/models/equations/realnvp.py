"""Dinh et al. (2017): -log p(x) by the change of variables, equations 2, 3, 9 and 13, with dequantised logits."""

import numpy as np

from tests.models.equations.numerics import log_normal, output
from tinygen import random


def realnvp(model, batch):
    return objective_of(model, batch, lambda x: chain(model.flow.layers[1:], x), standard_normal)


def objective_of(model, batch, flow, log_base):
    """-log p(x) for a function from inputs (N, ...) to codes and log determinants (N,), and log p of codes (N,)."""
    n, size, levels = len(batch.x), model.size, model.levels
    noise = random.stream("train").uniform((n, -(-size // 4) * 4))[:, :size].astype("float64") if levels else None

    def nll():
        x = batch.x.astype("float64")
        if model.spec.x.shape == (size,):
            x, log_det = (
                (x - model.flow.layers[0].mean) / model.flow.layers[0].std,
                -np.log(model.flow.layers[0].std).sum(),
            )
        else:
            margin = model.config.margin
            p = margin + (1 - 2 * margin) * ((levels - 1) * x + noise.reshape(x.shape)) / levels
            x, log_det = np.log(p / (1 - p)), per_example(np.log((1 - 2 * margin) / (p * (1 - p))))
        codes, more = flow(x)
        terms = {"base": -log_base(codes).mean(), "determinant": -(log_det + more).mean()}
        return terms | ({"levels": size * np.log(levels)} if levels else {})

    return {"optimizer": nll}


def standard_normal(codes):
    return log_normal(codes, 0.0, 1.0).sum(axis=1)


def per_example(x):
    """The sum over all but the examples: (N,)."""
    return x.reshape(len(x), -1).sum(axis=1)


def chain(layers, x):
    """Codes and log determinants (N,), layer by layer."""
    total = np.zeros(len(x))
    for layer in layers:
        x, log_det = FUNCTIONS[type(layer).__name__](layer, x)
        total = total + log_det
    return x, total


def coupling(layer, x):
    b = layer.mask
    scale, t = np.split(output(layer.network, b * x), 2, axis=-1)
    s = layer.factor.data * np.tanh(scale)
    return b * x + (1 - b) * (x * np.exp(s) + t), per_example((1 - b) * s)


def batch_norm(layer, x):
    rows = x.reshape(-1, x.shape[-1])
    std = np.sqrt(rows.var(axis=0) + layer.eps)
    gain = np.exp(layer.log_gain.data)
    places = rows.shape[0] // len(x)
    return (x - rows.mean(axis=0)) / std * gain + layer.offset.data, places * np.log(gain / std).sum()


def squeeze(layer, x):
    corners = [x[:, i::2, j::2] for i in (0, 1) for j in (0, 1)]
    return np.stack(corners, axis=-1).reshape(*corners[0].shape[:3], -1), 0.0


def factor_out(layer, x):
    half = x.shape[3] // 2
    codes, log_det = chain(layer.rest.layers, x[..., half:])
    return np.concatenate([x[..., :half].reshape(len(x), -1), codes], axis=1), log_det


FUNCTIONS = {
    "Coupling": coupling,
    "BatchNorm": batch_norm,
    "Squeeze": squeeze,
    "FactorOut": factor_out,
    "Flatten": lambda layer, x: (x.reshape(len(x), -1), 0.0),
}

EQUATIONS = {"realnvp": realnvp}
