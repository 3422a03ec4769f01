"""Normalisation over axes, with scale, shift and a leaky ReLU: two passes over memory, and two backward.

An array is seen as (samples, positions, groups, channels), with statistics over positions and channels: a batch norm
has one sample and one channel a group, an instance norm one channel a group, a layer norm one position and one group.
`normalization_tiling` cuts it, and `normalization_blocks` and `normalization_rows` have the equations.
"""

import numpy as np

from .. import reference
from . import memory, pool
from . import normalization_blocks as by_blocks
from . import normalization_rows as by_rows
from .memory import write_addresses
from .normalization_tiling import APPLY, MEASURE, MERGE, RECORD, Plan, plan
from .registry import single
from .sums import sum_over

VECTORS = 5  # joined rows in the scratch memory of a lane


def _plan(x, scale, shift, axes) -> Plan | None:
    """The plan of a call; None if the reference serves it."""
    planned = plan(x.shape, axes)
    return planned if planned and all(p is None or p.ndim <= len(planned.row) for p in (scale, shift)) else None


def _columns(values, row: tuple[int, ...], default: float) -> np.ndarray:
    """Scale or shift, or its default, with a number for each column."""
    if values is None:
        return np.full(row, default, np.float32)
    return values if values.shape == row else memory.contiguous(np.broadcast_to(values, row))


def _run(work, work_by_rows, planned: Plan, scale, shift, eps: float, slope: float, **arrays) -> None:
    """Run the forward or the backward pass: in a single launch where a sample is one block."""
    a = RECORD.Structure.from_buffer_copy(planned.sizes)
    a.eps, a.slope, a.lane_bytes = eps, slope, 4 * VECTORS * planned.row_length
    arrays["scale"], arrays["shift"] = _columns(scale, planned.row, 1.0), _columns(shift, planned.row, 0.0)
    arrays["scratch"] = memory.scratch(a.lane_bytes)
    write_addresses(a, **arrays)
    if planned.single_rows:
        pool.run(work_by_rows, a, planned.tasks)
    elif planned.one_block:
        a.steps = MEASURE | MERGE | APPLY
        pool.run(work, a, planned.tasks)
    else:
        for a.steps, tasks in ((MEASURE, planned.blocks), (MERGE, planned.shares), (APPLY, planned.blocks)):
            pool.run(work, a, tasks)


@single
def normalize(x, scale, shift, *, axes, eps, slope=1.0):
    """Normalisation over axes with scale, shift and leaky ReLU, as `kernels.reference.normalize`."""
    planned = _plan(x, scale, shift, axes)
    if planned is None:
        return reference.normalize(x, scale, shift, axes=axes, eps=eps, slope=slope)
    y, (mean, var, inverse) = memory.empty(x.shape), memory.empty((3, *planned.kept))
    sums = memory.empty((planned.blocks, 3, planned.columns))
    arrays = {"x": x, "y": y, "mean": mean, "var": var, "inverse": inverse, "sums": sums}
    _run(by_blocks.forward, by_rows.forward, planned, scale, shift, eps, slope, **arrays)
    return (y, mean, var), (x, scale, shift, mean, inverse)


@single
def normalize_backward(g, x, scale, shift, mean, inverse, *, axes, eps, slope=1.0):
    """Gradients with respect to x, scale and shift; the last two have the shape of a row, or are None as they are."""
    planned = _plan(x, scale, shift, axes)
    if planned is None:
        return reference.normalize_backward(g, x, scale, shift, mean, inverse, axes=axes, eps=eps, slope=slope)
    y, (e_mean, ez_mean) = memory.empty(x.shape), memory.empty((2, *planned.kept))
    sums = memory.empty((planned.blocks, 2, planned.columns))
    totals = memory.empty((planned.tasks, 2, *planned.row))
    arrays = {"x": x, "y": y, "g": g, "mean": mean, "inverse": inverse, "e_mean": e_mean, "ez_mean": ez_mean}
    arrays |= {"sums": sums, "totals": totals}
    _run(by_blocks.backward, by_rows.backward, planned, scale, shift, eps, slope, **arrays)
    scale_grad, shift_grad = totals[0] if len(totals) == 1 else sum_over(totals, (0,))
    return y, None if scale is None else scale_grad, None if shift is None else shift_grad
