"""Kernels without one of their barriers: a program that test_barriers.py runs.

Prints, as JSON, every barrier of the sources with what became of its deletion: "seen" where a case gave another
result, failed or hung in some order of the threads; "unseen" where none did; "unmet" where no case comes by it.
"""

import json
import os
import re
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from tests.cuda.cases import Case, Draw, cases
from tests.cuda.device import install, instantiations, whole_emulator
from tests.cuda.emulator.stand_in import ORDERS, Emulator
from tinygen.kernels.cuda import runtime

BARRIER = re.compile(r"\b(__syncthreads|__syncwarp|copy_wait)(<[^;]*>)?\([^;]*\);")
WRAPPERS = "ptx.cuh"  # defines some, and calls none
PATIENCE = 20  # seconds, after which a kernel hangs


def barriers(text: str) -> dict[str, int]:
    """The barriers of a source with its includes, as "file:line", and the lines of the text in which they are."""
    found, file, number = {}, "", 0
    for place, line in enumerate(text.splitlines()):
        if match := re.fullmatch(r'#line (\d+) "(.+)"', line):
            file, number = match[2], int(match[1])
            continue
        if file != WRAPPERS and BARRIER.search(line.partition("//")[0]):
            found[f"{file}:{number}"] = place
        number += 1
    return found


def without(text: str, barrier: str) -> str:
    """A source without a barrier; as it is where it has none there."""
    places = barriers(text)
    if barrier not in places:
        return text
    lines = text.splitlines()
    lines[places[barrier]] = BARRIER.sub(";", lines[places[barrier]], count=1)
    return "\n".join(lines)


class Mutant(Emulator):
    """The emulator, with a barrier deleted from some kernels; the others are compiled already."""

    def __init__(self, barrier: str, kernels: frozenset[str]):
        super().__init__(instantiations=instantiations)
        self.barrier, self.kernels = barrier, kernels

    def RawModule(self, code, options=(), name_expressions=()):
        if self.kernels.isdisjoint(name_expressions):
            return super().RawModule(code, options, name_expressions)
        return super().RawModule(
            without(code, self.barrier), options, tuple(self.kernels & set(instantiations(code, self.architecture)))
        )


@dataclass
class Run:
    """A case as it runs with all barriers: its results, and the kernels that met each barrier."""

    case: Case | Draw
    results: list[np.ndarray]
    seconds: float
    met: dict[str, set[str]] = field(default_factory=dict)

    def shows(self, barrier: str) -> bool:
        """Whether it ends otherwise without a barrier, in some order of the threads."""
        kernels = Mutant(barrier, frozenset(self.met[barrier]))
        return any(not _same(self.results, _run(self.case, kernels, order)) for order in ORDERS)


def _same(ours, theirs) -> bool:
    return all(np.array_equal(a, b, equal_nan=a.dtype.kind == "f") for a, b in zip(ours, theirs, strict=True))


def _run(case: Case | Draw, xp: Emulator, order: str) -> list[np.ndarray]:
    xp.order = order
    install(xp)
    return case.run()


def observed() -> list[Run]:
    """All cases, the quickest first."""
    xp, runs = whole_emulator(), []
    for case in cases():
        xp.launched.clear()
        started = time.perf_counter()
        run = Run(case, _run(case, xp, "ascending"), time.perf_counter() - started)
        for kernel, places in xp.launched.items():
            for place in places:
                run.met.setdefault(place.partition(" ")[2], set()).add(kernel)
        runs.append(run)
    return sorted(runs, key=lambda run: run.seconds)


def compile_first(barrier: str, runs: list[Run]) -> None:
    """Compiles what the first run without a barrier needs."""
    kernels = runs[0].met[barrier]
    mutant = Mutant(barrier, frozenset(kernels))
    for source in runtime.Source.every:
        if kernel := next((name for name in source.names if name in kernels), None):
            mutant.RawModule(source.text, name_expressions=(kernel,))


def is_seen(barrier: str, runs: list[Run]) -> bool:
    """Whether any of the runs shows that a barrier is missing: each in a process that may crash or hang."""
    return any(_fails(run, barrier) for run in runs)


def _fails(run: Run, barrier: str) -> bool:
    child = os.fork()
    if not child:
        status = 1
        try:
            signal.alarm(PATIENCE)
            status = int(run.shows(barrier))
        finally:
            os._exit(status)
    return os.waitpid(child, 0)[1] != 0


def outcomes() -> dict[str, str]:
    """What becomes of the deletion of each barrier."""
    runs = observed()
    every = sorted({place for source in runtime.Source.every for place in barriers(source.text)})
    meeting = {barrier: [run for run in runs if barrier in run.met] for barrier in every}
    met = [barrier for barrier in every if meeting[barrier]]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda barrier: compile_first(barrier, meeting[barrier]), met))
    seen = {barrier: is_seen(barrier, meeting[barrier]) for barrier in met}
    return {barrier: ("seen" if seen[barrier] else "unseen") if barrier in seen else "unmet" for barrier in every}


if __name__ == "__main__":
    print(json.dumps(outcomes()))
