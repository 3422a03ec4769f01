"""Classes of segment maps that are drawn in colours: one colour for each class."""

from collections.abc import Iterable

import numpy as np

MANY = 256
"""Most different colours that can all be classes; of more, some come from compression or resizing."""
NEAR = 40
"""Colours that differ by less than this in each channel count as one."""
SMALLEST_SHARE, PEAK = 0.003, 0.25
"""Least share of all pixels, and of the pixels of similar colours, that have about the colour of a class."""


def class_colours(arrays: Iterable[np.ndarray]) -> np.ndarray:
    """The colours (classes, 3) of the classes of maps (N, H, W, 3) of integers up to 255.

    Up to 256 different colours are a class each, in sorted order. Of more, those are classes around which colours
    crowd, the most frequent first; the colours between them, which blur or compression mixed, are none.
    """
    used, counts = np.unique(np.concatenate([_keys(x).ravel() for x in arrays]), return_counts=True)
    colours = _colours(used)
    if len(colours) <= MANY:
        return colours
    keys, cube = np.unique(_keys(colours // 16), return_inverse=True)  # cubes of 16 x 16 x 16 colours
    left, found = np.ones(len(colours), bool), []
    while True:
        crowd = np.bincount(cube[left], counts[left], len(keys))
        if crowd.max() < SMALLEST_SHARE * counts.sum():
            break
        inside = left & (cube == crowd.argmax())
        centre = np.rint(np.average(colours[inside], axis=0, weights=counts[inside])).astype(np.int64)
        near = left & (abs(colours - centre) < NEAR).all(axis=1)
        if crowd.max() >= PEAK * counts[near].sum():
            found.append((counts[near].sum(), *centre))
        left &= ~(near | inside)
    return np.array([colour for _, *colour in sorted(found, reverse=True)], np.int64).reshape(-1, 3)


def classes_of(x: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """The number (N, H, W) of the nearest of some colours for each pixel of maps (N, H, W, 3)."""
    used, places = np.unique(_keys(x), return_inverse=True)
    nearest = ((_colours(used)[:, None] - colours) ** 2).sum(axis=2).argmin(axis=1)
    return nearest[places].reshape(x.shape[:3])


def _keys(colours: np.ndarray) -> np.ndarray:
    """One integer (...) for each colour (..., 3)."""
    red, green, blue = np.moveaxis(colours.astype(np.int64), -1, 0)
    return red << 16 | green << 8 | blue


def _colours(keys: np.ndarray) -> np.ndarray:
    """The colours (..., 3) of integers that `_keys` returned."""
    return np.stack([keys >> 16, keys >> 8 & 255, keys & 255], axis=-1)
