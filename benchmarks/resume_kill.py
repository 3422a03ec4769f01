"""Resume after `kill -9` at 20 moments, and compare every tensor with the uninterrupted run, byte for byte."""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import harness
from tinygen.serialization import load

STEPS, SAVE_EVERY = 60, 3
MOMENTS = {"before the first step": 2, "inside a checkpoint write": 6, "at a random moment": 12}


def tinygen(*arguments: object) -> subprocess.Popen:
    command = [sys.executable, "-m", "tinygen", *map(str, arguments)]
    return subprocess.Popen(command, cwd=harness.ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def train(run: Path) -> subprocess.Popen:
    # One importance sample, which keeps the evaluation at the end short.
    length = ("--steps", STEPS, "--save-every", SAVE_EVERY, "--importance-samples", 1)
    return tinygen("train", "vae", *length, "--out", run)


def finish(process: subprocess.Popen) -> None:
    if process.wait():
        raise RuntimeError(f"{' '.join(process.args)} ended with {process.returncode}")


def checkpoint_of(run: Path) -> Path:
    return run / "checkpoint.safetensors"


def unfinished_checkpoint_of(run: Path) -> Path:
    return run / ".checkpoint.safetensors.part"


def kill_when(condition: Callable[[], bool], process: subprocess.Popen) -> bool:
    """Kill the process as soon as the condition holds; False if it ended before that."""
    while not condition():
        if process.poll() is not None:
            return False
    os.kill(process.pid, signal.SIGKILL)
    return process.wait() == -signal.SIGKILL


def interrupt(moment: str, run: Path, seconds: float) -> bool:
    """Start a run and kill it at the moment; False if the files show that the moment was missed."""
    process = train(run)
    if moment == "before the first step":
        return kill_when(checkpoint_of(run).exists, process) and load(checkpoint_of(run))[1]["step"] == 0
    if moment == "inside a checkpoint write":
        saves = random.randrange(1, STEPS // SAVE_EVERY)
        return kill_when(nth_write(run, saves), process) and unfinished_checkpoint_of(run).exists()
    while not checkpoint_of(run).exists():
        time.sleep(0.01)
    end = time.perf_counter() + random.uniform(0, seconds)
    return kill_when(lambda: time.perf_counter() > end, process)


def nth_write(run: Path, count: int) -> Callable[[], bool]:
    """A condition: `count` checkpoints are complete and the next one is being written."""
    times: set[int] = set()

    def begun() -> bool:
        if checkpoint_of(run).exists():
            times.add(checkpoint_of(run).stat().st_mtime_ns)
        return len(times) >= count and unfinished_checkpoint_of(run).exists()

    return begun


def tensors(run: Path) -> dict[str, tuple]:
    return {
        name: (array.dtype.str, array.shape, array.tobytes()) for name, array in load(checkpoint_of(run))[0].items()
    }


def run() -> harness.Result:
    random.seed(0)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        uninterrupted = Path(folder) / "uninterrupted"
        process = train(uninterrupted)
        while not checkpoint_of(uninterrupted).exists():
            time.sleep(0.01)
        start = time.perf_counter()
        finish(process)
        seconds = time.perf_counter() - start
        expected = tensors(uninterrupted)
        for moment, tries in MOMENTS.items():
            identical = missed = 0
            while tries > 0:
                part = Path(folder) / f"{moment} {tries} {missed}"
                if not interrupt(moment, part, seconds):
                    missed += 1
                    continue
                finish(tinygen("resume", part))
                identical += tensors(part) == expected
                tries -= 1
            rows.append({"killed": moment, "tries": MOMENTS[moment], "identical": identical, "missed": missed})
    notes = [
        f"a VAE on the embedded data, {STEPS} steps, a checkpoint every {SAVE_EVERY}; "
        f"{len(expected)} tensors compared: parameters and the optimiser's state",
        "missed: the run got past the moment before the signal did; it was tried again, and not counted",
    ]
    return harness.Result("Resume after kill -9", rows, notes)
