"""Normalisation, scale and shift and a leaky ReLU: by columns in three launches, by rows in one."""

import numpy as np

from .. import reference
from ..layout import Layout, layout
from .launches import THREADS, WARP, Tiles, over_threads, threads_of_row, tiles
from .runtime import Source, empty, single
from .sums import column_sums

_source = Source(
    "normalization.cu",
    *(f"{name}<{width}>" for name in ("measure", "apply", "apply_backward") for width in (1, 4)),
    *(f"measure_backward<{width}, {by_row}>" for width in (1, 4) for by_row in ("false", "true")),
    *(
        f"{name}<{threads}>"
        for name in ("merge", "merge_backward", "normalize_rows", "normalize_rows_backward")
        for threads in (WARP, THREADS)
    ),
)

MANY_PARTS = 2 * WARP  # columns of a group in all chunks, from which on a block, and not a warp, merges them


def _is_by_rows(cut: Layout) -> bool:
    """Whether each sample is a row of its own."""
    return cut.positions * cut.groups == 1


def _tiles(cut: Layout) -> Tiles:
    """The launch over columns; if each sample is a row, over the columns of the matrix of all rows."""
    if _is_by_rows(cut):
        return tiles(1, cut.samples, cut.channels)
    return tiles(cut.samples, cut.positions, cut.groups * cut.channels)


def _layout(x, scale, shift, axes) -> Layout | None:
    """The layout of a call; None if the reference serves it."""
    cut = layout(x.shape, tuple(axes))
    return cut if cut and all(p is None or p.ndim <= len(cut.row) for p in (scale, shift)) else None


def _of_columns(values, cut: Layout, default: float):
    """Scale or shift with a number for each column."""
    if values is not None and values.shape == cut.row:
        return values
    array = empty(cut.row)
    array[...] = default if values is None else values
    return array


def _by_rows(name: str, cut: Layout, *arguments) -> None:
    threads = threads_of_row(cut.channels)
    sizes = np.int64(cut.samples), np.int64(cut.channels)
    _source[f"{name}<{threads}>"](*over_threads(cut.samples * threads), (*sizes, *arguments))


def _by_columns(name: str, cut: Layout, *arguments) -> None:
    launch = _tiles(cut)
    sizes = (launch.rows, 1, launch.columns) if _is_by_rows(cut) else (cut.positions, cut.groups, cut.channels)
    _source[name](launch.grid, launch.block, (*map(np.int32, (*sizes, launch.length)), *arguments))


def _merge(name: str, cut: Layout, *arguments) -> None:
    threads = threads_of_row(_tiles(cut).chunks * cut.channels, MANY_PARTS)
    sizes = map(np.int32, (cut.positions, cut.groups, cut.channels, _tiles(cut).length))
    grid_and_block = over_threads(cut.samples * cut.groups * threads)
    _source[f"{name}<{threads}>"](*grid_and_block, (np.int64(cut.samples), *sizes, *arguments))


@single
def normalize(x, scale, shift, *, axes, eps, slope=1.0):
    """Normalisation over axes with scale, shift and leaky ReLU, as `kernels.reference.normalize`."""
    cut = _layout(x, scale, shift, axes)
    if cut is None:
        return reference.normalize(x, scale, shift, axes=axes, eps=eps, slope=slope)
    affine, slope = (_of_columns(scale, cut, 1.0), _of_columns(shift, cut, 0.0)), np.float32(slope)
    y, (mean, var, inverse) = empty(x.shape), (empty(cut.kept) for _ in range(3))
    if _is_by_rows(cut):
        _by_rows("normalize_rows", cut, np.float32(eps), slope, x, *affine, y, mean, var, inverse)
    else:
        launch = _tiles(cut)
        moments = empty((cut.samples, launch.chunks, 3, launch.columns))
        _by_columns(f"measure<{launch.width}>", cut, x, moments)
        _merge("merge", cut, np.float64(eps), moments, mean, var, inverse)
        _by_columns(f"apply<{launch.width}>", cut, slope, x, mean, inverse, *affine, y)
    return (y, mean, var), (x, scale, shift, mean, inverse)


@single
def normalize_backward(g, x, scale, shift, mean, inverse, *, axes, eps, slope=1.0):
    """Gradients with respect to x, scale and shift; the last two have the shape of a row, or are None as they are."""
    cut = _layout(x, scale, shift, axes)
    if cut is None:
        return reference.normalize_backward(g, x, scale, shift, mean, inverse, axes=axes, eps=eps, slope=slope)
    scales, shifts = _of_columns(scale, cut, 1.0), _of_columns(shift, cut, 0.0)
    dx, launch = empty(x.shape), _tiles(cut)
    arguments = np.float32(slope), g, x, mean, inverse, scales, shifts
    affine = scale is not None or shift is not None
    if affine or not _is_by_rows(cut):
        sums = empty((launch.samples, launch.chunks, 2, launch.columns))
        _by_columns(f"measure_backward<{launch.width}, {str(_is_by_rows(cut)).lower()}>", cut, *arguments, sums)
    if _is_by_rows(cut):
        _by_rows("normalize_rows_backward", cut, *arguments, dx)
        totals = sums[0] if affine else None
    else:
        totals, mean_e, mean_ez = empty((launch.samples, 2, launch.columns)), empty(cut.kept), empty(cut.kept)
        _merge("merge_backward", cut, sums, scales, totals, mean_e, mean_ez)
        _by_columns(f"apply_backward<{launch.width}>", cut, *arguments, mean_e, mean_ez, dx)
    return dx, *_affine_gradients(totals, scale, shift, cut)


def _affine_gradients(parts, scale, shift, cut: Layout):
    """The gradients of scale and shift: the sum of partial sums (parts, 2, columns)."""
    if scale is None and shift is None:
        return None, None
    total = parts[0] if len(parts) == 1 else column_sums(parts.reshape(len(parts), -1))
    total = total.reshape(2, *cut.row)
    return None if scale is None else total[0], None if shift is None else total[1]
