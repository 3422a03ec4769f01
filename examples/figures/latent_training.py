"""The codes of a variational auto-encoder while it is trained: how classes separate without labels.

The number above each snapshot is the share of images whose nearest neighbour by code is of the same class.
"""

import numpy as np

from examples.figures import canvas, objectives

STEPS, SNAPSHOTS = 1500, (0, 0.02, 0.1, 1)
"""Steps of training, and the shares of them after which the codes are shown."""


def neighbours_agree(codes, classes) -> float:
    """The share of codes (N, 2) whose nearest neighbour has the same class."""
    distance = ((codes[:, None] - codes) ** 2).sum(axis=2)
    np.fill_diagonal(distance, np.inf)
    return float((classes[distance.argmin(axis=1)] == classes).mean())


def draw(steps=STEPS):
    """The picture, and the share of like neighbours at each snapshot."""
    data = objectives.data()
    model, batch = objectives.vae(data), objectives.examined(data)
    moments = [round(share * steps) for share in SNAPSHOTS]
    panels, numbers = [], {}
    for step in objectives.training(model, data, steps):
        if step in moments:
            codes = model.encode(batch.x)
            share = numbers[f"neighbours of one class after {step} steps"] = neighbours_agree(codes, batch.y)
            panels.append(canvas.codes(codes, batch.y, f"{step} steps: {share:.0%} of neighbours alike"))
    names = zip(canvas.CLASSES, data.spec.y.names, strict=True)
    return canvas.above(canvas.beside(*panels), canvas.legend(*names)), numbers
