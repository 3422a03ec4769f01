"""Time of `import tinygen` after `import numpy`, in fresh processes."""

import importlib.util
import subprocess
import sys

from benchmarks import harness

ROUNDS = 15
MODULES = ("tinygen", "torch")
CODE = """
import sys, time
import numpy
start = time.perf_counter()
__import__(sys.argv[1])
print(time.perf_counter() - start)
"""


def seconds(module: str) -> float:
    """Seconds of the module's import in a new process that has imported NumPy."""
    command = [sys.executable, "-c", CODE, module]
    done = subprocess.run(command, cwd=harness.ROOT, capture_output=True, text=True, check=True)
    return float(done.stdout)


def run() -> harness.Result:
    modules = [module for module in MODULES if importlib.util.find_spec(module)]
    for module in modules:
        seconds(module)  # compiles bytecode and fills the disk's cache
    measured = [[seconds(module) for module in modules] for _ in range(ROUNDS)]
    columns = zip(*measured, strict=True)
    timings = {module: harness.Timing(times) for module, times in zip(modules, columns, strict=True)}
    rows = harness.comparison(timings, unit=1.0, unit_name="s over numpy")
    notes = [f"{ROUNDS} fresh processes each, in turns; everything is in the disk's cache"]
    return harness.Result("Import time", rows, notes + [harness.PEERS_HINT] * ("torch" not in modules))
