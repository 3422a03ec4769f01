"""A short training that shows that a system learns: what `tinygen verify` runs, and what the result is held to."""

from dataclasses import dataclass
from typing import Any, Literal

MEAN_IMAGE = "mean image"
INDEPENDENT = "independent pixels"
COPY = "copied input"
GUESS = "most frequent class"
UNTRAINED = "untrained"
NO_MODES = "no modes"
"""Rivals that need no training; `tinygen.verify` measures them."""


@dataclass(frozen=True)
class Demand:
    """A figure that must be below or above a bound: `times` that of a rival, plus a constant."""

    figure: str
    side: Literal["<", ">"]
    rival: str
    times: float = 0.0
    plus: float = 0.0


@dataclass(frozen=True)
class Trial:
    """A short training, and what it has to come to."""

    data: str
    steps: int
    config: dict[str, Any]
    demands: tuple[Demand, ...]
    binarised: Literal["dynamic", "threshold"] | None = None
    """How images are made black and white for a model that would take grey ones."""
    quick: bool = True
    """Seconds, so that the tests run it as well."""


LIKE_DATA = Demand("pixel_covariance_correlation", ">", INDEPENDENT, plus=0.7)
CODED = Demand("probe_error_rate", "<", GUESS, times=0.38)
