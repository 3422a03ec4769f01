"""Time from the start of a process to the end of its first DCGAN step, with cached kernels and without."""

import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from typing import Any

from benchmarks import harness

COLD, WARM = 2, 7
CODE = """
import sys, time
start = time.perf_counter()
import numpy
numpy = time.perf_counter()
library = __import__(sys.argv[1])
imported = time.perf_counter()
from benchmarks import pairs
pair = pairs.PAIRS["dcgan"]
step = pairs.our_side(pair, library)[1] if library.__name__ == "tinygen" else (
    pairs.peer_side(pair, library, pair.configs[0]))
losses = [loss.item() for loss in step()]
print(numpy - start, imported - start, time.perf_counter() - start)
"""


def seconds_to_moments(library: str, cache: str) -> tuple[float, ...]:
    """Seconds from the start of a new process until NumPy is imported, the library is imported, and a step is done."""
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    done = subprocess.run(
        [sys.executable, "-c", CODE, library],
        cwd=harness.ROOT,
        env=environment | {"XDG_CACHE_HOME": cache},
        capture_output=True,
        text=True,
        check=True,
    )
    return tuple(map(float, done.stdout.split()))


def row(side: str, measured: Iterable[tuple[float, ...]]) -> dict[str, Any]:
    """A row of medians, and the time to the first step without that of NumPy's import."""
    numpy, imported, stepped = (statistics.median(times) for times in zip(*measured, strict=True))
    return {
        "side": side,
        "import numpy, s": numpy,
        "the library too, s": imported,
        "a first step too, s": stepped,
        "without numpy, s": stepped - numpy,
    }


def run() -> harness.Result:
    peer = bool(importlib.util.find_spec("torch"))
    libraries = ["tinygen", *["torch"] * peer]
    with tempfile.TemporaryDirectory() as folder:
        for library in libraries:  # compiles bytecode and fills the disk's cache
            seconds_to_moments(library, f"{folder}/discarded")
        cold = [seconds_to_moments("tinygen", f"{folder}/{index}") for index in range(COLD)]
        warm = [[seconds_to_moments(library, f"{folder}/0") for library in libraries] for _ in range(WARM)]
    ours, *theirs = zip(*warm, strict=True)
    rows = [row("tinygen", ours), row("tinygen, kernels to be compiled", cold)]
    rows += [row("PyTorch eager", measured) for measured in theirs]
    notes = [
        f"medians of {WARM} fresh processes each, in turns; of {COLD} where the kernels' cache is empty",
        f"the clock starts once the interpreter runs; the step is that of `steps`; {harness.threads()} threads a side",
    ]
    return harness.Result("Start to the first step", rows, notes + [harness.PEERS_HINT] * (not peer))
