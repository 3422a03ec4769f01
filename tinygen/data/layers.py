"""Sprites on random backgrounds: a coloured shape over a smooth pattern, with binary attributes and the true mask."""

import numpy as np

from tinygen.data import sprites
from tinygen.data.dataset import PARTS, Dataset
from tinygen.data.fields import Attributes, Image, SegmentMap
from tinygen.data.spec import Spec
from tinygen.data.split import Split
from tinygen.random import Stream

NAME = "layered-sprites"
SIZES = {"train": 4000, "valid": 500, "test": 1000}
NAMES = (*sprites.SHAPES, *sprites.COLOURS)
RANGES = {name: (0, field.classes or 0) for name, field in sprites.FACTORS.items()}
RANGES |= {"size": (1, 4), "column": (3, 5), "row": (3, 5)}
"""The range of each factor of the sprites, which are large and near the centre."""
CELLS = 3
"""Random colours along each side of a background, between which it is interpolated."""
COVERED = 0.5
"""Share of a pixel that the sprite covers, from which on the mask has it."""


def make() -> Dataset:
    """Sprites as `sprites` draws them, each on a background of its own; the same in every run."""
    side = sprites.SIDE
    spec = Spec(
        NAME,
        {
            "x": Image(side, side, 3, "rgb"),
            "attributes": Attributes(NAMES, binary=True),
            "mask": SegmentMap(side, side, names=("background", "sprite")),
        },
    )
    return Dataset(spec, *(Split(spec.fields, columns(SIZES[part], Stream(0, f"{NAME} {part}"))) for part in PARTS))


def columns(n: int, stream: Stream) -> dict[str, np.ndarray]:
    """n random examples, as a split stores them."""
    factors = {name: low + stream.integers(high - low, n) for name, (low, high) in RANGES.items()}
    cover = sprites.cover(**{name: number for name, number in factors.items() if name != "colour"})[..., None]
    colour = np.array(list(sprites.COLOURS.values()))[factors["colour"]][:, None, None]
    shapes, colours = np.eye(len(sprites.SHAPES)), np.eye(len(sprites.COLOURS))
    return {
        "x": np.rint(cover * colour + (1 - cover) * backgrounds(n, stream)).astype(np.uint8),
        "attributes": np.concatenate([shapes[factors["y"]], colours[factors["colour"]]], axis=1).astype(np.uint8),
        "mask": (cover[..., 0] >= COVERED).astype(np.uint8),
    }


def backgrounds(n: int, stream: Stream) -> np.ndarray:
    """Patterns (n, SIDE, SIDE, 3) in 0 to 255: random colours of `CELLS` by `CELLS` points, interpolated linearly."""
    places = np.linspace(0, CELLS - 1, sprites.SIDE)
    along = np.maximum(0, 1 - abs(places[:, None] - np.arange(CELLS)))
    colours = 255 * stream.uniform((n, CELLS, CELLS, 3), dtype="float64")
    return np.einsum("ri,nijc,kj->nrkc", along, colours, along, optimize=True)
