"""Compare the saved results with those of the last commit, and ask for a note about every figure that worsened.

`python -m benchmarks NAME --save --note "why"` keeps the note in the result. A figure has worsened if it is worse by
more than `TOLERANCE`, and by more than its spread where it has one.
"""

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks import harness
from tinygen.errors import UsageError
from tinygen.metrics.catalogue import METRICS

TOLERANCE = 0.1
"""Relative change that counts, since the machines are shared."""
BETTER = {str(metric): metric.better for metric in METRICS.values() if metric.better} | {
    "Pearson": "up",
    "median |estimate / W1 - 1|": "down",
    "high quality, %": "up",
    "identical": "up",
    "naive / cached": "up",
    "eager / captured": "up",
    "neg_elbo_nats": "down",
    "MB": "down",
}
"""Which direction is better, by the name of a column; of every `... / ours`, which are the peers' times, it is up."""
NAMES = (
    *("benchmark", "recipe", "model", "data", "seed", "step", "training", "batch", "side", "kernel", "operation"),
    *("shape", "direction", "precision", "critic", "penalty", "size", "threads", "checkpoint", "value", "calibration"),
)
"""Columns that say what a row is about."""

Figures = dict[tuple[str, ...], tuple[float, float]]


def better(column: str) -> str | None:
    """Which direction of a column is better; None if neither is, or if it is not a claim."""
    return "up" if column.endswith(" / ours") or " / ours, " in column else BETTER.get(column)


def figures(result: Mapping[str, Any]) -> Figures:
    """The figures of a saved result and of its parts that have a better direction, with their spreads or 0.

    A figure's name is what its row is about, and its column.
    """
    found = {}
    for row in rows_of(result):
        about = " ".join(str(row[name]) for name in NAMES if row.get(name, "") != "")
        cells = {**row, **row.get("metrics", {})} if isinstance(row.get("metrics"), dict) else row
        spread = row.get("its spread", 0.0)
        for column, value in cells.items():
            label = str(METRICS[column]) if column in METRICS else column
            if better(label) and isinstance(value, int | float) and math.isfinite(value):
                found[about, label] = value, spread if " / " in label else 0.0
    return found


def rows_of(result: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield from result["rows"]
    for part in result.get("parts", []):
        yield from rows_of(part)


def worsened(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A row for each figure that both results have, and that is worse now."""
    rows, old = [], figures(before)
    for name, (value, spread) in figures(now).items():
        if name in old:
            last, last_spread = old[name]
            change = (value - last) * (1 if better(name[1]) == "up" else -1)
            if -change > max(TOLERANCE * abs(last), spread, last_spread):
                rows.append({"about": name[0], "figure": name[1], "before": last, "now": value})
    return rows


def explained(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether the result has a note that the last one did not have."""
    return bool(now.get("note")) and now["note"] != before.get("note")


def changed() -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """The name of each result that differs from that of the last commit, the result then, and now."""
    for path in sorted(harness.RESULTS.glob("*.json")):
        text, last = path.read_text(encoding="utf-8"), harness.git("show", f"HEAD:benchmarks/results/{path.name}")
        if last and last.strip() != text.strip():
            yield path.stem, json.loads(last), json.loads(text)


def run() -> harness.Result:
    """UsageError if a figure has worsened without a note."""
    rows, silent = [], []
    for name, before, now in changed():
        worse = worsened(before, now)
        rows += [{"benchmark": name, **row, "note": now.get("note", "")} for row in worse]
        silent += [name] if worse and not explained(before, now) else []
    if silent:
        harness.show(harness.Result("Worse than at the last commit", rows))
        raise UsageError(f"figures of {', '.join(silent)} worsened: measure again, or save with --note and say why")
    notes = [f"{len(rows)} figures are worse than at the last commit, by more than {TOLERANCE:.0%} and their spread"]
    return harness.Result("Results beside those of the last commit", rows, notes)
