"""Whether pictures show what their captions say, for the captioned shapes that the package draws.

The judge learns nothing: it finds the outlines and colours that fit a picture best, as exactly as they were drawn.
"""

import itertools
from collections.abc import Sequence

import numpy as np

from tinygen.data import captioned
from tinygen.data.captioned import COLOURS, NONE, SHAPES, SIDE
from tinygen.data.spec import Spec

MOST = 3
"""Objects that are looked for in a picture: one more than any caption has."""
LEAST_FIT = 0.3
"""An object is there if it leaves at most 1 minus this share of the squares of its own pixels unexplained. An object of
the right outline at 65 % of its brightness is just there."""
PART = 250
"""Pictures that are read at once."""
ASPECTS = ("colour", "shape", "place")


def caption_metrics(spec: Spec, captions: Sequence[str], x: np.ndarray) -> dict[str, float]:
    """Shares of pictures x whose colours, shapes and places are those of their captions, and with all of them right.

    `shuffled_caption_right_rate` is the last of these for the caption of another picture: what a generator that
    ignores its captions reaches. Empty for other data than captioned shapes.
    """
    if spec.name != captioned.NAME:
        return {}
    found = read(x)
    right = rates(found, captions)
    shuffled = rates(found, [*captions[1:], *captions[:1]])
    return right | {"shuffled_caption_right_rate": shuffled["caption_right_rate"]}


def rates(found: np.ndarray, captions: Sequence[str]) -> dict[str, float]:
    """The shares of pictures with the right colours, shapes and places, and with all three, of their objects."""
    judged = np.array([judge(objects, caption) for objects, caption in zip(found, captions, strict=True)])
    shares = {f"{name}_right_rate": float(judged[:, i].mean()) for i, name in enumerate(ASPECTS)}
    return shares | {"caption_right_rate": float(judged.all(axis=1).mean())}


def judge(objects: np.ndarray, caption: str) -> tuple[bool, bool, bool]:
    """Whether all colours, all shapes, and the place of objects (MOST, 5) are those of the caption.

    Each object of the caption is compared with another one of the picture, such that most is right. A picture with
    more or fewer objects than its caption is wrong in everything.
    """
    meaning = captioned.parse(caption)
    there = objects[objects[:, 0] != NONE]
    if len(there) != len(meaning.kinds):
        return False, False, False
    colours = [list(COLOURS).index(colour) for colour, _ in meaning.kinds]
    shapes = [list(SHAPES).index(shape) for _, shape in meaning.kinds]
    orders = (there[list(order)] for order in itertools.permutations(range(len(there))))
    comparisons = [
        (list(each[:, 0]) == colours, list(each[:, 1]) == shapes, _stands(meaning.place, each[:, 3:]))
        for each in orders
    ]
    return max(comparisons, key=lambda each: (sum(each), each))


def _stands(place: str | None, centres: np.ndarray) -> bool:
    """Whether the first of two centres (2, 2), rows and columns, has this place relative to the second."""
    if place is None:
        return True
    down, right = (centres[1] - centres[0]).tolist()
    along, across = (down, right) if place in ("above", "below") else (right, down)
    return (along if place in ("above", "left of") else -along) > abs(across)


def read(x: np.ndarray) -> np.ndarray:
    """The objects (N, MOST, 5) in pictures x (N, SIDE, SIDE, 3) in [0, 1], numbered as `captioned.FACTORS` says.

    The outline and the colour that leave the smallest sum of squares come first; the next one is sought in the pixels
    that it does not touch.
    """
    parts = [_read(255 * x[start : start + PART]) for start in range(0, len(x), PART)]
    return np.concatenate(parts) if parts else np.zeros((0, MOST, len(captioned.FACTORS)), np.int64)


def _read(x: np.ndarray) -> np.ndarray:
    numbers, covers = captioned.outlines()
    flat, shades = covers.reshape(len(covers), -1), np.array(list(COLOURS.values()), np.float32)
    own = (shades**2).sum(axis=1)[:, None] * (flat**2).sum(axis=1)  # the squares of each outline in each colour
    left = x.reshape(len(x), SIDE * SIDE, 3).astype(np.float32)
    found = np.full((len(x), MOST, len(captioned.FACTORS)), NONE)
    there = np.ones(len(x), bool)
    for k in range(MOST):
        coloured = (left @ shades.T).transpose(0, 2, 1).reshape(-1, SIDE * SIDE)
        products = (coloured @ flat.T).reshape(len(x), *own.shape)
        explained = 2 * products - own  # by how much each one lowers the sum of squares
        colour, outline = np.divmod(explained.reshape(len(x), -1).argmax(axis=1), len(flat))
        there &= explained[np.arange(len(x)), colour, outline] > LEAST_FIT * own[colour, outline]
        found[there, k] = np.concatenate([colour[:, None], numbers[outline]], axis=1)[there]
        left = left * (flat[outline] == 0)[..., None]
    return found
