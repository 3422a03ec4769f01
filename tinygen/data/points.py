"""Points from known distributions, with which samples and densities of a model can be compared exactly."""

import itertools
import math
from dataclasses import dataclass

import numpy as np

from tinygen.data.dataset import Dataset
from tinygen.data.fields import Labels, Points
from tinygen.data.spec import Spec
from tinygen.data.split import Split
from tinygen.random import Stream

SIZES = {"train": 90_000, "valid": 10_000, "test": 20_000}


@dataclass(frozen=True, eq=False)
class Mixture:
    """A mixture of spherical normal distributions, the modes, with equal weights."""

    centres: np.ndarray
    """Shape (modes, D)."""
    std: np.ndarray
    """Standard deviation of each mode in every coordinate, shape (modes,)."""

    def draw(self, n: int, stream: Stream) -> tuple[np.ndarray, np.ndarray]:
        """Draw n points (n, D), float32, and the mode of each, int64 (n,)."""
        mode = stream.integers(len(self.centres), n)
        noise = stream.normal((n, self.centres.shape[1]), dtype="float64")
        return (self.centres[mode] + self.std[mode, None] * noise).astype(np.float32), mode

    def density(self, x: np.ndarray) -> np.ndarray:
        """p(x) at points (N, D): shape (N,), float64."""
        squares = ((x[:, None] - self.centres) ** 2).sum(axis=2, dtype=np.float64)
        normaliser = (2 * math.pi * self.std**2) ** (self.centres.shape[1] / 2)
        return (np.exp(-squares / (2 * self.std**2)) / normaliser).mean(axis=1)

    @property
    def limits(self) -> tuple[float, float]:
        """The range of nearly all coordinates: four standard deviations around the centres."""
        reach = 4 * self.std[:, None]
        return float((self.centres - reach).min()), float((self.centres + reach).max())


def _mixture(centres, std) -> Mixture:
    centres = np.array(centres, np.float64)
    return Mixture(centres, np.broadcast_to(np.float64(std), len(centres)))


# The ring and the grid are those of Lin et al. 2018 (PacGAN, arXiv:1712.04086, section 4.1).
MIXTURES = {
    "ring8": _mixture([(math.cos(math.pi * i / 4), math.sin(math.pi * i / 4)) for i in range(1, 9)], 0.01),
    "grid25": _mixture(list(itertools.product(range(-4, 5, 2), repeat=2)), 0.05),
    "mixture1d": _mixture([[-2.0], [1.0]], (0.3, 0.6)),
}


@dataclass(frozen=True)
class Roll:
    """A Swiss roll in the plane: points of a spiral, whose angle is uniform, with normal noise.

    The spiral is that of scikit-learn's `make_swiss_roll` without its height, 7 times smaller, so that coordinates have
    a variance of about 1.
    """

    std: float
    """Standard deviation of the noise in every coordinate."""
    first: float = 1.5 * math.pi
    last: float = 4.5 * math.pi
    radius: float = 1 / 7
    """Radius for an angle of 1."""

    def spiral(self, angle: np.ndarray) -> np.ndarray:
        """Points (N, 2) of the spiral at angles (N,)."""
        return self.radius * angle[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)

    def draw(self, n: int, stream: Stream) -> np.ndarray:
        """Draw n points (n, 2), float32."""
        angle = self.first + (self.last - self.first) * stream.uniform(n, dtype="float64")
        return (self.spiral(angle) + self.std * stream.normal((n, 2), dtype="float64")).astype(np.float32)

    def density(self, x: np.ndarray) -> np.ndarray:
        """p(x) at points (N, 2): shape (N,), float64; a mean over angles, which are closer than the noise."""
        angles = self.first + (self.last - self.first) * (np.arange(ANGLES) + 0.5) / ANGLES
        mixture = _mixture(self.spiral(angles), self.std)
        return np.concatenate([mixture.density(x[i : i + 1000]) for i in range(0, max(1, len(x)), 1000)])

    @property
    def limits(self) -> tuple[float, float]:
        """The range of nearly all coordinates: four standard deviations around the spiral."""
        spiral = self.spiral(np.linspace(self.first, self.last, ANGLES))
        return float(spiral.min()) - 4 * self.std, float(spiral.max()) + 4 * self.std


ANGLES = 600
ROLLS = {"swiss-roll": Roll(0.04)}
DENSITIES: dict[str, Mixture | Roll] = {**MIXTURES, **ROLLS}
"""Distributions whose density is known."""


def make_roll(name: str) -> Dataset:
    """Make the Swiss roll of that name: always the same points x."""
    roll = ROLLS[name]
    spec = Spec(name, {"x": Points(2, roll.limits)})
    parts = [Split(spec.fields, {"x": roll.draw(n, Stream(0, f"{name} {part}"))}) for part, n in SIZES.items()]
    return Dataset(spec, *parts)


def make(name: str) -> Dataset:
    """Make the mixture of that name: always the same points x, with their modes as labels y."""
    mixture = MIXTURES[name]
    modes, dimensions = mixture.centres.shape
    spec = Spec(name, {"x": Points(dimensions, mixture.limits), "y": Labels(modes)})
    splits = []
    for split, size in SIZES.items():
        x, mode = mixture.draw(size, Stream(0, f"{name} {split}"))
        splits.append(Split(spec.fields, {"x": x, "y": mode}))
    return Dataset(spec, *splits)
