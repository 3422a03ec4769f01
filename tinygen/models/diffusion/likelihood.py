"""Densities by the flow of an ordinary differential equation that turns data into noise.

Along dx / dt = v(x, t) the log density changes by -div v (Chen et al. 2018, arXiv:1806.07366, equation 8). For a
diffusion this is the probability flow of Song et al. 2021 (arXiv:2011.13456, section 4.3).
"""

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from tinygen.backend import array_module

Velocity = Callable[[Any, Any], Any]


def log_density(velocity: Velocity, x, times, probes: list, width: Callable[[Any], float]):
    """log p(x) in nats (N,) of x (N, D) at the first of some times, where at the last it is standard normal.

    It is integrated by Heun's method, of second order. `probes` (N, D) estimate the divergence, at distances that
    `width(t)` gives for each time (`divergence`).
    """
    gained = 0.0
    for now, then in pairwise(times):
        first, slope = velocity(x, now), divergence(velocity, x, now, probes, width(now))
        ahead = x + (then - now) * first
        second, slope_ahead = velocity(ahead, then), divergence(velocity, ahead, then, probes, width(then))
        x = x + 0.5 * (then - now) * (first + second)
        gained = gained + 0.5 * (then - now) * (slope + slope_ahead)
    return -0.5 * (x * x + math.log(2 * math.pi)).sum(axis=1) + gained


def divergence(velocity: Velocity, x, t, probes: list, width: float):
    """The trace (N,) of the Jacobian J of the velocity at x (N, D), as the sum of z' J z over probes z.

    J z is a central difference of this width, which needs no graph. The unit vectors as probes give the trace itself,
    one vector of random signs an estimate (Hutchinson 1990).
    """
    total = 0.0
    for probe in probes:
        difference = velocity(x + width * probe, t) - velocity(x - width * probe, t)
        total = total + (probe * difference).sum(axis=1) * (0.5 / width)
    return total


def unit_vectors(x) -> list:
    """A probe (1, D) along each coordinate, for points x (N, D)."""
    xp = array_module(x)
    return [xp.asarray(row[None]) for row in np.eye(x.shape[1], dtype=np.float32)]
