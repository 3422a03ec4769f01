"""Jobs in separate processes, so that one that crashes, hangs or loses the device does not affect others.

`python -m benchmarks.gpu_jobs MODULE:FUNCTION LOG FIRST STEP` is such a process. The function returns the jobs by name,
of which the process runs every `STEP`th from number `FIRST` on. It logs a line of JSON when a job begins and another
when it ends.
"""

import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import harness
from tinygen.backend import gpu_problem

Rows = list[dict[str, Any]]
Jobs = dict[str, Callable[[], Rows]]

DONE, LOST = 0, 3  # exit codes: after the last job, or after an error that made the device unusable


@dataclass(frozen=True)
class Outcome:
    """The rows of jobs, the messages of failed jobs by name, how many were not reached, and the seconds of all."""

    rows: Rows
    failures: dict[str, str]
    missing: int
    seconds: float


# The process that runs jobs


def main(function_path: str, log: str, first: str, step: str) -> int:
    """Run every `step`th job from number `first` on, and log it; return the exit code."""
    module, _, function = function_path.partition(":")
    jobs: Jobs = getattr(importlib.import_module(module), function)()
    with open(log, "a", encoding="utf-8") as file:

        def log_event(**event: Any) -> None:
            print(json.dumps(event), file=file, flush=True)

        for index in range(int(first), len(jobs), int(step)):
            name = list(jobs)[index]
            log_event(index=index, of=len(jobs), job=name)
            try:
                rows = jobs[name]()
                wait()
                log_event(index=index, rows=rows)
            except Exception as error:
                log_event(index=index, failed=harness.first_line(error))
                try:
                    wait()
                except Exception:
                    return LOST
    return DONE


def wait() -> None:
    """Wait for the GPU, if there is one; this raises errors of its kernels."""
    if gpu_problem() is None:
        import cupy

        cupy.cuda.Device().synchronize()


# The process that starts the others


def run(function_path: str, until: float, workers: int = 1) -> Outcome:
    """Run the jobs of a module's function in `workers` processes, until a time of `time.monotonic`."""
    start = time.monotonic()
    with ThreadPoolExecutor(workers) as pool:
        slices = list(pool.map(partial(_slice, function_path, until=until, step=workers), range(workers)))
    jobs = {index: job for part in slices for index, job in part.items()}
    ended = [jobs[index] for index in sorted(jobs)]
    return Outcome(
        rows=[row for job in ended for row in job.get("rows", ())],
        failures={job["job"]: job["failed"] for job in ended if "failed" in job},
        missing=max((job["of"] for job in ended), default=0) - len(ended),
        seconds=time.monotonic() - start,
    )


def _slice(function_path: str, first: int, step: int, until: float) -> dict[int, dict[str, Any]]:
    """Run every `step`th job and return the events of each by its number.

    If a process ends early, another one continues after the job that was its last.
    """
    jobs: dict[int, dict[str, Any]] = {}
    while True:
        with tempfile.TemporaryDirectory() as folder:
            log = Path(folder) / "log"
            log.touch()
            code, why = _process([function_path, str(log), str(first), str(step)], until, Path(folder) / "errors")
            finished_lines, _, _ = log.read_text(encoding="utf-8").rpartition("\n")
        events = [json.loads(line) for line in finished_lines.splitlines()]
        for event in events:
            jobs[event["index"]] = jobs.get(event["index"], {}) | event
        if code == DONE:
            return jobs
        if not events:  # no job has begun, so another process would fail too
            return jobs or {first: {"job": "the start", "of": step, "failed": why}}
        last = jobs[events[-1]["index"]]
        if "rows" not in last:
            last.setdefault("failed", why)
        if code is None:
            return jobs
        first = events[-1]["index"] + step


def _process(arguments: list[str], until: float, errors: Path) -> tuple[int | None, str]:
    """The exit code of a process and why it ended; None if its time was up, when its process group is killed."""
    command = [sys.executable, "-m", "benchmarks.gpu_jobs", *arguments]
    with errors.open("wb") as stderr:
        process = subprocess.Popen(
            command, cwd=harness.ROOT, stdout=subprocess.DEVNULL, stderr=stderr, start_new_session=True
        )
    try:
        code = process.wait(max(0.0, until - time.monotonic()))
    except subprocess.TimeoutExpired:
        return None, "its time was up"
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    stderr_lines = errors.read_text(encoding="utf-8", errors="replace").split("\n")
    last = next((line.strip()[:200] for line in reversed(stderr_lines) if line.strip()), "no message")
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    return code, f"the process ended with {how}: {last}"


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
