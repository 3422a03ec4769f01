"""The tables that the kernels of convolutions read on the device: images, jobs and steps (see `jobs.cuh`)."""

from dataclasses import dataclass, replace
from math import prod

import numpy as np

from . import runtime

THREADS = 128  # threads of a block, as in `tile.cuh`
DEPTH = 16  # steps of a sum whose operands are in shared memory together, a stage, as in `tile.cuh`
OUTSIDE = -(1 << 30)  # the row of a step that adds zero, since it is outside every image; as in `jobs.cuh`
MOST_CACHED_CHANNELS = 64  # most channels with which the places of a tile stay in the first-level cache from tap to tap
MOST_JOBS = 65_535  # limit of the second axis of a grid
MOST_COUNT = 1 << 30  # limit of numbers in 32 bits, so that two of them can be added

IMAGES = np.dtype(
    [
        (name, np.int32)
        for name in "count height width channels stride_down stride_across above before target_height target_width "
        "target_channels down across weight_pitch source_by_fours target_by_fours read_again".split()
    ]
)


@dataclass(frozen=True)
class Layout:
    """The operands of a convolution, or of its adjoint: the shapes of a source (N, H, W, C) and of a target.

    `stride` is the (vertical, horizontal) step in the source from place to place, `zeros` the padding around it, `step`
    the distance of a phase's places in the target. `weights` is the number (rows, columns) of weights of a tap:
    channels of the source, and of the target. They lie row after row, or column after column if `by_columns`.
    """

    source: tuple[int, int, int, int]
    target: tuple[int, int, int, int]
    stride: tuple[int, int]
    zeros: tuple[tuple[int, int], tuple[int, int]]
    step: tuple[int, int]
    weights: tuple[int, int]
    by_columns: bool

    @property
    def tap_size(self) -> int:
        """Number of weights of a tap."""
        return prod(self.weights)

    @property
    def depth_stride(self) -> int:
        """The distance of neighbouring rows of the weights, in floats."""
        return 1 if self.by_columns else self.weights[1]

    @property
    def output_stride(self) -> int:
        """The distance of neighbouring columns of the weights, in floats."""
        return self.weights[0] if self.by_columns else 1


def source_moves_by(count: int, phases, layout: Layout) -> bool:
    """Whether `count` channels of the source can be moved at once: all runs of channels begin and end at multiples."""
    blocks = [block for phase in phases for block in phase.blocks]
    bounds = {n for block in blocks for tap in block.taps for n in (tap.low, tap.high)}
    return all(n % count == 0 for n in (layout.source[3], *(block.source for block in blocks), *bounds))


def target_moves_by(count: int, phases, layout: Layout) -> bool:
    """Whether `count` channels of the target can be moved at once."""
    return all(n % count == 0 for n in (layout.target[3], *(block.first for phase in phases for block in phase.blocks)))


