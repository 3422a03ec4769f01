"""Sources without one of their barriers: a program that test_barriers.py runs.

Prints, as JSON, every barrier with the sources in which its deletion shows: a case gives another result, fails or hangs
in some order of the threads.
"""

import json
import os
import re
import signal
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from tests.cuda.cases import Case, Draw, cases
from tests.cuda.device import install, instantiations, whole_emulator
from tests.cuda.emulator.stand_in import ORDERS, Emulator
from tinygen.kernels.cuda.runtime import Source

BARRIER = re.compile(r"\b(__syncthreads|__syncwarp|copy_wait)(<[^;]*>)?\([^;]*\);")
WRAPPERS = "ptx.cuh"  # defines some, and calls none
NONE = ""
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


@dataclass(frozen=True)
class Deletion:
    """A barrier deleted from a source, which may have it from a header; `NONE` leaves it as it is."""

    source: str
    barrier: str

    def of(self, text: str) -> str:
        """The text of the source without the barrier."""
        if self.barrier == NONE:
            return text
        lines, place = text.splitlines(), barriers(text)[self.barrier]
        lines[place] = BARRIER.sub(";", lines[place], count=1)
        return "\n".join(lines)


class Mutant(Emulator):
    """The emulator, with a barrier deleted from some kernels; the others are compiled already."""

    def __init__(self, deletion: Deletion, kernels: set[str]):
        super().__init__(instantiations=instantiations)
        self.deletion, self.kernels = deletion, kernels

    def RawModule(self, code, options=(), name_expressions=()):
        if self.kernels.isdisjoint(name_expressions):
            return super().RawModule(code, options, name_expressions)
        return super().RawModule(self.deletion.of(code), options, tuple(sorted(self.kernels)))


@dataclass
class Run:
    """A case as it runs with all barriers: its results, and the kernels that a deletion changes."""

    case: Case | Draw
    results: list[np.ndarray]
    seconds: float
    changed: dict[Deletion, set[str]] = field(default_factory=lambda: defaultdict(set))

    def mutant(self, deletion: Deletion) -> Mutant:
        """The emulator of a deletion, for this case."""
        return Mutant(deletion, self.changed[deletion])

    def shows(self, deletion: Deletion) -> bool:
        """Whether it ends otherwise after a deletion, in some order of the threads."""
        xp = self.mutant(deletion)
        return any(not _same(self.results, _run(self.case, xp, order)) for order in ORDERS)

    def fails(self, deletion: Deletion) -> bool:
        """`shows`, asked in a process of its own: it may crash or hang."""
        child = os.fork()
        if not child:
            status = 1
            try:
                signal.alarm(PATIENCE)
                status = int(self.shows(deletion))
            finally:
                os._exit(status)
        return os.waitpid(child, 0)[1] != 0


def _same(ours, theirs) -> bool:
    return all(np.array_equal(a, b, equal_nan=a.dtype.kind == "f") for a, b in zip(ours, theirs, strict=True))


def _run(case: Case | Draw, xp: Emulator, order: str) -> list[np.ndarray]:
    xp.order = order
    install(xp)
    return case.run()


def observed() -> list[Run]:
    """All cases, the quickest first."""
    xp, runs = whole_emulator(), []
    file_of = {name: source.file for source in Source.every for name in source.names}
    for case in cases():
        xp.launched.clear()
        started = time.perf_counter()
        run = Run(case, _run(case, xp, "ascending"), time.perf_counter() - started)
        for kernel, met in xp.launched.items():
            for barrier in (NONE, *(place.partition(" ")[2] for place in met)):
                run.changed[Deletion(file_of[kernel], barrier)].add(kernel)
        runs.append(run)
    return sorted(runs, key=lambda run: run.seconds)


def compile_first(deletion: Deletion, run: Run) -> None:
    """Compiles what a run needs after a deletion."""
    text = next(source.text for source in Source.every if source.file == deletion.source)
    run.mutant(deletion).RawModule(text, name_expressions=tuple(run.changed[deletion]))


def seen() -> dict[str, list[str]]:
    """Each barrier with the sources in which its deletion shows."""
    runs = observed()
    texts = {source.file: source.text for source in Source.every}
    every = [Deletion(file, barrier) for file, text in texts.items() for barrier in barriers(text)]
    asked = {deletion: [run for run in runs if deletion in run.changed] for deletion in every}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda item: compile_first(item[0], item[1][0]), [item for item in asked.items() if item[1]]))
    for file in texts:
        whole = Deletion(file, NONE)
        assert not next(run for run in runs if whole in run.changed).fails(whole), f"{file} differs from itself"
    found: dict[str, list[str]] = {deletion.barrier: [] for deletion in every}
    for deletion, met in asked.items():
        if any(run.fails(deletion) for run in met):
            found[deletion.barrier].append(deletion.source)
    return found


if __name__ == "__main__":
    print(json.dumps(seen()))
