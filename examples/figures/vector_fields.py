"""Where auto-encoders move points near a curve in the plane: reconstruction minus input.

The denoising field is the score of the smoothed density: E[x | corrupted] - corrupted = sigma^2 grad log p_sigma
(Vincent 2011; Alain & Bengio 2014, arXiv:1211.4246). A plain auto-encoder of the same size copies its input.
"""

import numpy as np

import tinygen as tg
from examples.figures import canvas
from tinygen import functional as F
from tinygen import nn

STEPS, BATCH, HIDDEN = 2500, 256, 64
SIGMA, THICKNESS = 0.2, 0.03
"""Standard deviations of the corruption, and of points around the curve."""
VARIANCE = 0.02
"""Variance of p(x | z) in the variational auto-encoder, a fixed number."""
CURVE = np.linspace(0, 1, 2001)


def curve(t):
    """Points (N, 2) on a wave for t (N,) in [0, 1]."""
    return np.stack([4 * t - 2, np.sin(2 * np.pi * t) - 0.25 * (4 * t - 2)], axis=1)


def drawn(n, stream):
    """Points (n, 2) near the curve, float32."""
    t = stream.uniform(n, dtype="float64")
    return (curve(t) + THICKNESS * stream.normal((n, 2), dtype="float64")).astype(np.float32)


def score(x, std):
    """grad log p(x) of points x (N, 2) near the curve, whose density is a mixture of normals of this `std` along it."""
    differences = curve(CURVE) - x[:, None].astype(np.float64)
    log_weight = -(differences**2).sum(axis=2) / (2 * std**2)
    weight = np.exp(log_weight - log_weight.max(axis=1, keepdims=True))
    return (weight[..., None] * differences).sum(axis=1) / weight.sum(axis=1, keepdims=True) / std**2


def to_the_curve(x):
    """Vectors (N, 2) from points to the nearest point of the curve."""
    differences = curve(CURVE) - x[:, None]
    nearest = (differences**2).sum(axis=2).argmin(axis=1)
    return differences[np.arange(len(x)), nearest]


class Plain(nn.Module):
    """Three hidden layers, each far wider than the input, and the squared error of the reconstruction."""

    def __init__(self):
        self.hidden = [nn.Linear(2, HIDDEN), nn.Linear(HIDDEN, HIDDEN), nn.Linear(HIDDEN, HIDDEN)]
        self.last = nn.Linear(HIDDEN, 2)

    def reconstruction(self, x):
        for layer in self.hidden:
            x = F.tanh(layer(x))
        return self.last(x)

    def loss(self, x):
        return F.squared_error(self.reconstruction(x), x).sum(axis=1).mean()


class Denoising(Plain):
    def loss(self, x):
        corrupted = x + SIGMA * tg.random.stream("train").normal(x.shape)
        return F.squared_error(self.reconstruction(corrupted), x).sum(axis=1).mean()


class Contractive(Plain):
    """A penalty SIGMA^2 ||dr / dx||^2 on the Jacobian of the whole reconstruction r.

    For small SIGMA it equals denoising (Alain & Bengio, theorem 1). The penalty of `tinygen train contractive-ae` is
    on the Jacobian of the encoder alone (Rifai et al. 2011).
    """

    def squared_jacobian(self, x):
        """||dr / dx||^2 of N points: a tangent for each of the two directions is carried forward through the layers."""
        tangents = [np.tile(direction, (len(x), 1)) for direction in np.eye(2, dtype=np.float32)]
        for layer in self.hidden:
            x = F.tanh(layer(x))
            tangents = [F.linear(tangent, layer.weight) * (1 - x * x) for tangent in tangents]
        return sum((F.linear(tangent, self.last.weight) ** 2).sum(axis=1) for tangent in tangents)

    def loss(self, x):
        return super().loss(x) + SIGMA**2 * self.squared_jacobian(x).mean()


def network(inputs, outputs):
    sizes = nn.Linear(inputs, HIDDEN), F.tanh, nn.Linear(HIDDEN, HIDDEN), F.tanh, nn.Linear(HIDDEN, outputs)
    return nn.Sequential(*sizes)


class Variational(nn.Module):
    """A code of one dimension, normal p(x | z) of variance `VARIANCE` (Kingma & Welling 2014)."""

    def __init__(self):
        self.encoder, self.decoder = network(2, 2), network(1, 2)

    def reconstruction(self, x):
        mean, _ = F.split(self.encoder(x), sizes=(1, 1), axis=1)
        return self.decoder(mean)

    def loss(self, x):
        mean, log_var = F.split(self.encoder(x), sizes=(1, 1), axis=1)
        z = F.reparameterize(mean, log_var, tg.random.stream("train").normal(mean.shape))
        error = F.squared_error(self.decoder(z), x).sum(axis=1) / (2 * VARIANCE)
        return (error + F.gaussian_kl(mean, log_var).sum(axis=1)).mean()


MODELS = {"plain": Plain, "denoising": Denoising, "contractive": Contractive, "variational": Variational}


def trained(model, steps):
    optimizer = tg.optim.Adam(model, tg.optim.cosine(3e-3, 0.0, steps))
    for _ in range(steps):
        optimizer.step(model.loss(drawn(BATCH, tg.random.stream("data"))))
    return model


def cosine(a, b):
    """Mean cosine of the angles between vectors (N, 2)."""
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return float(((a * b).sum(axis=1) / np.maximum(lengths, 1e-12)).mean())


def draw(steps=STEPS):
    """The picture, and for each model the cosine of its field with the way to the curve, and with the score."""
    ranges = (-2.4, 2.4), (-2.4, 2.4)
    side = np.linspace(-2.2, 2.2, 23, dtype=np.float32)
    grid = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    distance = np.linalg.norm(to_the_curve(grid), axis=1)
    grid, distance = grid[distance < 4 * SIGMA], distance[distance < 4 * SIGMA]
    judged = (distance > SIGMA / 2) & (distance < 2 * SIGMA)
    std = float(np.hypot(SIGMA, THICKNESS))
    panels, numbers = [], {}
    for name, make in MODELS.items():
        tg.seed(0)
        model = trained(make(), steps)
        with tg.no_grad():
            field = model.reconstruction(grid).numpy() - grid
        numbers[f"{name}, cosine with the way to the curve"] = cosine(field[judged], to_the_curve(grid[judged]))
        numbers[f"{name}, cosine with the score"] = cosine(field[judged], score(grid[judged], std))
        if name == "denoising":
            expected = std**2 * score(grid[judged], std)
            error = ((field[judged] - expected) ** 2).sum() / (expected**2).sum()
            numbers["denoising, squared error of the score relative to the score's square"] = float(error)
        plot = canvas.Plot(*ranges, side=300).line(curve(CURVE), canvas.CLASSES[1], 3).arrows(grid, field)
        panels.append(plot.panel(f"{name}: cosine {numbers[f'{name}, cosine with the way to the curve']:.2f}"))
    return canvas.beside(*panels), numbers
