"""Operations that move elements: shapes, slices, indices. They take any dtype."""

import math

import numpy as np

from tinygen.autograd import Variable, sum_to
from tinygen.backend import array_module, device_of, is_array, kernel
from tinygen.backend.capture import replayed
from tinygen.errors import DtypeError, ShapeError
from tinygen.primitive import primitive


@primitive(indices="all", views=True)
def reshape(xp, x, *, shape):
    """The same elements in another shape; one length may be -1."""
    if not x.size and -1 in shape and 0 in shape:
        raise ShapeError(f"reshape: the length -1 in {shape} of an empty array {x.shape} can be any number: give it")
    return xp.reshape(x, shape)


reshape.vjp(lambda g, y, x, *, shape: g.reshape(x.shape))


@primitive(indices="all", views=True)
def transpose(xp, x, *, axes):
    """x with its axes in another order."""
    return xp.transpose(x, axes)


transpose.vjp(lambda g, y, x, *, axes: g.transpose(tuple(np.argsort([i % len(axes) for i in axes]).tolist())))


@primitive(indices="all", views=True)
def broadcast_to(xp, x, *, shape):
    """x repeated to a larger shape, as NumPy broadcasts."""
    return x if x.shape == tuple(shape) else xp.broadcast_to(x, shape)


broadcast_to.vjp(lambda g, y, x, *, shape: sum_to(g, x.shape))


@primitive(indices="all", views=True)
def flip(xp, x, *, axis=None):
    """Elements in reverse order along axes."""
    return kernel("flip", device_of(x))(x, axis)


flip.vjp(lambda g, y, x, *, axis=None: flip(g, axis=axis))


def along(ndim: int, axis: int, part: slice) -> tuple[slice, ...]:
    """An index that selects a part along one axis, and everything along the others."""
    return (slice(None),) * (axis % ndim) + (part,)


@primitive(indices="all")
def concatenate(xp, *xs, axis=0):
    """Arrays joined along an axis."""
    return xp.concatenate(xs, axis=axis)


@concatenate.vjp
def _(g, y, *xs, axis=0):
    ends = np.cumsum([x.shape[axis] for x in xs]).tolist()
    return tuple(g[along(len(x.shape), axis, slice(end - x.shape[axis], end))] for x, end in zip(xs, ends, strict=True))


def stack(tensors, axis=0):
    """Arrays of one shape joined along a new axis."""
    tensors = list(tensors)
    if not tensors or not -tensors[0].ndim - 1 <= axis <= tensors[0].ndim:
        raise ShapeError(f"stack: {len(tensors)} arrays cannot be joined along a new axis {axis}")
    position = axis % (tensors[0].ndim + 1)
    return concatenate(
        *[reshape(x, shape=(*x.shape[:position], 1, *x.shape[position:])) for x in tensors], axis=position
    )


@primitive(indices="all", views=True)
def split(xp, x, *, sizes, axis=0):
    """Consecutive parts of x along an axis, of the given lengths."""
    if isinstance(sizes, int):
        raise ShapeError(
            f"split: sizes are the lengths of the parts, such as {(sizes, sizes)}; F.chunk makes equal parts"
        )
    if np.sum(sizes) != x.shape[axis] or min(sizes) < 0:
        raise ShapeError(f"split: parts {tuple(sizes)} do not add up to axis {axis} of shape {x.shape}")
    ends = np.cumsum(sizes).tolist()
    return tuple(x[along(x.ndim, axis, slice(end - n, end))] for n, end in zip(sizes, ends, strict=True))


split.vjp(lambda g, y, x, *, sizes, axis=0: concatenate(*g, axis=axis))


@primitive(indices="all")
def pad(xp, x, *, widths, value=0):
    """x with `widths` = ((before, after), ...) elements of a constant value around it, one pair for each axis."""
    return xp.pad(x, widths, constant_values=value)


pad.vjp(
    lambda g, y, x, *, widths, value=0: g[
        tuple(slice(before, before + n) for (before, _), n in zip(widths, x.shape, strict=True))
    ]
)


@primitive(indices="all")
def reflect_pad(xp, x, *, widths):
    """x with `widths` = ((before, after), ...) elements mirrored at its edges, which are not repeated."""
    if any(max(around) >= max(n, 1) for around, n in zip(widths, x.shape, strict=True)):
        raise ShapeError(f"reflect_pad: widths {widths} must be smaller than the lengths {x.shape} that they mirror")
    return xp.pad(x, widths, mode="reflect")


@primitive()
def reflect_fold(xp, g, *, widths):
    """Add mirrored margins to the elements that they mirror: the adjoint of `reflect_pad`."""
    for axis, (before, after) in enumerate(widths):
        n = g.shape[axis] - before - after
        margins, g = g, g[along(g.ndim, axis, slice(before, before + n))].copy()
        for inside, mirrored in (
            (slice(1, before + 1), slice(before)),
            (slice(n - 1 - after, n - 1), slice(before + n, None)),
        ):
            g[along(g.ndim, axis, inside)] += xp.flip(margins[along(g.ndim, axis, mirrored)], axis)
    return g


