"""How a normalisation is cut into tasks, and what its workers are told.

A row is the groups and channels of one position. A task does a block of rows of a sample; it adds up each column, and
for that joins short rows to longer ones. Where a sample is a single row, a task does some rows. The cut decides the
order of sums, and so the bits of results: it follows from the shape alone, never from the machine or its threads.
"""

import functools
from dataclasses import dataclass
from math import ceil, gcd, prod

from ..layout import layout
from .blocks import BLOCK
from .jit import Address, Record
from .target import L2_BYTES

MOST_IN_ONE_BLOCK = L2_BYTES // 16  # most numbers of a sample that is one block: a quarter of the cache, in float32
MANY_SAMPLES = 16  # from this number on each sample may be one block; with fewer it is cut for the threads
LEAST_ROWS = 32  # of a block of long rows
FEW_ROWS, MANY_ROWS = 4, 128  # least and most single rows of a task: it adds up their gradients of scale and shift
LEAST_ROW_LENGTH, VECTOR = 64, 16  # a joined row has this length at least, and is whole vectors of this many numbers
GROUPS_PER_TASK = 16  # groups whose blocks a task merges


@dataclass(frozen=True)
class Problem:
    """An array (samples, positions, groups, channels) with statistics over positions and channels."""

    samples: int
    positions: int
    groups: int
    channels: int

    @property
    def columns(self) -> int:
        """Numbers of a row."""
        return self.groups * self.channels


@dataclass(frozen=True)
class Tiling:
    """The cut of a problem. Where `blocks` is 0, each row is a sample, normalised by itself."""

    rows: int  # of a block, or of a task that does single rows
    blocks: int  # of a sample
    row_length: int  # of joined rows, whole vectors if they are short
    share: int  # groups whose blocks a task merges


def tiling(problem: Problem) -> Tiling:
    """How a problem is cut."""
    columns = problem.columns
    step = columns * VECTOR // gcd(columns, VECTOR)  # the shortest joined row that is whole vectors
    row_length = columns if columns >= LEAST_ROW_LENGTH else step * ceil(LEAST_ROW_LENGTH / step)
    if problem.positions * problem.groups == 1:
        return Tiling(max(FEW_ROWS, min(MANY_ROWS, BLOCK // columns)), 0, row_length, problem.groups)
    most = MOST_IN_ONE_BLOCK if problem.samples >= MANY_SAMPLES else BLOCK
    rows = problem.positions if problem.positions * columns <= most else max(LEAST_ROWS, BLOCK // columns)
    blocks = ceil(problem.positions / rows)
    return Tiling(rows, blocks, row_length, GROUPS_PER_TASK if blocks > 1 else problem.groups)


class Arrays:
    """Where a call's arrays are. Statistics have a number for each sample and group."""

    x: Address  # the array, the gradient g of y, and the result: y, or backward dx
    g: Address
    y: Address
    scale: Address  # a number for each column
    shift: Address
    mean: Address
    var: Address
    inverse: Address  # 1 / deviation
    sums: Address  # for each block and column: mean, sum and sum of squares; backward the two sums of `measure_back`
    totals: Address  # for each task, the gradients of scale and shift
    e_mean: Address  # the factors of dx, see `merge_back`
    ez_mean: Address
    scratch: Address
    lane_bytes: int
    steps: int  # MEASURE, MERGE and APPLY, or a sum of these
    eps: float
    slope: float  # of the leaky ReLU


FIELDS = Problem, Tiling, Arrays
RECORD = Record(*FIELDS)
MEASURE, MERGE, APPLY = 1, 2, 4


class Plan:
    """What the shape and the axes of an array say of a call."""

    def __init__(self, problem: Problem, row: tuple[int, ...], kept: tuple[int, ...]):
        self.row, self.kept = row, kept  # shapes of a row, and of the statistics, in the array's own axes
        cut = tiling(problem)
        self.single_rows, self.one_block, self.row_length = not cut.blocks, cut.blocks == 1, cut.row_length
        self.blocks, self.shares = problem.samples * cut.blocks, problem.samples * ceil(problem.groups / cut.share)
        # Tasks that each write partial sums of the gradients of scale and shift
        self.tasks = problem.samples if cut.blocks else ceil(problem.samples / cut.rows)
        self.columns = problem.columns
        self.sizes = bytes(RECORD.filled(problem, cut))


@functools.lru_cache(256)
def plan(shape: tuple[int, ...], axes: tuple[int, ...]) -> Plan | None:
    """The plan for an array that is normalised over `axes`; None if it has no layout, or no elements."""
    if not prod(shape) or (arrangement := layout(shape, axes)) is None:
        return None
    *sizes, row, kept = arrangement
    return Plan(Problem(*sizes), row, kept)
