"""CUDA sources with one barrier deleted: a program that test_barriers.py runs.

It prints, as JSON, every barrier with the sources in which its deletion is noticed: in some order of the threads a case
has other results, fails or hangs.
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
from tests.cuda.device import emulator_with_all_kernels, install, instantiations
from tests.cuda.emulator.stand_in import ORDERS, Emulator
from tinygen.kernels.cuda.runtime import Source

BARRIER = re.compile(r"\b(__syncthreads|__syncwarp|copy_wait)(<[^;]*>)?\([^;]*\);")
WRAPPERS = "ptx.cuh"  # defines barriers, and calls none
NONE = ""
TIMEOUT = 20  # seconds, after which a kernel hangs


def barriers(text: str) -> dict[str, int]:
    """The barriers of a source with its includes: "file:line" to the index of the line in the text."""
    lines, file, number = {}, "", 0
    for index, line in enumerate(text.splitlines()):
        if match := re.fullmatch(r'#line (\d+) "(.+)"', line):
            file, number = match[2], int(match[1])
            continue
        if file != WRAPPERS and BARRIER.search(line.partition("//")[0]):
            lines[f"{file}:{number}"] = index
        number += 1
    return lines


@dataclass(frozen=True)
class Deletion:
    """A source and one of its barriers, maybe in an included header, that is deleted; `NONE` deletes nothing."""

    source: str
    barrier: str

    def apply(self, text: str) -> str:
        """The text of the source without the barrier."""
        if self.barrier == NONE:
            return text
        lines, index = text.splitlines(), barriers(text)[self.barrier]
        lines[index] = BARRIER.sub(";", lines[index], count=1)
        return "\n".join(lines)


class Mutant(Emulator):
    """An emulator in which the given kernels lack a barrier."""

    def __init__(self, deletion: Deletion, kernels: set[str]):
        super().__init__(instantiations=instantiations)
        self.deletion, self.kernels = deletion, kernels

    def RawModule(self, code, options=(), name_expressions=()):
        if self.kernels.isdisjoint(name_expressions):
            return super().RawModule(code, options, name_expressions)
        return super().RawModule(self.deletion.apply(code), options, tuple(sorted(self.kernels)))


@dataclass
class Run:
    """A run of a case with all barriers: its results, and the kernels that each deletion changes."""

    case: Case | Draw
    results: list[np.ndarray]
    seconds: float
    changed: dict[Deletion, set[str]] = field(default_factory=lambda: defaultdict(set))

    def mutant(self, deletion: Deletion) -> Mutant:
        """The emulator with a deletion, for this case."""
        return Mutant(deletion, self.changed[deletion])

    def is_noticed(self, deletion: Deletion) -> bool:
        """Whether the results differ after a deletion in some order of the threads."""
        xp = self.mutant(deletion)
        return any(not _same(self.results, _run(self.case, xp, order)) for order in ORDERS)

    def is_noticed_in_process(self, deletion: Deletion) -> bool:
        """`is_noticed`, in a separate process, whose crash or hang counts too."""
        child = os.fork()
        if not child:
            status = 1
            try:
                signal.alarm(TIMEOUT)
                status = int(self.is_noticed(deletion))
            finally:
                os._exit(status)
        return os.waitpid(child, 0)[1] != 0


def _same(ours, theirs) -> bool:
    return all(np.array_equal(a, b, equal_nan=a.dtype.kind == "f") for a, b in zip(ours, theirs, strict=True))


def _run(case: Case | Draw, xp: Emulator, order: str) -> list[np.ndarray]:
    xp.order = order
    install(xp)
    return case.run()


def runs_of_cases() -> list[Run]:
    """Runs of all cases, the quickest first."""
    xp, runs = emulator_with_all_kernels(), []
    file_of = {name: source.file for source in Source.every for name in source.names}
    for case in cases():
        xp.launched.clear()
        started = time.perf_counter()
        run = Run(case, _run(case, xp, "ascending"), time.perf_counter() - started)
        for kernel, met in xp.launched.items():
            for barrier in (NONE, *(barrier_met.partition(" ")[2] for barrier_met in met)):
                run.changed[Deletion(file_of[kernel], barrier)].add(kernel)
        runs.append(run)
    return sorted(runs, key=lambda run: run.seconds)


def compile_first(deletion: Deletion, run: Run) -> None:
    """Compile the kernels that a run needs after a deletion."""
    text = next(source.text for source in Source.every if source.file == deletion.source)
    run.mutant(deletion).RawModule(text, name_expressions=tuple(run.changed[deletion]))


def sources_that_notice() -> dict[str, list[str]]:
    """Each barrier with the sources in which its deletion is noticed."""
    runs = runs_of_cases()
    texts = {source.file: source.text for source in Source.every}
    every = [Deletion(file, barrier) for file, text in texts.items() for barrier in barriers(text)]
    runs_of = {deletion: [run for run in runs if deletion in run.changed] for deletion in every}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda item: compile_first(item[0], item[1][0]), [item for item in runs_of.items() if item[1]]))
    for file in texts:
        unchanged = Deletion(file, NONE)
        assert not next(run for run in runs if unchanged in run.changed).is_noticed_in_process(unchanged), (
            f"{file} differs from itself"
        )
    sources: dict[str, list[str]] = {deletion.barrier: [] for deletion in every}
    for deletion, met in runs_of.items():
        if any(run.is_noticed_in_process(deletion) for run in met):
            sources[deletion.barrier].append(deletion.source)
    return sources


if __name__ == "__main__":
    print(json.dumps(sources_that_notice()))
