"""Translation of pictures piece by piece, so that memory depends on the size of a tile."""

from collections.abc import Callable
from typing import Any

import numpy as np

OVERLAP = 8
"""Neighbouring tiles share this part, an eighth, of their sides."""


def translated(translate: Callable[[np.ndarray], np.ndarray], x: np.ndarray, tile: int) -> np.ndarray:
    """The translation of a picture (H, W, ...), at once or, if a side is longer than `tile`, by overlapping tiles.

    `translate` maps pictures (1, h, w, ...) to such of the same size. Where tiles overlap, intensities fade from one
    tile to the next; of classes, integers, each pixel has that of the tile whose edge is farther away.
    """
    if max(x.shape[:2]) <= tile:
        return translate(x[None])[0]
    result: Any = None
    total, overlap = np.zeros(x.shape[:2], np.float32), tile // OVERLAP
    for top in starts(x.shape[0], tile, overlap):
        for left in starts(x.shape[1], tile, overlap):
            part = translate(x[None, top : top + tile, left : left + tile])[0]
            if result is None:
                result = np.zeros((*x.shape[:2], *part.shape[2:]), part.dtype)
            place = slice(top, top + part.shape[0]), slice(left, left + part.shape[1])
            weight = ramp(part.shape[0], overlap)[:, None] * ramp(part.shape[1], overlap)
            if part.dtype.kind == "f":
                result[place] += weight[..., None] * part
                total[place] += weight
            else:
                nearer = weight > total[place]
                result[place][nearer], total[place][nearer] = part[nearer], weight[nearer]
    return result / total[..., None] if result.dtype.kind == "f" else result


def starts(length: int, tile: int, overlap: int) -> range:
    """Where tiles begin along a side; the last one is as short as the rest, but longer than the overlap."""
    return range(0, max(1, length - overlap), tile - overlap)


def ramp(length: int, overlap: int) -> np.ndarray:
    """Weights (length,) of the pixels along a tile's side, which fall towards both ends over the overlap."""
    from_edge = np.minimum(np.arange(length), np.arange(length)[::-1]) + 1
    return np.minimum(1, from_edge / (overlap + 1)).astype(np.float32)
