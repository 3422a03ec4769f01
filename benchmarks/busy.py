"""Training steps while other processes keep one core busy each, as on a laptop or a shared server."""

import contextlib
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import tinygen as tg
from benchmarks import harness
from benchmarks.pairs import PAIRS, our_side, peer_side

LOADS = (0, 1, 2, 3)
ROUNDS, BLOCK, SETTLE = 7, 0.4, 0.1
OURS, ONE_THREAD = "ours", "one thread"


class BusyProcesses:
    """Processes that loop for ever to take time from others; all of them are stopped at first."""

    def __init__(self, count: int):
        self.processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
        self.run(0)

    def run(self, count: int) -> None:
        """Let `count` of the processes run, and stop the others."""
        for i, process in enumerate(self.processes):
            process.send_signal(signal.SIGCONT if i < count else signal.SIGSTOP)

    def __enter__(self) -> "BusyProcesses":
        return self

    def __exit__(self, *error: object) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Context in which our kernels use the calling thread alone."""
    from tinygen.kernels.cpu import pool

    run = pool.run
    pool.run = lambda worker, arguments, tasks, most=1: run(worker, arguments, tasks, 1)
    try:
        yield
    finally:
        pool.run = run


def in_one_thread(step: Callable[[], object]) -> Callable[[], None]:
    """`step` with our kernels in the calling thread alone."""

    def alone() -> None:
        with one_thread():
            step()

    return alone


def timings_beside(busy: BusyProcesses, sides: dict[str, Callable[[], object]]) -> dict[int, dict[str, harness.Timing]]:
    """Timings of each side beside each number of busy processes; every round measures all of them."""
    measured: dict[int, dict[str, list[float]]] = {load: {name: [] for name in sides} for load in LOADS}
    for round_number in range(ROUNDS):
        for load in LOADS[round_number % len(LOADS) :] + LOADS[: round_number % len(LOADS)]:
            busy.run(load)
            time.sleep(SETTLE)
            for name, step in sides.items():
                step()
                # The mean over a block, so that steps that had to wait for a core count in full.
                measured[load][name].append(statistics.mean(harness.calls_of(step, BLOCK)))
    busy.run(0)
    return {load: {name: harness.Timing(tuple(v)) for name, v in sides.items()} for load, sides in measured.items()}


def measure(name: str, busy: BusyProcesses) -> dict[str, Any]:
    """The row of a pair."""
    pair = PAIRS[name]
    networks, ours = our_side(pair, tg)
    sides: dict[str, Callable[[], object]] = {OURS: ours, ONE_THREAD: in_one_thread(ours)}
    if torch := harness.torch_or_none():
        peers = {str(config): peer_side(pair, torch, config, networks) for config in pair.configs}
        sides["PyTorch"] = peers[harness.fastest(peers, block=BLOCK)]
    times = timings_beside(busy, sides)
    row: dict[str, Any] = {"step": pair.title, "ours, ms": times[0][OURS].median * 1e3}
    for load in LOADS[1:]:
        row[f"ours beside {load} / quiet"], row[f"spread {load}"] = times[load][OURS].ratio_to(times[0][OURS])
    if "PyTorch" in sides:
        for load in LOADS:
            row[f"PyTorch / ours, {load}"] = times[load]["PyTorch"].ratio_to(times[load][OURS])[0]
    for load in LOADS:
        row[f"ours / one thread, {load}"] = times[load][OURS].ratio_to(times[load][ONE_THREAD])[0]
    return row


def run() -> harness.Result:
    tg.backend.tune_process()
    with BusyProcesses(max(LOADS)) as busy:
        rows = [measure(name, busy) for name in PAIRS]
    numbers = [name for name in rows[0] if "/" in name]
    rows.append({"step": "median of all"} | {name: statistics.median(row[name] for row in rows) for name in numbers})
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    notes = [
        f"beside 0 to {max(LOADS)} processes that loop for ever, on {cores} cores; {harness.threads()} threads a side",
        f"medians over {ROUNDS} rounds, in each of which every side is timed beside every number of processes; a "
        f"round's value is the mean over {BLOCK:g} s, so that steps which had to wait count in full",
        "one thread: our kernels in the calling thread alone, in the same rounds",
    ]
    return harness.Result(
        "Steps on a busy machine", rows, notes + [harness.PEERS_HINT] * ("PyTorch / ours, 0" not in rows[0])
    )
