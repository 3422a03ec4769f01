"""An auto-encoder beside a variational one: their codes, and what draws from the prior N(0, I) are decoded to."""

import numpy as np

import tinygen as tg
from examples.figures import canvas, objectives
from tinygen.metrics.frechet import frechet_distance
from tinygen.train import images

STEPS = 1500
SIDE = 9  # decoded draws along each side of a sheet


def halved(x):
    """Images (N, 28, 28, 1), each reduced to 14x14 by averages, as vectors (N, 196)."""
    return x.reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4)).reshape(len(x), -1)


def draw(steps=STEPS):
    """The picture, and the Frechet distance of decoded draws from the prior to images of test, by pixels of 14x14."""
    data = objectives.data()
    batch = objectives.examined(data)
    tg.seed(0)
    plain = tg.models.Autoencoder(tg.models.Autoencoder.Config(latent=objectives.LATENT, hidden=256), data.spec)
    loader = tg.data.Loader(data.train, objectives.BATCH, seed=0)
    for _ in range(steps):
        plain.training_step(next(loader))
    variational = objectives.vae(data)
    for _ in objectives.training(variational, data, steps):
        pass
    prior = tg.random.Stream(0, "sample").normal((1000, objectives.LATENT))
    real = halved(data.test.values("x"))
    panels, numbers = [], {}
    for name, model in {"auto-encoder": plain, "variational": variational}.items():
        drawn = model.decode(prior)
        distance = numbers[f"{name}, Frechet distance"] = frechet_distance(halved(drawn), real)
        codes = model.encode(batch.x)
        plot = canvas.Plot(*canvas.square_around(np.concatenate([prior, codes])))
        plot.points(codes, batch.y).points(prior[:300], colour=canvas.INK, radius=0.8)
        sheet = images.sheet(drawn[: SIDE**2], SIDE, scale=1)
        panels.append(plot.panel(f"{name}: codes, prior in black"))
        panels.append(canvas.titled(sheet, f"decoded prior: Frechet {distance:.1f}"))
    fitted = frechet_distance(halved(plain.sample(len(prior), seed=0)), real)
    numbers["auto-encoder, codes drawn from a normal fitted to its codes"] = fitted
    return canvas.beside(*panels), numbers
