"""The layout of an array for statistics over some of its axes."""

import functools
from itertools import chain, groupby
from math import prod
from typing import NamedTuple


class Layout(NamedTuple):
    """An array seen as (samples, positions, groups, channels), with statistics over positions and channels."""

    samples: int
    positions: int
    groups: int
    channels: int
    row: tuple[int, ...]
    """Shape of a row, groups and channels, in the array's own axes."""
    kept: tuple[int, ...]
    """Shape of the statistics."""


@functools.lru_cache(256)
def layout(shape: tuple[int, ...], axes: tuple[int, ...]) -> Layout | None:
    """The layout of an array that is normalised over axes; None if these axes fit no layout."""
    if not all(-len(shape) <= axis < len(shape) for axis in axes):
        return None
    reduced = {axis % len(shape) for axis in axes}
    runs = [[n for _, n in run] for _, run in groupby(enumerate(shape), lambda item: item[0] in reduced)]
    if 0 in reduced:
        runs.insert(0, [])
    if len(runs) not in (2, 3, 4):
        return None
    sizes = [prod(run) for run in runs]
    samples, positions, groups, channels = (sizes[0], 1, 1, sizes[1]) if len(runs) == 2 else (*sizes, 1)[:4]
    row = tuple(chain.from_iterable(runs[2:] or runs[1:]))
    return Layout(
        samples, positions, groups, channels, row, tuple(1 if i in reduced else n for i, n in enumerate(shape))
    )
