"""Images made smaller and larger by a whole factor: with the bicubic filter of Pillow, and by networks in tiles."""

from collections.abc import Callable
from typing import Any

import numpy as np

from tinygen import functional as F
from tinygen.backend import to_numpy
from tinygen.errors import UsageError


def smaller(x: Any, scale: int):
    """Images (N, H, W, C) with both sides divided by `scale`, low-pass filtered against aliasing.

    Values as of Pillow's `resize` with BICUBIC for images of floats; they may leave [0, 1] beside edges.
    """
    refuse_other_sizes(x.shape[1:3], scale)
    return F.interpolate(x, (x.shape[1] // scale, x.shape[2] // scale), mode="bicubic", antialias=True)


def larger(x: Any, scale: int):
    """Images (N, H, W, C) with both sides multiplied by `scale`; values as of Pillow's `resize` with BICUBIC."""
    # Where the size grows, `antialias` only chooses the kernel of Pillow, a = -1/2, and its treatment of edges.
    return F.interpolate(x, (scale * x.shape[1], scale * x.shape[2]), mode="bicubic", antialias=True)


def refuse_other_sizes(size: tuple[int, ...], scale: int) -> None:
    """UsageError if a scale does not divide the height and the width of images."""
    height, width = size
    if height % scale or width % scale:
        divisors = [n for n in (2, 4) if not (height % n or width % n)]
        remedy = f"--scale {divisors[-1]}" if divisors else f"--size {_near(width, scale)}x{_near(height, scale)}"
        raise UsageError(f"--scale {scale} needs sides divisible by {scale}, not {height}x{width}; use {remedy}")


def _near(side: int, scale: int) -> int:
    """The largest side of at most this length, but at least `scale`, that the scale divides."""
    return max(scale, side // scale * scale)


def as_numpy(image: Any) -> np.ndarray:
    """A result clipped to [0, 1], as in a picture file, on the CPU."""
    return to_numpy(F.clip(image, 0, 1))


def in_tiles(function: Callable[[Any], np.ndarray], x: Any, *, side: int, margin: int, scale: int) -> np.ndarray:
    """Images (N, H, W, C) that a function enlarges, tile by tile, so that memory is bounded for images of any size.

    Where a result depends on no more than `margin` pixels in each direction, tiles fit without a seam.
    """
    rows = []
    for top in range(0, x.shape[1], side):
        row = []
        for left in range(0, x.shape[2], side):
            (y, inner_y), (z, inner_z) = (
                _window(start, side, margin, length, scale)
                for start, length in zip((top, left), x.shape[1:3], strict=True)
            )
            row.append(function(x[:, y, z])[:, inner_y, inner_z])
        rows.append(np.concatenate(row, axis=2))
    return np.concatenate(rows, axis=1)


def _window(start: int, side: int, margin: int, length: int, scale: int) -> tuple[slice, slice]:
    """A tile with its margin along an axis, and where the tile lies in that part when it has been enlarged."""
    first, end = max(0, start - margin), min(length, start + side)
    return slice(first, min(length, end + margin)), slice(scale * (start - first), scale * (end - first))
