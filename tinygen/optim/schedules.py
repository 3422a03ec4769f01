"""Schedules: functions `step -> value`, with steps counted from 0. Any hyper-parameter may be one."""

import math
from collections.abc import Callable

Schedule = Callable[[int], float]
Number = float | Schedule


def value_at(value: Number, step: int) -> float:
    """A hyper-parameter at a step: that of a schedule, or the number itself."""
    return value(step) if callable(value) else value


def _progress(step: int, steps: int) -> float:
    """The fraction of `steps` that has passed, at most 1."""
    return step / steps if step < steps else 1.0


def constant(value: float) -> Schedule:
    """Always the same value."""
    return lambda step: value


def linear(start: float, end: float, steps: int) -> Schedule:
    """A straight line from `start` to `end` over `steps`, then `end`."""
    return lambda step: start + (end - start) * _progress(step, steps)


def cosine(start: float, end: float, steps: int) -> Schedule:
    """Half a cosine from `start` to `end` over `steps`, then `end` (Loshchilov & Hutter 2017)."""
    return lambda step: end + (start - end) * (1 + math.cos(math.pi * _progress(step, steps))) / 2


def logistic(start: float, end: float, steps: int) -> Schedule:
    """A logistic curve from `start` to `end` over `steps`, steepest half-way; then `end`.

    Bowman et al. 2016 (arXiv:1511.06349, figure 2) anneal the KL term of a bound in this way.
    """

    def half(x: float) -> float:
        return math.tanh(STEEPNESS * x) / math.tanh(STEEPNESS) / 2

    return lambda step: start + (end - start) * (0.5 + half(2 * _progress(step, steps) - 1))


STEEPNESS = 3.0
"""Half of the argument of `logistic` at the end of its curve, where the logistic function is 0.998."""


def exponential(start: float, factor: float) -> Schedule:
    """start * factor ** step"""
    return lambda step: start * factor**step


def piecewise(*pieces: tuple[int, float]) -> Schedule:
    """The value of the last piece `(first step, value)` that has begun; the first piece holds before it too."""
    return lambda step: next((value for first, value in reversed(pieces) if first <= step), pieces[0][1])


def warmup(steps: int, schedule: Number) -> Schedule:
    """A rise in equal parts over the first `steps`, then the schedule, whose step 0 comes after it."""
    return lambda step: value_at(schedule, 0) * (step + 1) / steps if step < steps else value_at(schedule, step - steps)
