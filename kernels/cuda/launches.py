"""How work is cut into blocks of threads: by the shape alone, so that sums have one order on every GPU."""

import functools
from dataclasses import dataclass
from functools import cached_property
from math import ceil

THREADS = 256  # of a block, at most
WARP = 32
MANY = 1024  # blocks that keep every multiprocessor of a large GPU busy
STRIDING = 8 * MANY  # blocks of a grid at most, whose threads then step through what is left
LONG = 1024  # numbers from which a row is a block's
FEW = 8  # rows of a thread below which it is not worth another block


def over_threads(threads: int) -> tuple[tuple[int], tuple[int]]:
    """Grid and block of so many threads, or of fewer that step through their work."""
    return (max(1, min(STRIDING, ceil(threads / THREADS))),), (THREADS,)


def threads_of_row(columns: int, long: int = LONG) -> int:
    """Those that share a row: a warp, or a block if it is long. The template argument of kernels over rows."""
    return WARP if columns < long else THREADS


@dataclass(frozen=True)
class Tiles:
    """A launch over the columns of `samples` matrices (rows, columns), in about so many blocks; see columns.cuh."""

    samples: int
    rows: int
    columns: int
    blocks: int

    @cached_property
    def width(self) -> int:
        """Columns of a thread."""
        return 1 if self.columns % 4 else 4

    @cached_property
    def _across(self) -> int:
        """Tiles of columns."""
        return ceil(self.columns / (self.width * WARP))

    @cached_property
    def block(self) -> tuple[int, int]:
        across = ceil(self.columns / (self.width * self._across))
        return across, min(self.rows, THREADS // across)

    @cached_property
    def length(self) -> int:
        """Rows of a chunk."""
        chunks = ceil(self.blocks / (self.samples * self._across))
        return min(self.rows, max(ceil(self.rows / chunks), FEW * self.block[1]))

    @cached_property
    def chunks(self) -> int:
        """Chunks of a sample."""
        return ceil(self.rows / self.length)

    @cached_property
    def grid(self) -> tuple[int, int]:
        return self.samples * self.chunks, self._across


@functools.lru_cache(512)
def tiles(samples: int, rows: int, columns: int, blocks: int = MANY) -> Tiles:
    """The launch over such columns."""
    return Tiles(samples, rows, columns, blocks)
