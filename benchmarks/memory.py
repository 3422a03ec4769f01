"""Peak resident memory of five training steps of each pair, in fresh processes."""

import importlib.util
import subprocess
import sys
from dataclasses import replace
from typing import Any, NamedTuple

from benchmarks import harness
from benchmarks.pairs import BATCHES, PAIRS, Pair

SMALL = 2
"""Batch of the steps that load the library's code; batch normalisation needs two examples."""

# The peak is VmHWM: that of getrusage starts with the memory of the parent process at the fork.
CODE = """
import sys
from importlib import import_module
from benchmarks import pairs

def megabytes(field):
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith(field)) * 1024 / 1e6

*expressions, library, steps = sys.argv[1:]
ours, library = library == "tinygen", import_module(library)
if ours:
    library.backend.tune_process()
    library.backend.kernel("conv2d", "cpu")
imported, sides = megabytes("VmRSS"), []
for expression in expressions:
    pair, loaded = eval(expression, vars(pairs)), megabytes("VmRSS")
    sides.append(pairs.our_side(pair, library)[1] if ours else pairs.peer_side(pair, library, pair.configs[0]))
    ready = megabytes("VmRSS")
    for _ in range(int(steps)):
        sides[-1]()
print(imported, loaded, ready, megabytes("VmHWM"))
"""


class Levels(NamedTuple):
    """Resident memory of a process in MB, at four moments."""

    imported: float
    """After the imports."""
    loaded: float
    """Before the data and the network of its last pair are made, after the steps of those before."""
    ready: float
    """Before the first step of its last pair."""
    peak: float


def levels(library: str, *pairs: Pair, steps: int = BATCHES) -> Levels:
    """Memory of a fresh process that makes steps of one pair after another, all of which it keeps.

    A pair before the last loads what every step needs: code, pools of threads.
    """
    command = [sys.executable, "-c", CODE, *map(repr, pairs), library, str(steps)]
    done = subprocess.run(command, cwd=harness.ROOT, capture_output=True, text=True, check=True)
    return Levels(*map(float, done.stdout.split()))


def row(pair: Pair, ours: Levels, peer: Levels | None) -> dict[str, Any]:
    cells: dict[str, Any] = {"step": pair.title, "batch": pair.batch}
    for what, of in {"training": lambda each: each.peak - each.loaded, "process": lambda each: each.peak}.items():
        cells[f"{what}: ours, MB"] = of(ours)
        if peer:
            cells[f"{what}: PyTorch, MB"] = of(peer)
            cells[f"{what}: PyTorch / ours"] = of(peer) / of(ours)
    return cells


def run() -> harness.Result:
    peer = importlib.util.find_spec("torch")
    rows = []
    for pair in PAIRS.values():
        levels("tinygen", pair)  # compiles the kernels, which takes memory too
        small = replace(pair, batch=SMALL)
        rows.append(row(pair, levels("tinygen", small, pair), levels("torch", small, pair) if peer else None))
    notes = [
        f"training: peak resident memory of a process that makes 5 steps, less what was resident before the data and "
        f"the network were made, after 5 steps of the same kind with a batch of {SMALL} had loaded the library's code; "
        "a megabyte is 1,000,000 bytes",
        "process: that peak itself, interpreter and libraries included",
        "our imports include the compiler of the kernels, which are compiled already; memory is kept between steps, "
        "as in training",
        "PyTorch: channels_last images, fused Adam, the system's memory allocator as it is",
        f"{harness.threads()} threads a side",
    ]
    return harness.Result("Peak memory", rows, notes + [harness.PEERS_HINT] * (peer is None))
