"""Whether a training was still improving when it ended, had become flat, or was getting worse, by one metric on valid.

The rule, on the values of all validations so far (of `FEWEST` or more):

- They are averaged over a window of an eighth of them, at least one; an average is dated to the middle of its window.
- Two averages are alike if they differ by no more than `ALIKE` of what the metric gained between its first and its best
  value, or than noise explains: four times the standard error of their difference. The noise of one value is estimated
  by what moves against the trend in the later half.
- If the last average is worse than the best one, and they are not alike: getting worse since the best one.
- Else if the last averages, a fifth of all or more (and at least three), are all like the last one: flat since the
  first of these.
- Else: still improving.

It reads the log alone, so that a resumed run gets the verdict of one that was never interrupted.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from tinygen.metrics.catalogue import describe, format_number

FEWEST = 5
ALIKE = 0.005
STANDARD_ERRORS = 4.0


@dataclass(frozen=True)
class Verdict:
    """The trend of a metric on valid."""

    metric: str
    trend: Literal["improving", "flat", "worse"]
    since_epoch: float | None
    """None for "improving"."""

    def as_dict(self) -> dict[str, Any]:
        """The entry of summary.json."""
        return {**vars(self), "text": str(self)}

    def __str__(self) -> str:
        texts = {"improving": "still improving", "flat": "flat since epoch", "worse": "getting worse since epoch"}
        since = "" if self.since_epoch is None else f" {self.since_epoch:.4g}"
        return f"{texts[self.trend]}{since}"


def verdict(history: Iterable[Mapping[str, Any]], metric: str | None) -> Verdict | None:
    """The verdict on a log, None if the metric has too few finite values on valid or there is no metric."""
    points = _points(history, metric)
    if metric is None or len(points) < FEWEST:
        return None
    epochs, values = zip(*points, strict=True)
    sign = -1.0 if describe(metric).better == "up" else 1.0
    trend, since = trend_of(sign * np.array(values))
    return Verdict(metric, trend, None if since is None else epochs[since])


def conclusion(history: Sequence[Mapping[str, Any]], metric: str | None) -> str | None:
    """The verdict and the best validation in a line; None if there is none."""
    points = _points(history, metric)
    if metric is None or not points:
        return None
    about, trend = describe(metric), verdict(history, metric)
    epoch, best = (max if about.better == "up" else min)(points, key=lambda point: point[1])
    parts = [str(trend)] if trend else []
    parts.append(f"best {format_number(best)} {about.unit}".rstrip() + f" at epoch {epoch:.4g}")
    return f"{about.label} on valid: {'; '.join(parts)}"


def _points(history: Iterable[Mapping[str, Any]], metric: str | None) -> list[tuple[float, float]]:
    """Epoch and value of each validation whose value is finite."""
    points = [(entry["epoch"], entry.get(metric or "")) for entry in history if entry["split"] == "valid"]
    return [(epoch, value) for epoch, value in points if value is not None and math.isfinite(value)]


def trend_of(values: Sequence[float] | np.ndarray) -> tuple[Literal["improving", "flat", "worse"], int | None]:
    """The trend of `FEWEST` or more values, of which lower ones are better, and the index since which it holds."""
    values = np.asarray(values, np.float64)
    window = max(1, len(values) // 8)
    averages = np.convolve(values, np.ones(window) / window, "valid")
    middle = window // 2
    error = _noise(values) * math.sqrt(2 / window)
    alike = max(ALIKE * (values[0] - values.min()), STANDARD_ERRORS * error)
    best = int(averages.argmin())
    if averages[-1] - averages[best] > alike:
        return "worse", best + middle
    unlike = np.flatnonzero(np.abs(averages - averages[-1]) > alike)
    first = int(unlike[-1]) + 1 if len(unlike) else 0
    if len(averages) - first >= max(3, len(averages) // 5):
        return "flat", first + middle
    return "improving", None


def _noise(values: np.ndarray) -> float:
    """The standard deviation of one value around a trend, from the changes against the trend in the later half.

    Between two values that differ by noise alone the expected squared move is twice their variance, half of it up and
    half down; along a trend the moves against it are fewer, and are noise.
    """
    moves = np.diff(values[max(0, len(values) // 2 - 2) :])
    against = min((moves[moves > 0] ** 2).sum(), (moves[moves < 0] ** 2).sum())
    return math.sqrt(against / len(moves))
