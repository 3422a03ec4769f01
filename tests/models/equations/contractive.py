"""Cross-entropy and the squared norm of the encoder's Jacobian (Rifai et al. 2011, equations 1, 5 and 6)."""

import numpy as np

from tests.models.equations.numerics import cross_entropy
from tinygen import random


def contractive_ae(model, batch):
    x = batch.x.reshape(len(batch.x), -1).astype("float64")
    padded = (len(x), -(-x.shape[1] // 4) * 4)
    u = random.stream("train").normal(padded)[:, : x.shape[1]] if model.config.layers > 1 else None

    def terms():
        weights = [layer.weight.numpy().astype("float64") for layer in model.hidden]
        h, jacobian = x, np.eye(x.shape[1])
        for weight, layer in zip(weights, model.hidden, strict=True):
            h = sigmoid(h @ weight + layer.bias.numpy())
            jacobian = jacobian @ weight * (h * (1 - h))[:, None]  # (N, pixels, units)
        squared = (jacobian**2).sum(axis=(1, 2)) if u is None else (np.einsum("nd,ndk->nk", u, jacobian) ** 2).sum(1)
        y = h
        for depth in reversed(range(len(weights))):
            y = y @ weights[depth].T + model.transposed.biases[depth].numpy()
            y = sigmoid(y) if depth else y
        return {
            "cross-entropy": cross_entropy(y, x).mean(),
            "contraction": model.config.contraction * squared.mean(),
        }

    return {"optimizer": terms}


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


EQUATIONS = {"contractive-ae": contractive_ae}
WEIGHTS = {"contractive-ae": {"contraction": 200.0}}
