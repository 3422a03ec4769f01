"""The loss of a feature network: the cross-entropy of the class."""

import numpy as np

from tests.models.equations.numerics import output
from tinygen import random


def features(model, batch):
    rate = model.config.dropout
    size = output(model.network, batch.x).reshape(len(batch), -1).shape
    kept = random.stream("train").uniform(size) >= rate if rate else np.ones(size)

    def classifier():
        activations = output(model.network, batch.x).reshape(size)
        weight, bias = (p.numpy().astype(np.float64) for p in model.head.parameters())
        logits = activations * kept / (1 - rate) @ weight + bias
        log_p = logits - np.logaddexp.reduce(logits, axis=1)[:, None]
        return {"cross-entropy": -log_p[np.arange(len(batch)), batch.y].mean()}

    return {"optimizer": classifier}


EQUATIONS = {"features": features}
