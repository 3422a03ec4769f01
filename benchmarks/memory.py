"""Peak resident memory of five training steps of each pair, in fresh processes."""

import importlib.util
import subprocess
import sys
from typing import Any

from benchmarks import harness
from benchmarks.pairs import PAIRS, Pair

# The peak is VmHWM: that of getrusage starts with the memory of the parent process at the fork.
CODE = """
import sys
from importlib import import_module
from benchmarks import pairs

def megabytes(field):
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith(field)) * 1024 / 1e6

name, library = sys.argv[1:]
pair, library = pairs.PAIRS[name], import_module(library)
if sys.argv[2] == "tinygen":
    library.backend.tune_process()
    library.backend.kernel("conv2d", "cpu")
    before = megabytes("VmRSS")
    step = pairs.our_side(pair, library)[1]
else:
    before = megabytes("VmRSS")
    step = pairs.peer_side(pair, library, pair.configs[0])
for _ in range(pairs.BATCHES):
    step()
print(megabytes("VmHWM") - before, megabytes("VmHWM"))
"""


def peaks(name: str, library: str) -> tuple[float, float]:
    """Peak memory in MB of a process that makes a pair's steps: beyond its memory after the imports, and in total."""
    command = [sys.executable, "-c", CODE, name, library]
    done = subprocess.run(command, cwd=harness.ROOT, capture_output=True, text=True, check=True)
    added, total = map(float, done.stdout.split())
    return added, total


def row(pair: Pair, ours: tuple[float, float], peer: tuple[float, float] | None) -> dict[str, Any]:
    cells: dict[str, Any] = {"step": pair.title, "batch": pair.batch}
    for what, mine, theirs in zip(("steps", "process"), ours, peer or (None, None), strict=True):
        cells[f"{what}: ours, MB"] = mine
        if theirs is not None:
            cells[f"{what}: PyTorch, MB"] = theirs
            cells[f"{what}: PyTorch / ours"] = theirs / mine
    return cells


def run() -> harness.Result:
    peer = importlib.util.find_spec("torch")
    rows = []
    for name, pair in PAIRS.items():
        peaks(name, "tinygen")  # compiles the kernels, which takes memory too
        rows.append(row(pair, peaks(name, "tinygen"), peaks(name, "torch") if peer else None))
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
