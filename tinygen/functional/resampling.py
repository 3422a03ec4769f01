"""Images, sequences and volumes (N, ..., C) at another size, and images read at given places."""

import math
from typing import Literal

from tinygen.autograd import array_of
from tinygen.backend import array_module
from tinygen.errors import ShapeError, UsageError
from tinygen.functional.convolution import IntPair, pair
from tinygen.ops.arithmetic import clip, where
from tinygen.ops.linear import matmul
from tinygen.ops.rounding import floor, remainder
from tinygen.ops.rounding import round as nearest_whole
from tinygen.ops.shaping import along, broadcast_to, reshape

Mode = Literal["nearest", "nearest-exact", "linear", "bilinear", "trilinear", "bicubic"]
AXES = {"linear": 1, "bilinear": 2, "trilinear": 3, "bicubic": 2}


def interpolate(
    x, size=None, *, factor=None, mode: Mode = "nearest", antialias: bool = False, align_corners: bool = False
):
    """Sequences, images or volumes (N, ..., C) at another `size`, a length for each axis between, or `factor` times it.

    Pixels are half-pixel squares; with `align_corners` the centres of the outer ones keep their places. "nearest"
    takes pixel floor(i * old / new), as PyTorch does, "nearest-exact" the one with the nearest centre. "linear",
    "bilinear" and "trilinear" are one thing on one, two and three axes; "bicubic" has the kernel of Keys (1981) with
    a = -3/4. `antialias` widens the kernel where the size shrinks, and takes a = -1/2 (bilinear and bicubic).
    """
    lengths = tuple(x.shape[1:-1])
    if not 1 <= len(lengths) <= 3:
        raise ShapeError(f"interpolate: takes (N, T, C), (N, H, W, C) or (N, D, H, W, C), not {x.shape}")
    if not mode.startswith("nearest") and AXES.get(mode) != len(lengths):
        raise UsageError(f"interpolate: mode {mode!r} is not one for {len(lengths)} axes; see its documentation")
    for axis, new in enumerate(_new_lengths(lengths, size, factor), 1):
        if mode.startswith("nearest"):
            x = _nearest(x, axis, new, 0.5 if mode == "nearest-exact" else 0.0)
        else:
            x = _weighed(x, axis, _weights(array_of(x), axis, new, mode == "bicubic", antialias, align_corners))
    return x


def _new_lengths(lengths, size, factor) -> list[int]:
    """The new length of each axis."""
    if (size is None) == (factor is None):
        raise UsageError("interpolate: give either size or factor")
    given = size if factor is None else factor
    given = tuple(given) if isinstance(given, tuple | list) else (given,) * len(lengths)
    new = given if factor is None else tuple(math.floor(n * f) for n, f in zip(lengths, given, strict=False))
    if len(new) != len(lengths) or any(int(n) != n or n < 1 for n in new):
        raise UsageError(f"interpolate: a size {new} is not a whole number of at least 1 for each of {lengths}")
    return [int(n) for n in new]


