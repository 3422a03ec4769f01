"""Shapes in other words: axes of length 1 added and removed, axes exchanged, parts, repetitions."""

from tinygen.errors import ShapeError
from tinygen.ops.reduction import axes_of
from tinygen.ops.shaping import along, broadcast_to, concatenate, reshape, split, transpose


def unsqueeze(x, axis: int):
    """x with a new axis of length 1 at a position."""
    if not -x.ndim - 1 <= axis <= x.ndim:
        raise ShapeError(f"unsqueeze: there is no position {axis} in a shape {x.shape}")
    position = axis % (x.ndim + 1)
    return reshape(x, shape=(*x.shape[:position], 1, *x.shape[position:]))


def squeeze(x, axis=None):
    """x without axes of length 1: all of them, or those given, of which longer ones stay."""
    axes = axes_of(x.shape, axis)
    return reshape(x, shape=tuple(n for i, n in enumerate(x.shape) if n != 1 or i not in axes))


def expand(x, shape):
    """x repeated to a larger shape, as NumPy broadcasts; -1 keeps a length."""
    lead = len(shape) - x.ndim
    old = (*(1 for _ in range(lead)), *x.shape)
    return broadcast_to(x, shape=tuple(o if n == -1 else n for n, o in zip(shape, old, strict=lead >= 0)))


def tile(x, times):
    """x repeated side by side, `times` of each axis; further axes are added in front."""
    lead = max(len(times) - x.ndim, 0)
    times = (1,) * (lead + x.ndim - len(times)) + tuple(times)
    x = reshape(x, shape=(1,) * lead + tuple(x.shape))
    spread = reshape(x, shape=tuple(length for n in x.shape for length in (1, n)))
    shape = tuple(length for t, n in zip(times, x.shape, strict=True) for length in (t, n))
    return reshape(broadcast_to(spread, shape=shape), shape=tuple(t * n for t, n in zip(times, x.shape, strict=True)))


def chunk(x, chunks: int, axis: int = 0):
    """At most `chunks` parts along an axis, of equal length; the last may be shorter."""
    (axis,) = axes_of(x.shape, axis)
    if chunks < 1:
        raise ShapeError(f"chunk: {chunks} parts cannot be made of an array {x.shape}")
    length = x.shape[axis]
    size = max(-(-length // chunks), 1)
    return split(x, sizes=tuple(min(size, length - start) for start in range(0, length, size)) or (0,), axis=axis)


def swapaxes(x, axis1: int, axis2: int):
    """x with two axes exchanged."""
    ((first,), (second,)) = axes_of(x.shape, axis1), axes_of(x.shape, axis2)
    order = list(range(x.ndim))
    order[first], order[second] = second, first
    return transpose(x, axes=tuple(order))


def roll(x, shift: int, axis: int):
    """x with its elements moved by `shift` along an axis; those that leave at one end enter at the other."""
    (axis,) = axes_of(x.shape, axis)
    cut = -shift % max(x.shape[axis], 1)
    parts = slice(cut, None), slice(0, cut)
    return concatenate(*(x[along(x.ndim, axis, part)] for part in parts), axis=axis)