def in_pairs(phases, layout: Layout):
    """Phases and layout in which each pair of the source's channels is one; `source_moves_by(8, ...)` must hold."""

    def halved(block):
        taps = tuple(replace(tap, low=tap.low // 2, high=tap.high // 2) for tap in block.taps)
        return replace(block, source=block.source // 2, corner=(block.corner[0] // 2, block.corner[1]), taps=taps)

    phases = tuple(replace(phase, blocks=tuple(map(halved, phase.blocks))) for phase in phases)
    (*images, channels), (rows, columns) = layout.source, layout.weights
    return phases, replace(layout, source=(*images, channels // 2), weights=(rows // 2, columns))


class Tables:
    """Images, jobs and steps of some phases; `places`, `channels` and `depths` (steps) have a number for each job."""

    def __init__(self, phases, layout: Layout):
        blocks = [(phase, block) for phase in phases for block in phase.blocks]
        _check_sizes(layout, blocks)
        self.layout = layout
        self.places = [layout.source[0] * phase.rows * phase.columns for phase, _ in blocks]
        self.channels = [block.last - block.first for _, block in blocks]
        self.depths = [sum(tap.high - tap.low for tap in block.taps) for _, block in blocks]
        self.images = self._images(phases)

        jobs, lists, begins = [], [], {}
        for (phase, block), depth in zip(blocks, self.depths, strict=True):
            if block.taps not in begins:  # neighbouring groups have the same steps
                begins[block.taps] = sum(map(len, lists))
                lists.append(self._steps(block.taps))
            corner = block.corner[0] * layout.depth_stride + block.corner[1] * layout.output_stride
            outputs = phase.top, phase.left, phase.rows, phase.columns
            jobs.append((*outputs, block.first, block.last, block.source, corner, begins[block.taps], depth))
        self.jobs = runtime.upload(np.array(jobs, np.int32))
        self.steps = runtime.upload(np.concatenate([*lists, _zero_steps(DEPTH)]))

    def _images(self, phases):
        """The structure `Images` of `jobs.cuh`."""
        source, target = self.layout.source, self.layout.target
        by_fours = source_moves_by(4, phases, self.layout), target_moves_by(4, phases, self.layout)
        several_taps = any(len(block.taps) > 1 for phase in phases for block in phase.blocks)
        read_again = source[3] <= MOST_CACHED_CHANNELS and several_taps
        (above, _), (before, _) = self.layout.zeros
        numbers = *source, *self.layout.stride, above, before, *target[1:], *self.layout.step
        return np.array([(*numbers, self.layout.output_stride, *by_fours, read_again)], IMAGES)

    def _steps(self, taps) -> np.ndarray:
        """(offset, row, column, weight) of each tap and channel, up to a multiple of DEPTH."""
        _, _, width, channels = self.layout.source
        parts = [np.empty((0, 4), np.int32)]
        for tap in taps:
            depth = np.arange(tap.low, tap.high, dtype=np.int32)
            steps = np.empty((len(depth), 4), np.int32)
            steps[:, 0] = (tap.row * width + tap.column) * channels + depth
            steps[:, 1:3] = tap.row, tap.column
            steps[:, 3] = tap.index * self.layout.tap_size + depth * self.layout.depth_stride
            parts.append(steps)
        parts.append(_zero_steps(-sum(map(len, parts)) % DEPTH))
        return np.concatenate(parts)


def _zero_steps(count: int) -> np.ndarray:
    """Steps that add zero to a sum."""
    return np.full((count, 4), (0, OUTSIDE, 0, -1), np.int32)


def _check_sizes(layout: Layout, blocks) -> None:
    """Refuse arrays with more pixels, numbers of an image, or weights than 32 bits can count."""
    images = layout.source, layout.target
    counts = [n for shape in images for n in (prod(shape[:3]), prod(shape[1:]))]
    taps = {tap for _, block in blocks for tap in block.taps}
    counts += [(tap.index + 1) * layout.tap_size for tap in taps]
    _, _, width, channels = layout.source
    counts += [(abs(tap.row) * width + abs(tap.column) + 1) * channels for tap in taps]  # the offset of a step
    if max(counts) > MOST_COUNT:
        raise ValueError(
            f"{layout.source} to {layout.target}: the numbers of an image or a weight, all pixels, or the distance of "
            f"taps exceed {MOST_COUNT}: use smaller arrays"
        )


@dataclass(frozen=True)
class Tile:
    """The outputs of a block: `rows` places by `columns` channels. `cost` is the relative time of an output."""

    rows: int
    columns: int
    cost: float

    @property
    def resident(self) -> int:
        """Number of blocks that a multiprocessor runs at once, as `RESIDENT` in `tile.cuh`, but at most three."""
        return 2 if self.rows * self.columns >= 128 * 128 else 3

    def count(self, rows: int, columns: int) -> int:
        """Number of tiles of a matrix (rows, columns)."""
        return -(-rows // self.rows) * -(-columns // self.columns)


# A small tile reads more for each of its products, and fills more multiprocessors. The costs are estimates.
SMALL_TILES = (Tile(128, 64, 1.0), Tile(64, 64, 1.2), Tile(64, 32, 1.5))
LARGE_TILES = (Tile(128, 128, 0.8), *SMALL_TILES)
TILES = {"Float32": SMALL_TILES, "Tf32": LARGE_TILES, "Bfloat16": LARGE_TILES, "Bfloat16Pairs": LARGE_TILES}


def shared_bytes(tile: Tile, orders: tuple[str, str], architecture: int) -> int:
    """Bytes of shared memory for the stages of a tile with operands "Deep", "Wide" or "WidePairs" (`tile.cuh`)."""
    floats = {"Deep": lambda n: 17 * n, "Wide": lambda n: 16 * n + 32, "WidePairs": lambda n: 32 * (n // 2 + 4)}
    sizes = [floats[order](n) for n, order in zip((tile.rows, tile.columns), orders, strict=True)]
    return 4 * sum(sizes) * (3 if architecture >= 80 else 2)
