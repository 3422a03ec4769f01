"""Costs of two players and penalties on the discriminator's gradient, by their papers' formulas, in NumPy."""

import numpy as np

import tinygen as tg
from tests.models.equations.numerics import minus_log_sigmoid
from tinygen import random
from tinygen.nn import Linear, SpectralNorm


def settled(network) -> None:
    """Find the singular vectors of spectral normalisation, so that the iterations in a step change nothing."""
    for part in network.modules():
        for _ in range(300 * isinstance(part, SpectralNorm)):
            part._iterate()


def packs(model, x):
    """Packs of consecutive examples, channels beside each other; the last one is filled up with the first examples."""
    size = model.config.pack
    filled = x[np.arange(-(-len(x) // size) * size) % len(x)]
    return np.concatenate([filled[i::size] for i in range(size)], axis=-1)


def discriminator_terms(config, r, f):
    """Both terms of the discriminator's cost, of its outputs for real and for fake examples."""
    target = config.smoothing
    real, fake = {
        "least-squares": lambda: ((r - 1) ** 2 / 2, f**2 / 2),
        "hinge": lambda: (np.maximum(0, 1 - r), np.maximum(0, 1 + f)),
        "relativistic": lambda: (minus_log_sigmoid(r - f.mean()), minus_log_sigmoid(r.mean() - f)),
    }.get(
        config.cost,
        lambda: (target * minus_log_sigmoid(r) + (1 - target) * minus_log_sigmoid(-r), minus_log_sigmoid(-f)),
    )()
    return {"real": real.mean(), "fake": fake.mean()}


def generator_cost(config, r, f):
    """The generator's cost, of the discriminator's outputs for real and for fake examples."""
    p = 1 / (1 + np.exp(-f))
    return {
        "minimax": lambda: np.log(1 - p).mean(),
        "non-saturating": lambda: -np.log(p).mean(),
        "maximum-likelihood": lambda: (-p / (1 - p)).mean(),
        "least-squares": lambda: ((f - 1) ** 2).mean() / 2,
        "hinge": lambda: -f.mean(),
        "relativistic": lambda: (minus_log_sigmoid(f - r.mean()) + minus_log_sigmoid(f.mean() - r)).mean(),
    }[config.cost]()


def penalty_of(config, real, fake, norms):
    """A function that returns the penalty as a term, if there is one; the points' random numbers are drawn now.

    `norms` returns the norms of the discriminator's gradient at points.
    """
    if config.penalty == "none":
        return dict
    shape = (len(real),) + (1,) * (real.ndim - 1)
    share = random.stream("train").uniform(shape) if config.penalty != "r1" else 0
    if config.penalty == "dragan":
        points = real + share * 0.5 * real.std() * random.stream("train").uniform(real.shape)
    else:
        points = real if config.penalty == "r1" else share * real + (1 - share) * fake
    demands = {"r1": lambda g: g**2 / 2, "one-sided": lambda g: np.maximum(0, g - 1) ** 2}
    demand = demands.get(config.penalty, lambda g: (g - 1) ** 2)
    return lambda: {"penalty": config.penalty_weight * demand(norms(points)).mean()}


def perceptron_slopes(network, x, slope: float):
    """Norms (N,) of a perceptron's gradient, by the chain rule through its layers of (leaky) ReLUs, from the weights.

    Under spectral normalisation a weight is divided by its largest singular value.
    """
    normed = {id(part.layer) for part in network.modules() if isinstance(part, SpectralNorm)}
    layers = []
    for part in network.modules():
        if isinstance(part, Linear):
            weight = part.weight.numpy().astype("float64")
            layers.append((weight / np.linalg.norm(weight, 2) if id(part) in normed else weight, part.bias.numpy()))
    h, jacobian = x.reshape(len(x), -1), np.eye(x[0].size)[None]
    for weight, bias in layers[:-1]:
        before = h @ weight + bias
        jacobian = (jacobian @ weight) * np.where(before > 0, 1, slope)[:, None]
        h = np.where(before > 0, before, slope * before)
    return np.sqrt(((jacobian @ layers[-1][0])[..., 0] ** 2).sum(axis=1))


def slopes(function, x):
    """Norms (N,) of the gradient of any function of Tensors, by a gradient of first order."""
    points = tg.tensor(np.asarray(x, np.float32), requires_grad=True)
    gradient = tg.grad(function(points).sum(), points).numpy().astype("float64")
    return np.sqrt((gradient.reshape(len(x), -1) ** 2).sum(axis=1))
