"""What every benchmark shares: timing in turns, the peer, a table on screen, a JSON file."""

import dataclasses
import datetime
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
PEERS_HINT = "PyTorch is not installed, so only our side was measured: pip install -e '.[bench]'"


@dataclass(frozen=True)
class Result:
    """A finished benchmark: rows of named cells, and what a reader must know beside them."""

    title: str
    rows: list[dict[str, Any]]
    notes: list[str] = field(default_factory=list)


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
        """Median and spread of self / other, round by round: what slows a whole round cancels."""
        ratios = Timing(tuple(a / b for a, b in zip(self.rounds, other.rounds, strict=True)))
        return ratios.median, ratios.spread


def in_turns(
    sides: Mapping[str, Callable[[], object]], *, rounds: int = 15, block: float = 0.15, pause: float = 0.05
) -> dict[str, Timing]:
    """Time each side for `block` seconds, round after round, starting each round with another side.

    Before its block a side rests for `pause` seconds, in which the other side's threads stop spinning, and
    makes one call that is not counted. A round's value is the median of its calls.
    """
    names = list(sides)
    measured: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            time.sleep(pause)
            sides[name]()
            measured[name].append(statistics.median(_calls(sides[name], block)))
    return {name: Timing(tuple(values)) for name, values in measured.items()}


def _calls(call: Callable[[], object], block: float) -> list[float]:
    times = []
    end = time.perf_counter() + block
    while not times or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return times


def comparison(timings: Mapping[str, Timing], *, unit: float, unit_name: str) -> list[dict[str, Any]]:
    """One row a side, ours first: median and spread in a unit of so many seconds, and its time over ours.

    Above 1, we are faster.
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


def duel(
    ours: Callable[[], object],
    peers: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    block: float,
    jax: Callable[[], object] | None = None,
) -> dict[str, Any]:
    """Cells of a row: our time beside that of PyTorch, in the configuration that a short heat finds the fastest.

    Above 1, we are faster. Only our time where there are no peers. `jax` is a third side, in the same rounds.
    """
    if not peers:
        return {"ours, ms": in_turns({"ours": ours}, rounds=rounds, block=block)["ours"].median * 1e3}
    heat = in_turns(peers, rounds=3, block=block / 3)
    best = min(heat, key=lambda name: heat[name].median)
    third = {"JAX": jax} if jax else {}
    timings = in_turns({"ours": ours, best: peers[best], **third}, rounds=rounds, block=block)
    ratio, spread = timings[best].ratio_to(timings["ours"])
    cells = {
        "ours, ms": timings["ours"].median * 1e3,
        "PyTorch, ms": timings[best].median * 1e3,
        "PyTorch / ours": ratio,
        "its spread": spread,
        "PyTorch's best": best,
    }
    if jax:
        cells["JAX / ours"] = timings["JAX"].ratio_to(timings["ours"])[0]
    return cells


def torch_or_none() -> Any:
    """PyTorch, held to as many threads as our side has, or None where it is not installed."""
    try:
        import torch
    except ImportError:
        return None
    torch.set_num_threads(threads())
    return torch


def jax_or_none() -> Any:
    """JAX, whose compiler takes the cores that the process may use, or None where it is not installed."""
    try:
        import jax
    except ImportError:
        return None
    return jax


def threads() -> int:
    """Threads of each side: `--threads`, through the environment."""
    return int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1))


# What comes out


def show(result: Result) -> None:
    """Print the result as Markdown."""
    print(f"\n{text(result)}")


def text(result: Result) -> str:
    """The title, a Markdown table for each run of rows with equal keys, and the notes."""
    tables = [markdown(list(rows)) for _, rows in itertools.groupby(result.rows, key=list)]
    return "\n\n".join([result.title, *tables, "\n".join(f"- {note}" for note in result.notes)])


def markdown(rows: list[dict[str, Any]]) -> str:
    """A Markdown table of rows with equal keys; columns of numbers are aligned to the right."""
    cells = [list(rows[0]), *([_text(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    right = [_is_number(value) for value in rows[0].values()]
    padded = [
        [
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(line, widths, right, strict=True)
        ]
        for line in cells
    ]
    rule = ["-" * (width - number) + ":" * number for width, number in zip(widths, right, strict=True)]
    return "\n".join(f"| {' | '.join(line)} |" for line in [padded[0], rule, *padded[1:]])


def save(name: str, result: Result) -> Path:
    """Write the rows, the notes and the machine they come from to benchmarks/results/NAME.json."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    content = {"benchmark": name, **dataclasses.asdict(result), **provenance()}
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return path


def provenance() -> dict[str, Any]:
    """Where, when and with what a figure was measured."""
    describe = ["git", "describe", "--always", "--dirty"]
    commit = subprocess.run(describe, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
    versions = environment.versions()
    versions |= {name: importlib.metadata.version(name) for name in ("torch", "jax") if importlib.util.find_spec(name)}
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "commit": commit or None,
        "threads": threads(),
        "machine": environment.machine("cpu"),
        "versions": versions,
    }


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.5g}" if abs(value) < 1000 else f"{value:,.0f}"
    return str(value)