reflect_pad.vjp(lambda g, y, x, *, widths: reflect_fold(g, widths=widths))
reflect_fold.vjp(lambda h, y, g, *, widths: reflect_pad(h, widths=widths))


@primitive(indices="all", views=True)
def getitem(xp, x, *, index):
    """x[index], with slices, integers, None, ... or integer and bool arrays."""
    return x.take(index, axis=0) if _is_integers(index) and x.ndim else x[index]


def _is_basic(index) -> bool:
    parts = index if isinstance(index, tuple) else (index,)
    return all(part is None or part is ... or isinstance(part, slice | int | np.integer) for part in parts)


@primitive()
def scatter(xp, x, *, index, shape):
    """Add x, at an index, to zeros of a shape: the adjoint of `getitem`."""
    if (place := _rows_of(index, shape)) is not None:
        lead, rows, count = place
        blocks = math.prod(shape[:lead]), rows.size, math.prod(shape[lead + count :])
        y = kernel("add_at", device_of(x))(x.reshape(blocks), rows.reshape(-1), math.prod(shape[lead : lead + count]))
        return y.reshape(shape)
    y = xp.zeros_like(x, shape=shape, order="C")
    if _is_basic(index) or _is_mask(index):
        y[index] = x
    else:
        xp.add.at(y, index, x)
    return y


def _is_mask(index) -> bool:
    """Whether an index is of bools, which select no element twice."""
    return is_array(index) and index.dtype == bool


def _rows_of(index, shape):
    """(lead, rows, count) where an index selects rows of the `count` joined axes behind `lead` whole ones, else None.

    That is `x[rows]`, `x[:, rows]`, `x[rows, columns]` and the like; the rows count from 0.
    """
    parts = index if isinstance(index, tuple) else (index,)
    kinds = "".join("i" if _is_integers(part) else ":" if _is_whole(part) else "?" for part in parts).rstrip(":")
    lead, count = kinds.count(":"), kinds.count("i")
    if not count or kinds != ":" * lead + "i" * count or lead + count > len(shape):
        return None
    xp, lengths = array_module(parts[lead]), shape[lead : lead + count]
    rows = [xp.where(part < 0, part + n, part) for part, n in zip(parts[lead : lead + count], lengths, strict=True)]
    return lead, rows[0] if count == 1 else xp.ravel_multi_index(xp.broadcast_arrays(*rows), lengths), count


def _is_integers(part) -> bool:
    return is_array(part) and part.dtype.kind in "iu"


def _is_whole(part) -> bool:
    return isinstance(part, slice) and part == slice(None)


getitem.vjp(lambda g, y, x, *, index: scatter(g, index=index, shape=x.shape))
scatter.vjp(lambda g, y, x, *, index, shape: g[index])


@primitive(saves="indices", indices="x indices")
def take_along_axis(xp, x, indices, *, axis):
    """For each position of `indices` (integers, as many axes as x), the element of x at that index along the axis."""
    return kernel("take_along", device_of(x))(x, indices, axis)


@primitive(saves="indices", indices="indices")
def scatter_along_axis(xp, x, indices, *, axis, length):
    """Add x, at indices along an axis, to zeros of a `length` there: the adjoint of `take_along_axis`."""
    return kernel("add_along", device_of(x))(x, indices, axis, length)


take_along_axis.vjp(
    lambda g, y, x, indices, *, axis: scatter_along_axis(g, indices, axis=axis, length=x.shape[axis]), None
)
scatter_along_axis.vjp(lambda g, y, x, indices, *, axis, length: take_along_axis(g, indices, axis=axis), None)


def check_classes(name: str, indices, classes: int) -> None:
    """Refuse integers outside of 0..classes - 1; on a GPU they are not read, since that would synchronise it."""
    data = indices.data if isinstance(indices, Variable) else indices
    if data.dtype.kind not in "iu":
        raise DtypeError(f"{name}: classes are integers, not {data.dtype}")

    def check() -> None:
        if not 0 <= data.min() <= data.max() < classes:
            raise ShapeError(f"{name}: classes reach from {data.min()} to {data.max()}, there are 0..{classes - 1}")

    if isinstance(data, np.ndarray) and data.size:
        replayed(check)


@primitive(indices="all")
def one_hot(xp, indices, *, classes, dtype="float32"):
    """Integers (...) to rows (..., classes) that are 1 at the integer and 0 elsewhere."""
    check_classes("one_hot", indices, classes)
    return (indices[..., None] == xp.arange(classes)).astype(dtype)


def plain_index(index):
    """An index in which Tensors and lists are replaced by arrays."""
    if isinstance(index, tuple):
        return tuple(plain_index(part) for part in index)
    return index.data if isinstance(index, Variable) else np.asarray(index) if isinstance(index, list) else index


def flatten(x, start: int = 1, end: int = -1):
    """Axes from `start` to `end`, which is the last by default, joined into one."""
    start, end = start % max(x.ndim, 1), end % max(x.ndim, 1) + 1
    return x.reshape((*x.shape[:start], math.prod(x.shape[start:end]), *x.shape[end:]))
