"""How a recurrent network is cut into tasks, and the arrays of numbers that its workers share.

Sequences lie side by side in G groups of W, the `width`. A row holds one number of each; the inputs of a step are rows
x, 1, h. So a product with weights is a tile, UNITS rows of gates, whatever the sizes of the network: a step reads the
weights once and in order, and a cell's arithmetic runs over whole tiles. The last group and the last tile are filled
up with zeros. A task of a step has a panel, UNITS of the H hidden units.

For P panels, gates are (T, G, P, 4, UNITS, W), states (before the first step, and after each) (T + 1, G, P, UNITS, W).
A GRU has a fourth gate too: what the hidden state adds to the third, before it is scaled. Derivatives of the gates,
(slots, G, 4, H, W), are kept for a few steps, then added to the gradients of the weights.
"""

from dataclasses import dataclass
from math import ceil

from .target import HEIGHTS, VECTORS, WIDTH

LSTM, GRU = 4, 3  # number of gates
UNITS = HEIGHTS[0]  # rows of a tile
COLUMNS = VECTORS * WIDTH  # columns of a tile; for a small batch a tile is one vector wide
KEPT_DERIVATIVES = 256  # sequences times steps whose derivatives are kept
STRIP = 128  # of these, the number whose x or h passes through the first-level cache at a time: half of it with AVX-512


@dataclass(frozen=True)
class Problem:
    """The sizes of a network and of its input (N, T, C)."""

    batch: int  # sequences, N
    steps: int  # T
    channels: int  # C
    hidden: int  # units, H


@dataclass(frozen=True)
class Tiling:
    """The cut of a problem."""

    width: int  # sequences of a group
    groups: int
    panels: int  # of hidden units
    slots: int  # steps whose derivatives are kept; 2 at least: a step reads one while it writes another
    steps_at_once: int  # steps whose inputs, or states, pass through the first-level cache together


def tiling(problem: Problem, units: int = UNITS, vector: int = WIDTH, columns: int = COLUMNS) -> Tiling:
    """The cut of a problem for tiles of `units` rows, of one `vector` or of `columns`."""
    width = vector if problem.batch <= vector else columns
    groups = ceil(problem.batch / width)
    slots, steps_at_once = max(2, KEPT_DERIVATIVES // (groups * width)), max(1, STRIP // problem.batch)
    return Tiling(width, groups, ceil(problem.hidden / units), slots, steps_at_once)
