"""Helpers of all benchmarks: timing of several sides in turns, PyTorch and JAX, tables, JSON files."""

import dataclasses
import datetime
import functools
import importlib.metadata
import importlib.util
import itertools
import json
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tinygen.train import environment

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"
README = ROOT / "README.md"
PEERS_HINT = "PyTorch is not installed, so only our side was measured: pip install -e '.[bench]'"


@dataclass(frozen=True)
class Result:
    """The result of a benchmark: rows of named cells, notes for the reader, and results of its parts."""

    title: str
    rows: list[dict[str, Any]]
    notes: list[str] = field(default_factory=list)
    parts: list["Result"] = field(default_factory=list)
    device: str = "cpu"
    failed: bool = False
    """Whether what must hold does not, so that `python -m benchmarks` ends with status 1."""


@dataclass(frozen=True)
class Timing:
    """Seconds a call, one value a round; the spread is the distance between the quartiles."""

    rounds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.rounds)

    @property
    def spread(self) -> float:
        low, _, high = statistics.quantiles(self.rounds, n=4)
        return high - low

    def ratio_to(self, other: "Timing") -> tuple[float, float]:
        """Median and spread of self / other, round by round, so that what slows a whole round cancels."""
        ratios = Timing(tuple(a / b for a, b in zip(self.rounds, other.rounds, strict=True)))
        return ratios.median, ratios.spread


def calls_of(call: Callable[[], object], block: float) -> list[float]:
    """Seconds of each call, for as many calls as fit into `block` seconds."""
    times = []
    end = time.perf_counter() + block
    while not times or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return times


def in_turns(
    sides: Mapping[str, Callable[[], object]],
    *,
    rounds: int = 15,
    block: float = 0.15,
    pause: float = 0.05,
    timer: Callable[[Callable[[], object], float], list[float]] = calls_of,
) -> dict[str, Timing]:
    """Time each side for `block` seconds in each round; every round starts with another side.

    Before its block a side pauses for `pause` seconds, in which the other side's threads stop spinning, and
    makes one call that is not counted. A round's value is the median of what the timer measures.
    """
    names = list(sides)
    measured: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            time.sleep(pause)
            sides[name]()
            measured[name].append(statistics.median(timer(sides[name], block)))
    return {name: Timing(tuple(values)) for name, values in measured.items()}


def comparison(timings: Mapping[str, Timing], *, unit: float, unit_name: str) -> list[dict[str, Any]]:
    """A row for each side, ours first: median and spread in units of `unit` seconds, and its time divided by ours.

    A ratio above 1 means that we are faster.
    """
    ours = next(iter(timings))
    rows = []
    for name, timing in timings.items():
        row = {
            "side": name,
            f"median, {unit_name}": timing.median / unit,
            f"spread, {unit_name}": timing.spread / unit,
        }
        row["time / ours"], row["its spread"] = (1.0, 0.0) if name == ours else timing.ratio_to(timings[ours])
        rows.append(row)
    return rows


