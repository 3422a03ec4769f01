"""What regularises a discriminator or critic f: penalties on its gradient, clipped weights, packs of examples."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tinygen import functional as F
from tinygen import random
from tinygen.autograd import array_of, grad, no_grad
from tinygen.backend import device_of
from tinygen.nn import Module
from tinygen.tensor import tensor


def gradient_norms(critic, x):
    """The norms |grad f(x)| (N,) at points x; they can be differentiated with respect to the critic's parameters."""
    points = tensor(x, x.dtype, requires_grad=True)
    slopes = F.flatten(grad(critic(points).sum(), points, create_graph=True))
    # Where a ReLU critic is flat the squared norm is 0, and the root has no derivative there: hence the small constant.
    return F.sqrt((slopes * slopes).sum(axis=1) + 1e-12)


# Where the gradient is taken: points (N, ...), of real examples, an array, and of fake ones


def between(real, fake):
    """A point drawn uniformly between each real example and a fake one (WGAN-GP, algorithm 1)."""
    share = _shares(real)
    return share * real + (1 - share) * array_of(fake)


def at_real(real, fake):
    """The real examples."""
    return real


def near_real(real, fake):
    """A point near each real example: moved by a share of noise, which is uniform up to half a standard deviation.

    The standard deviation is that of all numbers in the minibatch (authors' code of DRAGAN).
    """
    share = _shares(real)
    noise = random.stream("train").uniform(real.shape, device=device_of(real))
    return real + share * (0.5 * F.std(real, keepdims=True)) * noise


def _shares(x):
    """A number in (0, 1) for each example, from the stream `train`: (N, 1, ...)."""
    return random.stream("train").uniform((len(x),) + (1,) * (x.ndim - 1), device=device_of(x))


# What is demanded of it: scalars, of norms (N,)


def two_sided(norms):
    """Norms of 1."""
    return ((norms - 1) ** 2).mean()


def one_sided(norms):
    """Norms of at most 1."""
    return F.square(F.relu(norms - 1)).mean()


def half_square(norms):
    """Norms of 0."""
    return 0.5 * F.square(norms).mean()


@dataclass(frozen=True)
class Penalty:
    """A penalty on the norm of the gradient."""

    points: Callable[[Any, Any], Any]
    demand: Callable[[Any], Any]


PENALTIES = {
    "gradient": Penalty(between, two_sided),  # Gulrajani et al. 2017 (arXiv:1704.00028), equation 3
    "one-sided": Penalty(between, one_sided),  # the same, section 4
    "dragan": Penalty(near_real, two_sided),  # Kodali et al. 2017 (arXiv:1705.07215), section 2.3
    "r1": Penalty(at_real, half_square),  # Mescheder et al. 2018 (arXiv:1801.04406), equation 9
}
"""Penalties on the discriminator's gradient by name."""


def clip_weights(network: Module, bound: float) -> None:
    """Clip all parameters to [-bound, bound] (Arjovsky et al. 2017, arXiv:1701.07875, algorithm 1)."""
    with no_grad():
        for weight in network.parameters():
            weight.assign(F.clip(weight, -bound, bound))


def packed(x, size: int):
    """Packs of `size` consecutive examples, beside each other in the last axis (Lin et al. 2018, arXiv:1712.04086).

    (N, ..., C) becomes (N / size, ..., size C). The last pack is filled up with the first examples.
    """
    if size == 1:
        return x
    n, packs = len(x), -(-len(x) // size)
    if packs * size > n:
        x = F.concatenate([x] * -(-packs * size // n), axis=0)[: packs * size]
    return F.concatenate([x[first::size] for first in range(size)], axis=-1)
