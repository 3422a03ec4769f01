"""Reconstructions from codes of 2, 5, 10, 20 and 50 dimensions, and their errors beside those of linear codes."""

import numpy as np

import tinygen as tg
from examples.figures import canvas, objectives
from tinygen.train import images

STEPS, SHOWN = 1200, 12
DIMENSIONS = (2, 5, 10, 20, 50)


def linear_errors(train, x) -> list[float]:
    """For each number in `DIMENSIONS`, the squared error per pixel of x projected on so many principal components."""
    mean = train.mean(axis=0)
    components = np.linalg.eigh(np.cov(train.T))[1][:, ::-1]
    projected = (x - mean) @ components
    return [float(np.square(projected[:, dimensions:]).sum() / x.size) for dimensions in DIMENSIONS]


def draw(steps=STEPS):
    """The picture, and for each number of dimensions the squared error a pixel on valid, and that of linear codes."""
    data = tg.data.load("fashion-mnist-7k")
    shown = data.valid.take(SHOWN).batch(slice(None)).x
    train, valid = (split.values("x").reshape(len(split), -1) for split in (data.train, data.valid))
    panels, numbers = [canvas.titled(images.sheet(shown, SHOWN), "images of valid")], {}
    for latent, linear in zip(DIMENSIONS, linear_errors(train, valid), strict=True):
        tg.seed(0)
        model = tg.models.Autoencoder(tg.models.Autoencoder.Config(latent=latent, hidden=256), data.spec)
        loader = tg.data.Loader(data.train, objectives.BATCH, seed=0)
        for _ in range(steps):
            model.training_step(next(loader))
        error = model.evaluate(data.valid, seed=0, thorough=False)["squared_error_per_pixel"]
        numbers |= {f"{latent} dimensions, squared error": error, f"{latent} linear ones, squared error": linear}
        sheet = images.sheet(model.decode(model.encode(shown)), SHOWN)
        title = f"{latent} dimensions: squared error {error:.4f} a pixel (linear codes: {linear:.4f})"
        panels.append(canvas.titled(sheet, title))
    return canvas.above(*panels), numbers
