"""How work is cut for the micro-kernels of `tile.py`: rows into tiles, channels into panels.

A tile is a few rows times a few vectors, held in registers. A panel is all rows of as many channels as a tile is wide.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

import numpy as np

from .ir import call_rows
from .jit import Address, inlined
from .target import HEIGHTS, VECTORS, WIDTH
from .tile import product_rows

# Rows


def tile_cost(rows: int, height: int) -> float:
    """The time of `rows` rows in tiles of `height`, in units of the time of a row in a very high tile (measured)."""
    return ceil(rows / height) * height * (1 + 0.6 / height)


@functools.lru_cache(1024)
def tile_height(rows: int, heights=HEIGHTS) -> int:
    """The height with the lowest `tile_cost`, of those that are at most `rows`."""
    return min((height for height in heights if height <= rows), key=lambda height: tile_cost(rows, height))


def tile_starts(rows: int, height: int) -> list[int]:
    """The first row of each tile of `height` rows; the last tile ends with the last row, and may overlap another."""
    return [min(start, rows - height) for start in range(0, rows, height)]


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows that `product_rows` multiplies in a task; offsets in bytes."""

    row_count: int
    row_source: np.ndarray  # of each row of inputs
    row_target: np.ndarray  # of each row of products


def even_rows(count: int, source_bytes: int, target_bytes: int) -> Rows:
    """Rows at equal distances."""
    rows = np.arange(count)
    return Rows(count, source_bytes * rows, target_bytes * rows)


@dataclass(frozen=True, eq=False)
class Segments:
    """The inputs that a row is made of."""

    segments: np.ndarray  # (offset in bytes, length) of neighbours, or the offsets of single inputs: see `product_rows`
    count: int


# Panels


@dataclass(frozen=True)
class Panels:
    """Channels in panels of the width of a tile; the last one may be narrower."""

    count: int
    vectors: int  # of a panel
    last_vectors: int  # of the last panel
    lanes: int  # floats in the last vector of the last panel

    @property
    def width(self) -> int:
        """Floats of a panel."""
        return self.vectors * WIDTH

    def kernels(self, compiled: Callable[[int, bool], int]) -> tuple[int, int]:
        """`compiled(vectors, tail)` for whole panels, 0 if there are none, and for the last one."""
        whole = compiled(self.vectors, False) if self.count > 1 else 0
        return whole, compiled(self.last_vectors, self.lanes < WIDTH)


def panels_of(channels: int, vectors: int = 0) -> Panels:
    """The panels of some channels, of a number of vectors that suits them unless one is given."""
    vectors = vectors or (VECTORS if channels > WIDTH else 1)
    count = ceil(channels / (vectors * WIDTH))
    last_vectors = ceil((channels - (count - 1) * vectors * WIDTH) / WIDTH)
    return Panels(count, vectors, last_vectors, (channels - 1) % WIDTH + 1)


@dataclass(frozen=True)
class PanelKernels:
    """The panels of the products, and the micro-kernels that compute them."""

    panels: int
    panel_pitch: int  # bytes of a row of a panel
    whole: Address  # the micro-kernel for all panels but the last
    tail: Address  # for the last one
    lanes: int  # floats in the last vector of the last panel


def panel_kernels(panels: Panels, height: int, adjacent: bool = False) -> PanelKernels:
    """`product_rows` for some panels, in tiles of a height."""
    kernels = panels.kernels(lambda vectors, tail: product_rows(height, vectors, tail, adjacent))
    return PanelKernels(panels.count, 4 * panels.width, *kernels, panels.lanes)


@inlined
def multiply_panel(a, panel, source, weights, target, bias, slope):
    """Compute a panel of activation(bias + A W), for rows of A at `source`, of which the first panel is at `target`.

    The record `a` has the fields of `Rows`, `Segments` and `PanelKernels`.
    """
    shift = panel * a.panel_pitch
    call_rows(
        a.tail if panel == a.panels - 1 else a.whole,
        (
            source,
            weights,
            target + shift,
            a.row_source,
            a.row_target,
            a.row_count,
            a.segments,
            a.count,
            a.panel_pitch,
            bias + shift if bias else 0,
            slope,
            a.lanes,
        ),
    )
