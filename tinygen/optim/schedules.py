"""Schedules: callables `step -> value`, with steps counted from 0. Any hyper-parameter may be one.

Those made here are values: two of the same settings are equal, and they can be copied and pickled. UsageError for a
setting that is no finite number, and for fewer than 0 steps.
"""

import math
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any

from tinygen.arguments import plain
from tinygen.errors import UsageError

Schedule = Callable[[int], float]
Number = float | Schedule


def value_at(value: Number, step: int) -> float:
    """A hyper-parameter at a step: that of a schedule, or the number itself."""
    return value(step) if callable(value) else value


def _finite(owner: object, value: Any) -> Any:
    """A number of a schedule; UsageError for one that is NaN or infinite, or no number."""
    number = plain(value)
    if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
        raise UsageError(f"{type(owner).__name__}: {value!r} is not a finite number")
    return number


class _Settings:
    """The base of schedules whose fields are finite numbers, or other schedules."""

    def __post_init__(self) -> None:
        for each in fields(self):  # type: ignore[arg-type]
            value = getattr(self, each.name)
            number = value if callable(value) else _finite(self, value)
            if each.name == "steps" and number < 0:
                raise UsageError(f"{type(self).__name__}: {number} steps; it must be at least 0")
            object.__setattr__(self, each.name, number)


@dataclass(frozen=True)
class constant(_Settings):
    """Always the same value."""

    value: float

    def __call__(self, step: int) -> float:
        return self.value


@dataclass(frozen=True)
class _FromStartToEnd(_Settings):
    """A way from `start` to `end` over `steps`, then `end`."""

    start: float
    end: float
    steps: float

    def __call__(self, step: int) -> float:
        return self.value_after(step / self.steps if step < self.steps else 1.0)

    def value_after(self, x: float) -> float:
        """The value when a fraction x from 0 to 1 of the steps has passed."""
        raise NotImplementedError


class linear(_FromStartToEnd):
    """A straight line from `start` to `end` over `steps`, then `end`."""

    def value_after(self, x: float) -> float:
        return self.start + (self.end - self.start) * x


class cosine(_FromStartToEnd):
    """Half a cosine from `start` to `end` over `steps`, then `end` (Loshchilov & Hutter 2017)."""

    def value_after(self, x: float) -> float:
        return self.end + (self.start - self.end) * (1 + math.cos(math.pi * x)) / 2


class logistic(_FromStartToEnd):
    """A logistic curve from `start` to `end` over `steps`, steepest half-way; then `end`.

    Bowman et al. 2016 (arXiv:1511.06349, figure 2) anneal the KL term of a bound in this way.
    """

    STEEPNESS = 3.0
    """Half of the argument of the logistic function at the end of the curve, where it is 0.998."""

    def value_after(self, x: float) -> float:
        curve = math.tanh(self.STEEPNESS * (2 * x - 1)) / math.tanh(self.STEEPNESS)
        return self.start + (self.end - self.start) * (0.5 + curve / 2)


@dataclass(frozen=True)
class exponential(_Settings):
    """start * factor ** step"""

    start: float
    factor: float

    def __call__(self, step: int) -> float:
        return self.start * self.factor**step


@dataclass(frozen=True, init=False)
class piecewise:
    """The value of the last piece `(first step, value)` that has begun; the first piece holds before it too.

    UsageError for pieces that are not in the order of their first steps.
    """

    firsts: tuple[int, ...]
    values: tuple[float, ...]

    def __init__(self, *pieces: tuple[int, float]):
        firsts = [_finite(self, first) for first, _ in pieces]
        if not firsts or any(before >= after for before, after in pairwise(firsts)):
            raise UsageError(
                f"piecewise: the first steps are {firsts}; give at least one piece, each later than the last"
            )
        object.__setattr__(self, "firsts", tuple(firsts))
        object.__setattr__(self, "values", tuple(_finite(self, value) for _, value in pieces))

    def __call__(self, step: int) -> float:
        return self.values[max(0, bisect_right(self.firsts, step) - 1)]


@dataclass(frozen=True)
class warmup(_Settings):
    """A rise in equal parts over the first `steps`, then the schedule, whose step 0 comes after it."""

    steps: float
    schedule: Number

    def __call__(self, step: int) -> float:
        if step < self.steps:
            return value_at(self.schedule, 0) * (step + 1) / self.steps
        return value_at(self.schedule, step - self.steps)  # type: ignore[arg-type]