def against_pytorch(
    ours: Callable[[], object],
    peers: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    block: float,
    also: Mapping[str, Callable[[], object]] | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Cells of a row: our time beside that of PyTorch in its fastest configuration, which a short trial finds.

    A ratio above 1 means that we are faster. Without peers the row holds our time alone. The sides in `also` are timed
    in the same rounds; other options are those of `in_turns`.
    """
    if not peers:
        return {"ours, ms": in_turns({"ours": ours}, rounds=rounds, block=block, **options)["ours"].median * 1e3}
    best, also = fastest(peers, block=block, **options), also or {}
    timings = in_turns({"ours": ours, best: peers[best], **also}, rounds=rounds, block=block, **options)
    ratio, spread = timings[best].ratio_to(timings["ours"])
    cells = {
        "ours, ms": timings["ours"].median * 1e3,
        "PyTorch, ms": timings[best].median * 1e3,
        "PyTorch / ours": ratio,
        "its spread": spread,
        "PyTorch's best": best,
    }
    return cells | {f"{name} / ours": timings[name].ratio_to(timings["ours"])[0] for name in also}


def fastest(sides: Mapping[str, Callable[[], object]], *, block: float, **options: Any) -> str:
    """The name of the fastest side, in a trial of three rounds of a third of `block` seconds each."""
    trial = in_turns(sides, rounds=3, block=block / 3, **options)
    return min(trial, key=lambda name: trial[name].median)


def torch_or_none() -> Any:
    """PyTorch, limited to as many threads as our side has, or None if it is not installed."""
    try:
        import torch
    except ImportError:
        return None
    torch.set_num_threads(threads())
    return torch


def jax_or_none() -> Any:
    """JAX, which uses all cores that the process may use, or None if it is not installed."""
    try:
        import jax
    except ImportError:
        return None
    return jax


def threads() -> int:
    """The number of threads of each side, which `--threads` sets in the environment."""
    return int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1))


def first_line(error: Exception) -> str:
    """The type of an error and the first line of its message."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:200] if lines else 'no message'}"


# Output


def show(result: Result) -> None:
    """Print the title, Markdown tables and the notes, but none of its parts."""
    print(f"\n{as_markdown(result)}")


def as_markdown(result: Result) -> str:
    """The title, a Markdown table for each run of rows with equal keys, and the notes."""
    tables = [markdown(list(rows)) for _, rows in itertools.groupby(result.rows, key=list)]
    notes = ["\n".join(f"- {note}" for note in result.notes)] if result.notes else []
    return "\n\n".join([result.title, *tables, *notes])


def markdown(rows: list[dict[str, Any]]) -> str:
    """A Markdown table; cells that a row lacks are empty, and columns of numbers are aligned to the right."""
    samples: dict[str, Any] = {}
    for row in reversed(rows):
        samples |= row
    columns = list(dict.fromkeys(key for row in rows for key in row))
    cells = [columns, *([_cell_text(row.get(key, "")) for key in columns] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    right = [_is_number(samples[key]) for key in columns]
    padded = [
        [
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(line, widths, right, strict=True)
        ]
        for line in cells
    ]
    rule = ["-" * (width - number) + ":" * number for width, number in zip(widths, right, strict=True)]
    return "\n".join(f"| {' | '.join(line)} |" for line in [padded[0], rule, *padded[1:]])


def save(name: str, result: Result, note: str | None = None) -> Path:
    """Write a result with its provenance, and a note about what worsened, to benchmarks/results/NAME.json."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    facts = dataclasses.asdict(result).items()
    content = {key: value for key, value in facts if value or key not in ("parts", "failed")}
    content |= ({"note": note} if note else {}) | provenance(result.device)
    path.write_text(json.dumps({"benchmark": name, **content}, indent=2) + "\n", encoding="utf-8")
    return path


def document(name: str, result: Result) -> Path:
    """Write a result with its provenance and its parts to benchmarks/results/NAME.md, for readers."""
    path = RESULTS / f"{name}.md"
    facts = [f"- {key}: {_fact_text(value)}" for key, value in provenance(result.device).items()]
    parts = (f"## {as_markdown(part)}" for part in result.parts)
    path.write_text("\n\n".join([f"# {as_markdown(result)}", "\n".join(facts), *parts]) + "\n", encoding="utf-8")
    return path


def _fact_text(value: Any) -> str:
    return ", ".join(f"{key} {value[key]}" for key in value) if isinstance(value, dict) else str(value)


def provenance(device: str) -> dict[str, Any]:
    """Date, commit, threads, machine and versions of a measurement."""
    versions = environment.versions()
    versions |= {name: importlib.metadata.version(name) for name in ("torch", "jax") if importlib.util.find_spec(name)}
    gpu = {"gpu": gpu_facts()} if device == "cuda" else {}
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "commit": commit(),
        "threads": threads(),
        "machine": environment.machine(device),
        **gpu,
        "versions": versions,
    }


@functools.cache
def commit() -> str | None:
    """The commit of the code that runs, with -dirty if it was changed since; None outside a repository.

    Asked at the start of a process, for a long measurement may see later commits. What measurements write, their
    results and the tables of README.md, is no change of the code.
    """
    head = git("rev-parse", "--short", "HEAD")
    written = [f":(top,exclude){path}" for path in ("benchmarks/results", "README.md")]
    changed = git("status", "--porcelain", "--untracked-files=no", "--", ":(top)", *written)
    return head and head + "-dirty" * bool(changed)


def git(*arguments: str) -> str | None:
    """What git prints in this repository; None if it fails, or is not there."""
    try:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def gpu_facts() -> dict[str, str]:
    """CuPy's current device, its driver and the CUDA versions in use."""
    import cupy

    cuda = cupy.cuda
    device = cuda.Device()
    properties = cuda.runtime.getDeviceProperties(device.id)
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader", f"--id={device.pci_bus_id}"]
    try:
        driver = subprocess.run(query, capture_output=True, text=True, check=True, timeout=20).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        driver = "unknown: nvidia-smi does not say"
    return {
        "name": properties["name"].decode(),
        "compute capability": device.compute_capability,
        "multiprocessors": str(properties["multiProcessorCount"]),
        "memory, GB": f"{properties['totalGlobalMem'] / 1e9:.1f}",
        "driver": driver,
        "CUDA of the driver": str(cuda.runtime.driverGetVersion()),
        "CUDA runtime": str(cuda.runtime.runtimeGetVersion()),
        "NVRTC": ".".join(map(str, cuda.nvrtc.getVersion())),
    }


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _cell_text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.5g}" if abs(value) < 1000 else f"{value:,.0f}"
    return str(value)
