"""The squared error of the velocity x_1 - x_0 on straight lines (Lipman et al. 2023, equation 23; Liu et al. 2023)."""

import numpy as np

from tests.models.equations.ddpm import as_seen, hidden_labels, outputs
from tinygen import random


def flow_matching(model, batch):
    stream, n = random.stream("train"), len(batch)
    t = stream.uniform(n) if model.config.times == "uniform" else 1 / (1 + np.exp(-stream.normal(n)))
    noise = stream.normal(batch.x.shape).astype(np.float64)
    labels, x1 = hidden_labels(model, batch), as_seen(model, batch.x)
    at = t.astype(np.float64).reshape(n, *[1] * (x1.ndim - 1))

    def terms():
        velocity = outputs(model, (1 - at) * noise + at * x1, 1 - t, labels)
        return {"error": ((velocity - (x1 - noise)) ** 2).mean()}

    return {"optimizer": terms}


EQUATIONS = {"flow-matching": flow_matching}
