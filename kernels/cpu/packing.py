"""Weights in panels: the blocks of weights that the micro-kernels multiply, in the order in which they read them.

    packed[panel, k, j] = w[k * depth_stride + (panel * width + j) * output_stride]

for the rows k, one after the other, of the pieces that a block of weights is made of; zero beyond its last output.
"""

from dataclasses import dataclass
from math import ceil

import numpy as np
from numba import carray

from . import memory, pool
from .ir import VECTOR_BYTES, clear, copy, floats_at, int64_at, pointer_to, transpose_block
from .jit import Address, Record, inlined, worker
from .memory import address
from .target import WIDTH


@dataclass(frozen=True, eq=False)
class Pack:
    """A block of weights."""

    pieces: np.ndarray  # (offset in bytes, rows) of each piece
    count: int  # of the pieces
    packed: int  # bytes from the first packed block to this one
    outputs: int
    panels: int
    panel_bytes: int


def packs_of(blocks, width: int) -> list[Pack]:
    """Blocks (pieces, outputs) that are packed one after another, in panels of `width` outputs."""
    packs, packed = [], 0
    for pieces, outputs in blocks:
        block = Pack(
            pieces=pieces,
            count=len(pieces),
            packed=packed,
            outputs=outputs,
            panels=ceil(outputs / width),
            panel_bytes=4 * sum(rows for _, rows in pieces) * width,
        )
        packs.append(block)
        packed += block.panels * block.panel_bytes
    return packs


PACK = Record(Pack)
packs_at = pointer_to(PACK.type)


@inlined
def pack_panel(a, p, panel, weights, target):
    """Write a panel of a block of weights: rows over taps and input channels, `width` outputs in each."""
    outputs, pitch = min(a.width, p.outputs - panel * a.width), 4 * a.width
    if outputs < a.width:
        clear(target, p.panel_bytes)
    full_width = outputs // WIDTH * WIDTH
    for piece in range(p.count):
        source = weights + int64_at(p.pieces, 2 * piece) + panel * a.width * a.output_stride
        depth = int64_at(p.pieces, 2 * piece + 1)
        if a.output_stride == 4:
            for k in range(depth):
                for j in range(0, full_width, WIDTH):
                    copy(target + k * pitch + 4 * j, source + k * a.depth_stride + 4 * j, VECTOR_BYTES)
            if full_width < outputs:
                for k in range(depth):
                    copy(
                        target + k * pitch + 4 * full_width,
                        source + k * a.depth_stride + 4 * full_width,
                        4 * (outputs - full_width),
                    )
        else:
            rows_in_squares = depth // WIDTH * WIDTH
            for k in range(0, rows_in_squares, WIDTH):
                for j in range(0, full_width, WIDTH):
                    transpose_block(
                        target + k * pitch + 4 * j, pitch, source + j * a.output_stride + 4 * k, a.output_stride
                    )
            for j in range(outputs):
                line = carray(floats_at(source + j * a.output_stride), depth)
                column = carray(floats_at(target), depth * a.width)
                for k in range(rows_in_squares if j < full_width else 0, depth):
                    column[k * a.width + j] = line[k]
        target += depth * pitch


class PackArguments:
    """What `pack` is asked for."""

    w: Address
    packed: Address
    packs: np.ndarray  # a record `Pack` for each block
    pack_count: int
    width: int  # outputs of a panel
    depth_stride: int  # bytes from a weight to that of the next row
    output_stride: int  # bytes from a weight to that of the next output


@worker(PackArguments)
def pack(arguments, task, lane):
    """Write panel number `task` of all blocks."""
    a = carray(arguments, 1)[0]
    packs = carray(packs_at(a.packs), a.pack_count)
    block = 0
    while task >= packs[block].panels:
        task -= packs[block].panels
        block += 1
    p = packs[block]
    pack_panel(a, p, task, a.w, a.packed + p.packed + task * p.panel_bytes)


class Packing:
    """The plan of packing some blocks, with strides in bytes."""

    def __init__(self, packs: list[Pack], width: int, depth_stride: int, output_stride: int):
        self.size = sum(each.panels * each.panel_bytes for each in packs) // 4
        self.tasks = sum(each.panels for each in packs)
        self.arguments = pack.record.filled(
            packs=PACK.table([(each,) for each in packs]),
            pack_count=len(packs),
            width=width,
            depth_stride=depth_stride,
            output_stride=output_stride,
        )

    def __call__(self, w) -> np.ndarray:
        """The packed panels of contiguous float32 weights."""
        packed, call = memory.aligned(self.size), pack.Arguments.from_buffer_copy(self.arguments)
        call.w, call.packed = address(w), address(packed)
        pool.run(pack, call, self.tasks)
        return packed
