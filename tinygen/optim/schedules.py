"""Schedules: callables `step -> value`, with steps counted from 0. Any hyper-parameter may be one.

Those made here are values: two of the same settings are equal, and they can be copied and pickled.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

Schedule = Callable[[int], float]
Number = float | Schedule


def value_at(value: Number, step: int) -> float:
    """A hyper-parameter at a step: that of a schedule, or the number itself."""
    return value(step) if callable(value) else value


@dataclass(frozen=True)
class constant:
    """Always the same value."""

    value: float

    def __call__(self, step: int) -> float:
        return self.value


@dataclass(frozen=True)
class _FromStartToEnd:
    """A way from `start` to `end` over `steps`, then `end`."""

    start: float
    end: float
    steps: int

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
class exponential:
    """start * factor ** step"""

    start: float
    factor: float

    def __call__(self, step: int) -> float:
        return self.start * self.factor**step


@dataclass(frozen=True, init=False)
class piecewise:
    """The value of the last piece `(first step, value)` that has begun; the first piece holds before it too."""

    pieces: tuple[tuple[int, float], ...]

    def __init__(self, *pieces: tuple[int, float]):
        object.__setattr__(self, "pieces", pieces)

    def __call__(self, step: int) -> float:
        return next((value for first, value in reversed(self.pieces) if first <= step), self.pieces[0][1])


@dataclass(frozen=True)
class warmup:
    """A rise in equal parts over the first `steps`, then the schedule, whose step 0 comes after it."""

    steps: int
    schedule: Number

    def __call__(self, step: int) -> float:
        if step < self.steps:
            return value_at(self.schedule, 0) * (step + 1) / self.steps
        return value_at(self.schedule, step - self.steps)
