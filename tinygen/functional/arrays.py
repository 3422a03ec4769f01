"""Functions that join, pad, look up and contract arrays."""

from typing import Literal

from tinygen.errors import ShapeError, UsageError
from tinygen.ops import linear, shaping


def concatenate(tensors, axis: int = 0):
    """A sequence of arrays joined along an axis."""
    return shaping.concatenate(*tensors, axis=axis)


def pad(x, widths, value: float = 0.0, *, mode: Literal["constant", "reflect"] = "constant"):
    """x with ((before, after), ...) elements around it, one pair for each axis: a constant value, or mirrored.

    Mode "reflect" does not repeat the edge: 0 1 2 becomes 2 1 0 1 2 1. So it must add fewer elements than there are.
    """
    if len(widths) != x.ndim or any(len(pair) != 2 for pair in widths):
        raise ShapeError(f"pad: widths {widths} are not one (before, after) for each axis of {x.shape}")
    widths = tuple(map(tuple, widths))
    if mode == "reflect":
        return shaping.reflect_pad(x, widths=widths)
    if mode != "constant":
        raise UsageError(f'pad: mode is "constant" or "reflect", not {mode!r}')
    return shaping.pad(x, widths=widths, value=value)


def embedding(indices, weight):
    """Rows (..., D) of a weight (classes, D) at integer indices (...)."""
    shaping.check_classes("embedding", indices, weight.shape[0])
    return weight[indices]


def einsum(subscripts: str, *operands):
    """Einstein summation with every axis written out, such as `einsum("bij,bjk->bik", a, b)`."""
    return linear.einsum(*operands, subscripts=subscripts)
