"""Functions that join, pad, look up and contract arrays."""

from operator import index
from typing import Literal

import numpy as np

from tinygen.errors import ArgumentError, ShapeError, UsageError
from tinygen.ops import linear, shaping


def concatenate(tensors, axis: int = 0):
    """A sequence of arrays joined along an axis."""
    if not isinstance(axis, int | np.integer):
        raise ArgumentError("concatenate: axis is a whole number; give the arrays as one list, concatenate([a, b])")
    return shaping.concatenate(*tensors, axis=axis)


def pad(x, widths, value: float = 0.0, *, mode: Literal["constant", "reflect", "replicate", "circular"] = "constant"):
    """x with ((before, after), ...) elements around it, one pair for each axis: a constant value, or its own ones.

    Mode "reflect" mirrors it without its edge: 0 1 2 becomes 2 1 0 1 2 1. So it must add fewer elements than there are.
    "replicate" repeats the outermost elements, "circular" those of the other end, at most once around.
    """
    widths = _pairs(widths, x.shape)
    if mode == "reflect":
        return shaping.reflect_pad(x, widths=widths)
    if mode in ("replicate", "circular"):
        for axis, (before, after) in enumerate(widths):
            x = _with_own(x, axis, before, after, mode == "circular") if before or after else x
        return x
    if mode != "constant":
        raise UsageError(f'pad: mode is "constant", "reflect", "replicate" or "circular", not {mode!r}')
    return shaping.pad(x, widths=widths, value=value)


def _with_own(x, axis: int, before: int, after: int, circular: bool):
    """x with its own elements before and after it along an axis: those of the other end, or the outermost one."""
    length = x.shape[axis]
    if length < (max(before, after) if circular else 1):
        raise ShapeError(f"pad: {before} and {after} elements cannot come from axis {axis} of {x.shape}")

    def part(start: int, stop: int, count: int):
        if circular:
            return x[shaping.along(x.ndim, axis, slice(start, start + count))]
        edge = x[shaping.along(x.ndim, axis, slice(stop, stop + 1))]
        return shaping.broadcast_to(edge, shape=(*x.shape[:axis], count, *x.shape[axis + 1 :]))

    parts = part(length - before, 0, before), x, part(0, length - 1, after)
    return shaping.concatenate(*(p for p, n in zip(parts, (before, 1, after), strict=True) if n), axis=axis)


def _pairs(widths, shape) -> tuple[tuple[int, int], ...]:
    """Widths of a margin as one (before, after) for each axis."""
    try:
        pairs = tuple((index(before), index(after)) for before, after in widths)
    except TypeError:
        pairs = ()
    if len(pairs) != len(shape) or min(map(min, pairs), default=0) < 0:
        example = ((0, 0),) * (len(shape) - 1) + ((1, 1),)
        raise ShapeError(
            f"pad: widths {widths} are not one (before, after) for each axis of {shape}; for the last axis alone "
            f"write {example}, and for fewer elements x[..., 1:-1]"
        )
    return pairs


def embedding(indices, weight):
    """Rows (..., D) of a weight (classes, D) at integer indices (...)."""
    shaping.check_classes("embedding", indices, weight.shape[0])
    return weight[indices]


def einsum(subscripts: str, *operands):
    """Einstein summation with every axis written out, such as `einsum("bij,bjk->bik", a, b)`."""
    return linear.einsum(*operands, subscripts=subscripts)
