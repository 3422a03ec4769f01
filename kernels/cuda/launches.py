"""The cutting of work into blocks of threads: by shape alone, so that sums have the same order on every GPU."""

import functools
from dataclasses import dataclass
from functools import cached_property
from math import ceil

THREADS = 256  # most threads of a block
WARP = 32
BLOCKS_OF_LARGE_GPU = 1024  # blocks that keep every multiprocessor of a large GPU busy
MOST_BLOCKS = 8 * BLOCKS_OF_LARGE_GPU  # most blocks of a grid, whose threads step through the work
LEAST_ROW_OF_BLOCK = 1024  # length from which a block, and not a warp, does a row
LEAST_ROWS_OF_THREAD = 8  # least rows of a thread: with fewer, more blocks would not be faster


def over_threads(threads: int) -> tuple[tuple[int], tuple[int]]:
    """Grid and block of `threads` threads, or of fewer that step through the work."""
    return (max(1, min(MOST_BLOCKS, ceil(threads / THREADS))),), (THREADS,)


def threads_of_row(columns: int, long_row: int = LEAST_ROW_OF_BLOCK) -> int:
    """The number of threads that share a row, a template argument of kernels: a warp, or a block from `long_row` on."""
    return WARP if columns < long_row else THREADS


@dataclass(frozen=True)
class Tiles:
    """A launch over the columns of `samples` matrices (rows, columns), in about `blocks` blocks; see columns.cuh."""

    samples: int
    rows: int
    columns: int
    blocks: int

    @cached_property
    def width(self) -> int:
        """Number of columns of a thread."""
        return 1 if self.columns % 4 else 4

    @cached_property
    def _tiles(self) -> int:
        """Number of tiles into which the columns are cut."""
        return ceil(self.columns / (self.width * WARP))

    @cached_property
    def block(self) -> tuple[int, int]:
        threads_of_row = ceil(self.columns / (self.width * self._tiles))
        return threads_of_row, min(self.rows, THREADS // threads_of_row)

    @cached_property
    def length(self) -> int:
        """Number of rows of a chunk."""
        chunks = ceil(self.blocks / (self.samples * self._tiles))
        return min(self.rows, max(ceil(self.rows / chunks), LEAST_ROWS_OF_THREAD * self.block[1]))

    @cached_property
    def chunks(self) -> int:
        """Number of chunks of a sample."""
        return ceil(self.rows / self.length)

    @cached_property
    def grid(self) -> tuple[int, int]:
        return self.samples * self.chunks, self._tiles


@functools.lru_cache(512)
def tiles(samples: int, rows: int, columns: int, blocks: int = BLOCKS_OF_LARGE_GPU) -> Tiles:
    """The launch over the columns of matrices of these sizes."""
    return Tiles(samples, rows, columns, blocks)
