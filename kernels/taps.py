"""Convolution and its adjoints as products over taps: which weights are multiplied with which inputs.

A kernel computes blocks of output channels over one or more phases of the output image. Within a block every output
has the same taps: masks, colours, channel groups and phases of the stride differ only in the lists of taps.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from .geometry import Geometry, visible_taps


@dataclass(frozen=True)
class Tap:
    """The inputs of a tap, relative to an output: (row, column) of the padded input, channels [low, high).

    `index` is its place in the kernel, in raster order. Channels are counted within the block's group.
    """

    row: int
    column: int
    index: int
    low: int
    high: int


@dataclass(frozen=True)
class Block:
    """Output channels [first, last) that share their taps; their inputs begin at channel `source`.

    `corner` is (input, output) of the first weight in the matrix of a tap.
    """

    first: int
    last: int
    source: int
    corner: tuple[int, int]
    taps: tuple[Tap, ...]


@dataclass(frozen=True)
class Phase:
    """Outputs (top + i step, left + j step) for i < rows, j < columns, and their blocks of channels.

    A convolution has one phase; its adjoint has one for each remainder of row and column modulo the stride.
    """

    top: int
    left: int
    rows: int
    columns: int
    blocks: tuple[Block, ...]


def _runs(values) -> list[tuple[int, int]]:
    """(first, last + 1) of each run of equal values."""
    edges = [0, *(np.flatnonzero(np.diff(values)) + 1).tolist(), len(values)]
    return list(pairwise(edges))


def _colours(geometry: Geometry, channels: int):
    return np.arange(channels) * geometry.mask[1] // channels


def _forward_blocks(taps, kernel_size, channels: int, outputs: int, geometry: Geometry):
    """Blocks of outputs with taps (row, column, index), for `channels` inputs in all."""
    groups = geometry.groups
    if geometry.mask is None or geometry.mask[1] == 1:
        width, depth = outputs // groups, channels // groups
        full = tuple(Tap(*tap, 0, depth) for tap in taps)
        return tuple(Block(g * width, (g + 1) * width, g * depth, (0, g * width), full) for g in range(groups))
    centre = kernel_size[0] // 2 * kernel_size[1] + kernel_size[1] // 2
    input_colours, blocks = _colours(geometry, channels), []
    for first, last in _runs(_colours(geometry, outputs)):
        colour = first * geometry.mask[1] // outputs
        visible = int(np.searchsorted(input_colours, colour, "right" if geometry.mask[0] == "B" else "left"))
        cut = (Tap(*tap, 0, visible if tap[2] == centre else channels) for tap in taps)
        blocks.append(Block(first, last, 0, (0, first), tuple(tap for tap in cut if tap.high)))
    return tuple(blocks)


def _adjoint_blocks(taps, kernel_size, channels: int, outputs: int, geometry: Geometry):
    """Blocks of the `channels` of x, whose inputs are the `outputs` of the convolution."""
    groups = geometry.groups
    if geometry.mask is None or geometry.mask[1] == 1:
        width, depth = channels // groups, outputs // groups
        full = tuple(Tap(*tap, 0, depth) for tap in taps)
        return tuple(Block(g * width, (g + 1) * width, g * depth, (g * depth, 0), full) for g in range(groups))
    centre = kernel_size[0] // 2 * kernel_size[1] + kernel_size[1] // 2
    output_colours, blocks = _colours(geometry, outputs), []
    for first, last in _runs(_colours(geometry, channels)):
        colour = first * geometry.mask[1] // channels
        unseen = int(np.searchsorted(output_colours, colour, "left" if geometry.mask[0] == "B" else "right"))
        cut = (Tap(*tap, unseen if tap[2] == centre else 0, outputs) for tap in taps)
        blocks.append(Block(first, last, 0, (0, first), tuple(tap for tap in cut if tap.low < tap.high)))
    return tuple(blocks)


def _indexed(kernel_size, geometry: Geometry):
    """(i, j, index) of the taps that the mask does not hide."""
    return [(i, j, i * kernel_size[1] + j) for i, j in visible_taps(*kernel_size, geometry.mask)]


def forward_phases(kernel_size, output_size, channels: int, outputs: int, geometry: Geometry) -> tuple[Phase, ...]:
    """The single phase of a convolution; rows and columns of taps are those of the padded input."""
    (dh, dw) = geometry.dilation
    taps = [(i * dh, j * dw, index) for i, j, index in _indexed(kernel_size, geometry)]
    return (Phase(0, 0, *output_size, _forward_blocks(taps, kernel_size, channels, outputs, geometry)),)


def adjoint_phases(kernel_size, image_size, output_size, channels: int, outputs: int, geometry: Geometry):
    """The phases of the adjoint in x, one for each remainder of (row, column) modulo the stride, and its padding.

    x[s u + a] sums g[u + (a + p - d i) / s] w[i] over the taps i where that is a whole number. Returns the phases and
    the ((top, bottom), (left, right)) zeros that g needs around it; taps count from there.
    """
    (sh, sw), (dh, dw), ((top, _), (left, _)) = geometry.stride, geometry.dilation, geometry.padding
    taps_by_phase = []
    for a in range(min(sh, image_size[0])):
        for b in range(min(sw, image_size[1])):
            taps = [
                ((a + top - i * dh) // sh, (b + left - j * dw) // sw, index)
                for i, j, index in _indexed(kernel_size, geometry)
                if (a + top - i * dh) % sh == 0 and (b + left - j * dw) % sw == 0
            ]
            taps_by_phase.append((a, b, -(-(image_size[0] - a) // sh), -(-(image_size[1] - b) // sw), sorted(taps)))
    reach = [(r, c, r + rows, c + columns) for _, _, rows, columns, taps in taps_by_phase for r, c, _ in taps]
    above, before = (max(0, -min((offset[k] for offset in reach), default=0)) for k in (0, 1))
    below, after = (max(0, max((p[k + 2] for p in reach), default=0) - output_size[k]) for k in (0, 1))
    phases = []
    for a, b, rows, columns, taps in taps_by_phase:
        shifted = [(r + above, c + before, index) for r, c, index in taps]
        phases.append(Phase(a, b, rows, columns, _adjoint_blocks(shifted, kernel_size, channels, outputs, geometry)))
    return tuple(phases), ((above, below), (before, after))
