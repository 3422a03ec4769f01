"""What the kernels of the convolution family read on the device: images, jobs and steps (see `jobs.cuh`)."""

from dataclasses import dataclass
from math import prod

import numpy as np

from . import runtime

DEPTH = 16  # steps of a stage, as in `tile.cuh`
OUTSIDE = -(1 << 30)  # the row of a step that is dead, as in `jobs.cuh`
MOST = 1 << 30  # that is counted in 32 bits: one such number may be added to another

IMAGES = np.dtype(
    [
        (name, np.int32)
        for name in "count height width channels stride_down stride_across above before target_height target_width "
        "target_channels down across wide_source wide_target".split()
    ]
)


@dataclass(frozen=True)
class Layout:
    """Where a convolution, or its adjoint, finds its operands: the shapes of a source (N, H, W, C) and a target.

    `stride` is the (vertical, horizontal) step in the source from place to place, `zeros` the padding around it, `step`
    the distance of a phase's places in the target. The weight of a tap, a channel of the source and one of the target
    is at tap * `tap_size` + channel * `depth_stride` + channel floats.
    """

    source: tuple[int, int, int, int]
    target: tuple[int, int, int, int]
    stride: tuple[int, int]
    zeros: tuple[tuple[int, int], tuple[int, int]]
    step: tuple[int, int]
    tap_size: int
    depth_stride: int


class Tables:
    """Images, jobs and steps of some phases; `places` and `channels` are those of each job, `depths` its steps."""

    def __init__(self, phases, layout: Layout):
        blocks = [(phase, block) for phase in phases for block in phase.blocks]
        _check_sizes(layout, blocks)
        self.layout = layout
        self.places = [layout.source[0] * phase.rows * phase.columns for phase, _ in blocks]
        self.channels = [block.last - block.first for _, block in blocks]
        self.depths = [sum(tap.high - tap.low for tap in block.taps) for _, block in blocks]
        self.images = self._images([block for _, block in blocks])

        jobs, lists, begins = [], [], {}
        for (phase, block), depth in zip(blocks, self.depths, strict=True):
            if block.taps not in begins:  # neighbouring groups share theirs
                begins[block.taps] = sum(map(len, lists))
                lists.append(self._steps(block.taps))
            corner = block.corner[0] * layout.depth_stride + block.corner[1]
            place = phase.top, phase.left, phase.rows, phase.columns
            jobs.append((*place, block.first, block.last, block.source, corner, begins[block.taps], depth))
        self.jobs = runtime.cupy().asarray(np.array(jobs, np.int32))
        self.steps = runtime.cupy().asarray(np.concatenate([*lists, _dead(DEPTH)]))

    def _images(self, blocks):
        """The structure of that name: four channels may be moved at once where all bounds are multiples of four."""
        source, target = self.layout.source, self.layout.target
        bounds = [source[3], *(b.source for b in blocks), *(n for b in blocks for t in b.taps for n in (t.low, t.high))]
        wide_source = all(n % 4 == 0 for n in set(bounds))
        wide_target = all(n % 4 == 0 for n in {target[3], *(block.first for block in blocks)})
        (above, _), (before, _) = self.layout.zeros
        numbers = *source, *self.layout.stride, above, before, *target[1:], *self.layout.step
        return np.array([(*numbers, wide_source, wide_target)], IMAGES)

    def _steps(self, taps) -> np.ndarray:
        """(offset, row, column, weight) of each tap and channel, up to a multiple of DEPTH."""
        _, _, width, channels = self.layout.source
        found = [np.empty((0, 4), np.int32)]
        for tap in taps:
            depth = np.arange(tap.low, tap.high, dtype=np.int32)
            steps = np.empty((len(depth), 4), np.int32)
            steps[:, 0] = (tap.row * width + tap.column) * channels + depth
            steps[:, 1:3] = tap.row, tap.column
            steps[:, 3] = tap.index * self.layout.tap_size + depth * self.layout.depth_stride
            found.append(steps)
        found.append(_dead(-sum(map(len, found)) % DEPTH))
        return np.concatenate(found)


def _dead(count: int) -> np.ndarray:
    return np.full((count, 4), (0, OUTSIDE, 0, -1), np.int32)


def _check_sizes(layout: Layout, blocks) -> None:
    """Pixels of all images, numbers of an image and weights are counted in 32 bits."""
    images = layout.source, layout.target
    counts = [n for shape in images for n in (prod(shape[:3]), prod(shape[1:]))]
    counts += [(tap.index + 1) * layout.tap_size for _, block in blocks for tap in block.taps]
    if max(counts) > MOST:
        raise ValueError(
            f"{layout.source} to {layout.target}: the numbers of an image or a weight, or all pixels, exceed {MOST}: "
            "use smaller arrays"
        )


@dataclass(frozen=True)
class Tile:
    """What a block makes: `rows` places by `columns` channels. `cost` is that of one of them, to the largest tile's."""

    rows: int
    columns: int
    cost: float

    @property
    def threads(self) -> int:
        """As `THREADS` in `tile.cuh`."""
        return 256 if self.rows * self.columns >= 128 * 128 else 128

    def count(self, rows: int, columns: int) -> int:
        """Tiles of a matrix."""
        return -(-rows // self.rows) * -(-columns // self.columns)


# A small tile reads more for each of its products, and fills more multiprocessors. The costs are estimates.
SMALL = (Tile(64, 64, 1.2), Tile(64, 32, 1.5))
TILES = {
    "Float32": (Tile(128, 64, 1.0), *SMALL),
    "Tf32": (Tile(128, 64, 1.0), *SMALL),
    "Bfloat16": (Tile(128, 128, 1.0), *SMALL),
}


def shared_bytes(tile: Tile, orders: tuple[str, str], architecture: int) -> int:
    """The stages of a tile whose operands are "Deep" or "Wide", as in `tile.cuh`."""
    sizes = [
        17 * n if order == "Deep" else DEPTH * n + 32
        for n, order in zip((tile.rows, tile.columns), orders, strict=True)
    ]
    return 4 * sum(sizes) * (3 if architecture >= 80 else 2)
