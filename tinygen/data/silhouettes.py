"""Textured silhouettes: smooth random outlines on black, filled with a pattern of two colours, and their masks."""

import math

import numpy as np

from tinygen.data.dataset import PARTS, Dataset
from tinygen.data.fields import Image, SegmentMap
from tinygen.data.spec import Spec
from tinygen.data.split import Split
from tinygen.random import Stream

NAME = "textured-silhouettes"
SIDE = 32
SIZES = {"train": 2000, "valid": 200, "test": 200}
RADIUS = (7.0, 10.0)
"""Range of the mean radius of an outline, in pixels."""
OFFSET = 3.0
"""How far from the middle of the picture its centre may be, along each side, in pixels."""
WAVES = {2: 0.28, 3: 0.2, 4: 0.12, 5: 0.08}
"""The largest amplitude of each harmonic of an outline, relative to the mean radius."""
STRIPE = 4
"""Width of a stripe, and side of a check, in pixels."""
PATTERNS = ("plain", "rows", "columns", "checks")
BRIGHTEST = 0.9
"""The largest of the three values of every colour: none is near black."""


def make() -> Dataset:
    """The data set, the same in every run: shape, pattern and colours of a picture are independent."""
    mask = SegmentMap(SIDE, SIDE, names=("ground", "shape"))
    spec = Spec(NAME, {"x": Image(SIDE, SIDE, 3, "rgb"), "mask": mask})
    return Dataset(spec, *(Split(spec.fields, columns(SIZES[part], Stream(0, f"{NAME} {part}"))) for part in PARTS))


def columns(n: int, stream: Stream) -> dict[str, np.ndarray]:
    """n random examples, as a split stores them. The mask has the pixels of which at least half is covered."""
    cover = outlines(n, stream)[..., None]
    patterns = stream.integers(len(PATTERNS), n)
    x = cover * textures(patterns, bright_colours((n, 2), stream))
    return {"x": np.rint(255 * x).astype(np.uint8), "mask": (cover[..., 0] >= 0.5).astype(np.uint8)}


def outlines(n: int, stream: Stream) -> np.ndarray:
    """How much of each pixel random shapes cover, from 0 to 1: (n, SIDE, SIDE).

    The radius of an outline at angle t is R (1 + sum_k a_k cos(k t + p_k)), with random R, a_k and phases p_k.
    """
    middle = SIDE / 2 + OFFSET * (2 * stream.uniform((n, 2)) - 1)
    low, high = RADIUS
    mean = low + (high - low) * stream.uniform((n, 1, 1))
    places = np.arange(SIDE, dtype=np.float32) + 0.5
    right, down = places - middle[:, :1, None], (places - middle[:, 1:])[:, :, None]
    angle, radius = np.arctan2(down, right), np.float32(1)
    for wave, largest in WAVES.items():
        amplitude, turn = stream.uniform((2, n, 1, 1))
        radius = radius + largest * amplitude * np.cos(wave * angle + math.tau * turn)
    return (0.5 + mean * radius - np.hypot(right, down)).clip(0, 1)


def textures(patterns: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """Pictures (N, SIDE, SIDE, 3) full of patterns (N,) of two colours (N, 2, 3) each."""
    odd = np.arange(SIDE) // STRIPE % 2
    rows, columns = np.meshgrid(odd, odd, indexing="ij")
    which = np.stack([np.zeros_like(rows), rows, columns, rows ^ columns])[patterns]
    return colours[np.arange(len(patterns))[:, None, None], which]


def bright_colours(shape: tuple[int, ...], stream: Stream) -> np.ndarray:
    """Random colours (*shape, 3) whose largest value is `BRIGHTEST`."""
    drawn = stream.uniform((*shape, 3))
    return BRIGHTEST * drawn / drawn.max(axis=-1, keepdims=True)