def _nearest(x, axis: int, new: int, centre: float):
    """Elements floor((i + centre) * old / new) along an axis."""
    old = x.shape[axis]
    if new % old == 0:
        spread = reshape(x, shape=(*x.shape[: axis + 1], 1, *x.shape[axis + 1 :]))
        shape = (*x.shape[: axis + 1], new // old, *x.shape[axis + 1 :])
        return reshape(broadcast_to(spread, shape=shape), shape=(*x.shape[:axis], new, *x.shape[axis + 1 :]))
    xp = array_module(array_of(x))
    return x[along(x.ndim, axis, xp.floor((xp.arange(new) + centre) * (old / new)).astype("int64"))]


def _weighed(x, axis: int, weights):
    """Weighted sums (new, old) of the elements along an axis."""
    before, after = math.prod(x.shape[:axis]), math.prod(x.shape[axis + 1 :])
    y = matmul(weights, reshape(x, shape=(before, x.shape[axis], after)))
    return reshape(y, shape=(*x.shape[:axis], len(weights), *x.shape[axis + 1 :]))


def _weights(data, axis: int, new: int, cubic: bool, antialias: bool, align_corners: bool):
    """The matrix (new, old) of an interpolation along an axis."""
    xp, old = array_module(data), data.shape[axis]
    places = xp.arange(new).astype("float64")
    places = places * ((old - 1) / max(new - 1, 1)) if align_corners else (places + 0.5) * (old / new) - 0.5
    offsets = places[:, None] - xp.arange(old)
    if antialias:
        offsets = offsets / max(old / new, 1)
        weights = _cubic(xp, offsets, -0.5) if cubic else xp.maximum(1 - xp.abs(offsets), 0)
        weights = weights / weights.sum(axis=1, keepdims=True)
    elif cubic:
        weights = xp.zeros((new, old))
        for tap in range(-1, 3):  # beyond the edge, the outermost pixel is repeated
            whole = xp.floor(places) + tap
            is_there = xp.clip(whole, 0, old - 1)[:, None] == xp.arange(old)
            weights = weights + _cubic(xp, places - whole, -0.75)[:, None] * is_there
    else:
        weights = xp.maximum(1 - xp.abs(xp.clip(places, 0, old - 1)[:, None] - xp.arange(old)), 0)
    return weights.astype(data.dtype)


def _cubic(xp, offset, a: float):
    """The interpolation kernel of Keys (1981), equation 15, with its parameter a."""
    d = xp.abs(offset)
    near, far = ((a + 2) * d - (a + 3)) * d * d + 1, ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return xp.where(d <= 1, near, xp.where(d < 2, far, 0.0))


def resize_bilinear2d(x, size: IntPair):
    """Images (N, H, W, C) resized to `size` (H, W) by interpolation between the four nearest pixels.

    Pixels are half-pixel squares (PyTorch's align_corners=False), and there is no filter against aliasing: reduce by
    more than two with `avg_pool2d`, or with `interpolate` and `antialias`.
    """
    if x.ndim != 4:
        raise ShapeError(f"resize_bilinear2d: takes images (N, H, W, C), not {x.shape}")
    return interpolate(x, pair(size), mode="bilinear")


def grid_sample(
    x,
    grid,
    *,
    mode: Literal["bilinear", "nearest"] = "bilinear",
    padding: Literal["zeros", "border", "reflection"] = "zeros",
    align_corners: bool = False,
):
    """Images x (N, H, W, C) read at the places of a grid (N, OH, OW, 2): (N, OH, OW, C) (Jaderberg et al. 2015).

    A place is (x, y), from -1 at the left and upper edge to 1 at the others; with `align_corners` at the centres of the
    outermost pixels. `padding` says what lies beyond: zeros, the outermost pixels, or the mirrored image.
    """
    if x.ndim != 4 or grid.ndim != 4 or len(x) != len(grid) or grid.shape[-1] != 2:
        raise ShapeError(f"grid_sample: takes (N, H, W, C) and (N, OH, OW, 2), not {x.shape} and {grid.shape}")
    if mode not in ("bilinear", "nearest") or padding not in ("zeros", "border", "reflection"):
        raise UsageError(f"grid_sample: there is no mode {mode!r} with padding {padding!r}; see its documentation")
    column, row = (
        _place(grid[..., i], length, padding, align_corners) for i, length in enumerate((x.shape[2], x.shape[1]))
    )
    if mode == "nearest":
        return _pixels(x, nearest_whole(array_of(row)), nearest_whole(array_of(column)))
    top, left = floor(array_of(row)), floor(array_of(column))
    down, right = (row - top)[..., None], (column - left)[..., None]
    upper = _pixels(x, top, left) * (1 - right) + _pixels(x, top, left + 1) * right
    lower = _pixels(x, top + 1, left) * (1 - right) + _pixels(x, top + 1, left + 1) * right
    return upper * (1 - down) + lower * down


def _place(coordinate, length: int, padding: str, align_corners: bool):
    """Coordinates from -1 to 1 as places among `length` pixels, the first of which is at 0."""
    if align_corners:
        low, span = 0.0, length - 1
        place = (coordinate + 1) * (0.5 * span)
    else:
        low, span = -0.5, length
        place = (coordinate + 1) * (0.5 * span) - 0.5
    if padding == "reflection" and span:
        wave = remainder(place - low, 2.0 * span)
        place = where(array_of(wave) > span, 2.0 * span - wave, wave) + low
    return place if padding == "zeros" else clip(place, low=0.0, high=float(length - 1))


def _pixels(x, rows, columns):
    """The pixels of images x (N, H, W, C) at rows and columns (N, ...), which are whole numbers; 0 outside."""
    n, height, width, channels = x.shape
    xp = array_module(array_of(x))
    inside = (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    rows, columns = (xp.where(inside, index, 0).astype("int64") for index in (rows, columns))
    first = (xp.arange(n) * (height * width)).reshape((n,) + (1,) * (rows.ndim - 1))
    pixels = reshape(x, shape=(n * height * width, channels))[first + rows * width + columns]
    return where(inside[..., None], pixels, 0.0)
