"""Peak resident memory of five training steps of each pair, in fresh processes."""

import importlib.util
import subprocess
import sys
from typing import Any, NamedTuple

from benchmarks import harness
from benchmarks.pairs import BATCHES, PAIRS, Pair

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
levels, sides = [megabytes("VmRSS")], []
for expression in expressions:
    pair = eval(expression, vars(pairs))
    sides.append(pairs.our_side(pair, library)[1] if ours else pairs.peer_side(pair, library, pair.configs[0]))
    levels.append(megabytes("VmRSS"))
    for _ in range(int(steps)):
        sides[-1]()
print(levels[0], levels[-1], megabytes("VmHWM"))
"""


class Levels(NamedTuple):
    """Resident memory of a process in MB: after the imports, before the first step of its last pair, and its peak."""

    imported: float
    ready: float
    peak: float


def levels(library: str, *pairs: Pair, steps: int = BATCHES) -> Levels:
    """Memory of a fresh process that makes steps of one pair after another, all of which it keeps."""
    command = [sys.executable, "-c", CODE, *map(repr, pairs), library, str(steps)]
    done = subprocess.run(command, cwd=harness.ROOT, capture_output=True, text=True, check=True)
    return Levels(*map(float, done.stdout.split()))


def row(pair: Pair, ours: Levels, peer: Levels | None) -> dict[str, Any]:
    cells: dict[str, Any] = {"step": pair.title, "batch": pair.batch}
    for what, of in {"steps": lambda each: each.peak - each.imported, "process": lambda each: each.peak}.items():
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
        rows.append(row(pair, levels("tinygen", pair), levels("torch", pair) if peer else None))
    notes = [
        "steps: peak resident memory of a process that makes 5 steps, less what was resident after the imports and "
        "before the data and the network were made; a megabyte is 1,000,000 bytes",
        "process: that peak itself, interpreter and libraries included",
        "our imports include the compiler of the kernels, which are compiled already; memory is kept between steps, "
        "as in training",
        "PyTorch: channels_last images, fused Adam, the system's memory allocator as it is",
        f"{harness.threads()} threads a side",
    ]
    return harness.Result("Peak memory", rows, notes + [harness.PEERS_HINT] * (peer is None))
