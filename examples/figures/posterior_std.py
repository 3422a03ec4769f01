"""The standard deviations of the posterior over training: without the KL term they go to zero.

The reconstruction alone is best where a code carries no noise; the KL pays for precision.
"""

import numpy as np

import tinygen as tg
from examples.figures import canvas, objectives

STEPS, POINTS = 2000, 40
WEIGHTS = {"with the KL": 1, "without the KL": 0}


def draw(steps=STEPS):
    """The picture, and the mean deviation relative to that of the codes, at the end of training."""
    data = objectives.data()
    x = objectives.examined(data).x
    curves, numbers = {}, {}
    for name, weight in WEIGHTS.items():
        model, curve = objectives.vae(data), []
        for step in objectives.training(model, data, steps, kl=weight):
            if step % max(1, steps // POINTS) == 0:
                with tg.no_grad():
                    q = model.posterior(x)
                curve.append((step, float(q.std.numpy().mean())))
        curves[name] = curve
        numbers[f"{name}, mean standard deviation"] = curve[-1][1]
        numbers[f"{name}, mean standard deviation relative to that of the codes"] = curve[-1][1] / float(
            q.mean.numpy().std(axis=0).mean()
        )
    heights = np.array([height for curve in curves.values() for _, height in curve])
    plot = canvas.Plot((0, steps), (0.7 * heights.min(), 1.4 * heights.max()), side=320, logarithmic=True)
    for colour, curve in zip(canvas.CLASSES, curves.values(), strict=False):
        plot.line(curve, colour, 2)
    legend = canvas.legend(*zip(canvas.CLASSES, curves, strict=False))
    return canvas.above(plot.panel("mean standard deviation of q(z | x), by steps"), legend), numbers
