"""Schedules: functions `step -> value`, with steps counted from 0. Any hyper-parameter may be one."""

import math
from bisect import bisect_right
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from tinygen.arguments import plain
from tinygen.errors import UsageError

Schedule = Callable[[int], float]
Number = float | Schedule


def value_at(value: Number, step: int) -> float:
    """A hyper-parameter at a step: that of a schedule, or the number itself."""
    return value(step) if callable(value) else value


def _progress(step: int, steps: float) -> float:
    """The fraction of `steps` that has passed, at most 1."""
    return step / steps if step < steps else 1.0


def _finite(schedule: str, value: float) -> float:
    """A number of a schedule; UsageError for one that is NaN or infinite, or no number."""
    number = plain(value)
    if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
        raise UsageError(f"{schedule}: {value!r} is not a finite number")
    return number


def _steps(schedule: str, steps: Any) -> Any:
    """A number of steps; UsageError for one below 0."""
    if (number := _finite(schedule, steps)) < 0:
        raise UsageError(f"{schedule}: {number} steps; it must be at least 0")
    return number


def _ends(schedule: str, start: float, end: float, steps: float) -> tuple[float, float, float]:
    return _finite(schedule, start), _finite(schedule, end), _steps(schedule, steps)


def constant(value: float) -> Schedule:
    """Always the same value."""
    value = _finite("constant", value)
    return lambda step: value


def linear(start: float, end: float, steps: float) -> Schedule:
    """A straight line from `start` to `end` over `steps`, then `end`."""
    start, end, steps = _ends("linear", start, end, steps)
    return lambda step: start + (end - start) * _progress(step, steps)


def cosine(start: float, end: float, steps: float) -> Schedule:
    """Half a cosine from `start` to `end` over `steps`, then `end` (Loshchilov & Hutter 2017)."""
    start, end, steps = _ends("cosine", start, end, steps)
    return lambda step: end + (start - end) * (1 + math.cos(math.pi * _progress(step, steps))) / 2


def logistic(start: float, end: float, steps: float) -> Schedule:
    """A logistic curve from `start` to `end` over `steps`, steepest half-way; then `end`.

    Bowman et al. 2016 (arXiv:1511.06349, figure 2) anneal the KL term of a bound in this way.
    """
    start, end, steps = _ends("logistic", start, end, steps)

    def half(x: float) -> float:
        return math.tanh(STEEPNESS * x) / math.tanh(STEEPNESS) / 2

    return lambda step: start + (end - start) * (0.5 + half(2 * _progress(step, steps) - 1))


STEEPNESS = 3.0
"""Half of the argument of `logistic` at the end of its curve, where the logistic function is 0.998."""


def exponential(start: float, factor: float) -> Schedule:
    """start * factor ** step"""
    start, factor = _finite("exponential", start), _finite("exponential", factor)
    return lambda step: start * factor**step


def piecewise(*pieces: tuple[int, float]) -> Schedule:
    """The value of the last piece `(first step, value)` that has begun; the first piece holds before it too.

    UsageError for pieces that are not in the order of their first steps.
    """
    firsts = [_finite("piecewise", first) for first, _ in pieces]
    if not firsts or any(before >= after for before, after in pairwise(firsts)):
        raise UsageError(f"piecewise: the first steps are {firsts}; give at least one piece, each later than the last")
    values = [_finite("piecewise", value) for _, value in pieces]
    return lambda step: values[max(0, bisect_right(firsts, step) - 1)]


def warmup(steps: int, schedule: Number) -> Schedule:
    """A rise in equal parts over the first `steps`, then the schedule, whose step 0 comes after it."""
    steps, schedule = _steps("warmup", steps), schedule if callable(schedule) else _finite("warmup", schedule)
    return lambda step: value_at(schedule, 0) * (step + 1) / steps if step < steps else value_at(schedule, step - steps)
