"""Plant faults in a copy of the tree, one at a time, and report those that the tests named for them do not notice.

The faults stand in `benchmarks/faults`, a file an area. A line that begins with `tests/` has the arguments of pytest
for the faults below it. A fault is its file and what is wrong, the old text (`- `), which occurs once in the file, and
the new text (`+ `):

    tests/models/test_equations.py -k [vae-

    tinygen/models/variational/base.py: the optimiser is given half the KL divergence
    - loss = reconstruction + kl
    + loss = reconstruction + 0.5 * kl

Of several lines each has its sign. The tests must pass without the fault. A fault that survives is one of the tests.
"""

import functools
import os
import random
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import cache_from_source
from pathlib import Path
from shutil import copy, copytree, ignore_patterns

from benchmarks import harness

LISTS = Path(__file__).parent / "faults"
COPIED = ("benchmarks", "examples", "kernels", "tests", "tinygen", "CONTRIBUTING.md", "README.md", "setup.cfg")
TIMEOUT = 600  # seconds, after which a test hangs
PASSED, FAILED = 0, 1  # exit statuses of pytest; above these it could not run the tests


class MutantError(Exception):
    """A fault that cannot be planted, or tests that cannot tell."""


@dataclass(frozen=True)
class Fault:
    """What is wrong in a file, and the arguments of pytest that must notice it."""

    area: str
    tests: str
    file: str
    what: str
    old: str
    new: str

    def __str__(self) -> str:
        return f"{self.file}: {self.what}"

    def planted(self, text: str) -> str:
        """The text of the file with the fault; MutantError unless the old text occurs once in it."""
        if (count := text.count(self.old)) != 1:
            raise MutantError(f"{self}: {self.old!r} occurs {count} times")
        return text.replace(self.old, self.new)

    def is_noticed(self, tree: Path) -> bool:
        """Whether the tests fail, crash or hang while the fault is planted in a tree."""
        path = tree / self.file
        right = path.read_text(encoding="utf-8")
        try:
            _write(path, self.planted(right))
            return not passes(tree, self.tests)
        finally:
            _write(path, right)


def _write(path: Path, text: str) -> None:
    """Write a source file, and remove its bytecode, which Python tells from others by whole seconds and the size."""
    path.write_text(text, encoding="utf-8")
    if path.suffix == ".py":
        Path(cache_from_source(str(path))).unlink(missing_ok=True)


def faults() -> list[Fault]:
    """All faults, area by area."""
    return [fault for path in sorted(LISTS.glob("*.txt")) for fault in read(path)]


def read(path: Path) -> Iterator[Fault]:
    """The faults of a list."""
    tests = ""
    for block in path.read_text(encoding="utf-8").strip().split("\n\n"):
        first, *lines = block.splitlines()
        if first.startswith("tests/"):
            tests = " ".join([first, *lines])
        elif not first.startswith("#"):
            file, _, what = first.partition(": ")
            old, new = ("\n".join(line[2:] for line in lines if line[0] == sign) for sign in "-+")
            yield Fault(path.stem, tests, file, what, old, new)


def copy_tree(folder: Path) -> Path:
    """Copy what the tests need of this tree to a folder."""
    for name in COPIED:
        if (harness.ROOT / name).is_dir():
            copytree(harness.ROOT / name, folder / name, ignore=ignore_patterns("__pycache__", "results"))
        else:
            copy(harness.ROOT / name, folder / name)
    return folder


def passes(tree: Path, *tests: str) -> bool:
    """Whether tests pass in a tree; MutantError if pytest cannot run them."""
    command = [sys.executable, "-m", "pytest", "-n0", "-q", "-x", "-p", "no:cacheprovider"]
    # Compiled kernels stay in the tree, and not in the user's cache.
    settings = os.environ | {"PYTHONPATH": str(tree), "NUMBA_CACHE_DIR": str(tree / "compiled")}
    arguments = [argument for each in tests for argument in shlex.split(each)]
    try:
        done = subprocess.run(
            command + arguments, cwd=tree, env=settings, capture_output=True, text=True, check=False, timeout=TIMEOUT
        )
    except subprocess.TimeoutExpired:
        return False
    if done.returncode > FAILED:
        raise MutantError(f"pytest cannot run {' '.join(tests)}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.returncode == PASSED


def run(sample: int | None = None, seed: int = 0, only: str = "") -> harness.Result:
    """Plant the faults in whose area, file, words or tests `only` occurs, or a random sample of these."""
    chosen = [fault for fault in faults() if only in f"{fault.area}: {fault} {fault.tests}"]
    if sample is not None:
        chosen = random.Random(seed).sample(chosen, min(sample, len(chosen)))
    names = "area", "faults", "noticed", "survived", "seconds"
    rows = {fault.area: dict.fromkeys(names, 0) | {"area": fault.area} for fault in chosen}
    survivors = []
    with tempfile.TemporaryDirectory() as folder:
        tree = copy_tree(Path(folder))
        passes_without = functools.cache(functools.partial(passes, tree))
        for number, fault in enumerate(chosen, 1):
            start, why = time.perf_counter(), fault.tests
            try:
                if not passes_without(fault.tests):
                    raise MutantError(f"{fault.tests} fails without a fault")
                start, noticed = time.perf_counter(), fault.is_noticed(tree)
            except MutantError as error:
                noticed, why = False, str(error)
            row = rows[fault.area]
            row["faults"] += 1
            row["noticed" if noticed else "survived"] += 1
            row["seconds"] += time.perf_counter() - start
            print(f"{number}/{len(chosen)} {'noticed ' if noticed else 'SURVIVED'} {fault}", flush=True)
            if not noticed:
                survivors.append(f"survived: {fault} ({why})")
    title = "Faults that the tests notice; the seconds are those of the tests"
    return harness.Result(title, list(rows.values()), survivors, failed=bool(survivors))
