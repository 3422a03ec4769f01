"""The codes of a variational auto-encoder trained with its reconstruction term only, its KL only, and both.

Without the KL the codes leave the prior N(0, I); without the reconstruction they are drawn from it and say nothing.
"""

import tinygen as tg
from examples.figures import canvas, objectives

STEPS = 1500
TERMS = {"reconstruction only": (1, 0), "KL only": (0, 1), "both": (1, 1)}
"""The weights of the two terms."""


def draw(steps=STEPS):
    """The picture, and the reconstruction and the KL of each model on valid, in nats."""
    data = objectives.data()
    batch = objectives.examined(data)
    panels, numbers = [], {}
    for name, (reconstruction, kl) in TERMS.items():
        model = objectives.vae(data)
        for _ in objectives.training(model, data, steps, reconstruction=reconstruction, kl=kl):
            pass
        terms = model.evaluate(data.valid, seed=0, thorough=False)
        numbers[f"{name}, reconstruction in nats"] = terms["reconstruction_nats"]
        numbers[f"{name}, KL in nats"] = terms["kl_nats"]
        with tg.no_grad():
            q = model.posterior(batch.x)
            codes = (q.mean + q.std * tg.random.Stream(0, "sample").normal(q.mean.shape)).numpy()
        title = f"{name}: {terms['reconstruction_nats']:.0f} + {terms['kl_nats']:.1f} nats"
        panels.append(canvas.codes(codes, batch.y, title))
    names = zip(canvas.CLASSES, data.spec.y.names, strict=True)
    return canvas.above(canvas.beside(*panels), canvas.legend(*names)), numbers
