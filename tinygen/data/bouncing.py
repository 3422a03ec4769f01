"""Clips of the shipped digits, black and white, that move, and bounce off the walls in a random direction.

They are like Moving MNIST (Srivastava et al. 2015, arXiv:1502.04681) with the random bounces of Denton & Fergus 2018
(arXiv:1802.07687): what comes next is certain between two bounces only.
"""

from dataclasses import dataclass

import numpy as np

from tinygen.data.dataset import PARTS, Dataset
from tinygen.data.fields import Clip
from tinygen.data.spec import Spec
from tinygen.data.split import Split
from tinygen.random import Stream

DIGITS = "digits8x8"


@dataclass(frozen=True)
class Bouncing:
    """Clips of some digits in a square."""

    digits: int
    side: int
    """Pixels along each side of a frame."""
    frames: int
    speed: int
    """The most pixels that a digit moves in a frame, along each axis."""
    sizes: tuple[int, int, int]
    """Clips of train, valid and test."""


SETS = {
    "bouncing-digits": Bouncing(2, 24, 10, 2, (4000, 400, 800)),
    "bouncing-digit": Bouncing(1, 12, 5, 1, (2000, 200, 400)),
}


def make(name: str, digits: Dataset) -> Dataset:
    """The data set of this name: the same in every run; each part shows digits of that part alone."""
    rules = SETS[name]
    spec = Spec(name, {"x": Clip(rules.frames, rules.side, rules.side, 1, "binary")})
    splits = []
    for part, n in zip(PARTS, rules.sizes, strict=True):
        stream, pictures = Stream(0, f"{name} {part}"), getattr(digits, part).values("x")[..., 0] >= 0.5
        x = np.zeros((n, rules.frames, rules.side, rules.side, 1), np.uint8)
        for _ in range(rules.digits):
            chosen = pictures[stream.integers(len(pictures), n)]
            for frame, corner in enumerate(paths(rules, n, chosen.shape[1], stream)):
                _put(x[:, frame, :, :, 0], chosen, corner)
        splits.append(Split(spec.fields, {"x": x}))
    return Dataset(spec, *splits)


def paths(rules: Bouncing, n: int, size: int, stream: Stream) -> np.ndarray:
    """The upper left corners (frames, n, 2) of n digits of this size.

    A digit keeps its velocity until that would take it through a wall. Then it draws a new one, whose part that would
    do so too is turned round.
    """
    free = rules.side - size
    corner, velocity = stream.integers(free + 1, (n, 2)), _velocities(rules.speed, n, stream)
    corners = [corner]
    for _ in range(1, rules.frames):
        drawn = _velocities(rules.speed, n, stream)
        velocity = np.where(_outside(corner + velocity, free).any(axis=1, keepdims=True), drawn, velocity)
        velocity = np.where(_outside(corner + velocity, free), -velocity, velocity)
        corner = corner + velocity
        corners.append(corner)
    return np.stack(corners)


def _outside(corner: np.ndarray, free: int) -> np.ndarray:
    return (corner < 0) | (corner > free)


def _velocities(speed: int, n: int, stream: Stream) -> np.ndarray:
    """Velocities (n, 2), any but zero, equally likely."""
    each = np.arange(-speed, speed + 1)
    moving = np.array([(row, column) for row in each for column in each if row or column])
    return moving[stream.integers(len(moving), n)]


def _put(frames: np.ndarray, digits: np.ndarray, corners: np.ndarray) -> None:
    """Draw digits (N, S, S) white into frames (N, H, W) at their corners (N, 2)."""
    place = corners[:, :, None] + np.arange(digits.shape[1])
    at = np.arange(len(frames))[:, None, None], place[:, 0, :, None], place[:, 1, None, :]
    frames[at] = np.maximum(frames[at], digits * np.uint8(255))
