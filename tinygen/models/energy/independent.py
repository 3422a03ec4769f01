"""The distribution of independent pixels, from which training, chains and annealing start."""

from typing import Any

from tinygen.backend import array_module

LEAST_PROBABILITY = 0.01
"""Least probability of black and of white."""


def pixel_means(x: Any) -> Any:
    """The mean of each pixel (D,) of vectors x (N, D), not nearer than `LEAST_PROBABILITY` to 0 or 1."""
    return x.mean(axis=0).clip(LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)


def log_odds(probability: Any) -> Any:
    """log p - log (1 - p)"""
    xp = array_module(probability)
    return xp.log(probability) - xp.log(1 - probability)
