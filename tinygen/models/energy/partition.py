"""log Z, the logarithm of the normalising constant: summed exactly over all states, or estimated."""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from tinygen.backend import to_numpy

MOST_UNITS_SUMMED = 16
"""Most units of a layer over whose states sums are computed exactly."""
STATES = 4096
"""Number of states in memory at once."""


class LogZ(NamedTuple):
    """log Z in nats, and the standard error of an estimate of it; 0 if it is exact."""

    value: float
    error: float


def all_states(units: int) -> Iterator[np.ndarray]:
    """Every state of binary units, zeros and ones, float32 (states, units) in parts."""
    for first in range(0, 2**units, STATES):
        numbers = np.arange(first, min(2**units, first + STATES))
        yield (numbers[:, None] >> np.arange(units) & 1).astype(np.float32)


def exact_log_z(log_p: Callable[[np.ndarray], Any], units: int) -> LogZ:
    """log of the sum of exp(log_p(states)) over all states of a layer; `log_p` sums over the other layers."""
    parts = [to_numpy(log_p(states)).astype(np.float64) for states in all_states(units)]
    return LogZ(float(np.logaddexp.reduce(np.concatenate(parts))), 0.0)


def temperatures(steps: int) -> np.ndarray:
    """Inverse temperatures (steps + 1,) from 0 to 1.

    They are denser towards 1, in the proportions of Salakhutdinov & Murray 2008 (section 4.3): of 14,500 steps 500 lie
    below 0.5, 4,000 from there to 0.9, and 10,000 above.
    """
    position = np.linspace(0, 1, steps + 1)
    return np.interp(position, np.cumsum([0, 500, 4000, 10_000]) / 14_500, [0, 0.5, 0.9, 1])


def annealed_log_z(
    step: Callable[[Any, float, float], tuple[Any, Any]], states: Any, log_z: float, betas: Sequence[float] | np.ndarray
) -> LogZ:
    """Annealed importance sampling (Neal 2001; Salakhutdinov & Murray 2008, algorithm 1).

    `states` are draws from the distribution at inverse temperature 0, whose `log_z` is known. `step(states, low, high)`
    returns the change (N,) of the log of their unnormalised probabilities from one inverse temperature to the next, and
    new states by a transition that leaves the distribution at `high` invariant. The error follows from the spread of
    the weights of the N chains.
    """
    log_weights = np.zeros(len(states))
    for low, high in pairwise(betas):
        change, states = step(states, float(low), float(high))
        log_weights += to_numpy(change)
    weights = np.exp(log_weights - log_weights.max())
    mean, spread = weights.mean(), weights.std(ddof=1) / math.sqrt(len(weights))
    return LogZ(log_z + float(log_weights.max() + math.log(mean)), float(spread / mean))
