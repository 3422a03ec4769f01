"""k-means, from which expectation maximisation starts."""

import math
from typing import Any

from tinygen import random
from tinygen.backend import array_module

ROUNDS = 20
"""Most rounds of Lloyd's algorithm in a run."""


def k_means(x: Any, clusters: int, restarts: int) -> Any:
    """The cluster of each point of x (N, D) as zeros and ones (N, clusters), by the best of several runs.

    Each run is Lloyd's algorithm (1982) from `initial_centres`. It draws from the stream "train".
    """
    runs = [_run(x, clusters) for _ in range(restarts)]
    _, nearest = min(runs, key=lambda run: float(run[0]))
    return array_module(x).eye(clusters)[nearest]


def _run(x: Any, clusters: int) -> tuple[Any, Any]:
    """The sum of squared distances to the centres, and the nearest centre of each point (N,)."""
    xp, centres = array_module(x), initial_centres(x, clusters)
    total, nearest = _nearest(x, centres)
    for _ in range(ROUNDS):
        members = xp.eye(clusters)[nearest]
        counts = members.sum(axis=0)[:, None]
        centres = xp.where(counts > 0, members.T @ x / xp.maximum(counts, 1), centres)
        before, (total, nearest) = total, _nearest(x, centres)
        if total >= before:
            break
    return total, nearest


def _nearest(x: Any, centres: Any) -> tuple[Any, Any]:
    distances = array_module(x).stack([squared_distances(x, centre) for centre in centres], axis=1)
    return distances.min(axis=1).sum(), distances.argmin(axis=1)


def initial_centres(x: Any, clusters: int) -> Any:
    """Centres (clusters, D) among the points, by greedy k-means++ (Arthur & Vassilvitskii 2007, section 5).

    Candidates for the next centre are drawn with probabilities in proportion to their squared distances from the
    centres so far; the candidate with which the sum of these distances is least becomes the centre.
    """
    xp, stream = array_module(x), random.stream("train")
    first = int(stream.uniform() * len(x))
    chosen, nearest = [first], squared_distances(x, x[first])
    for _ in range(1, clusters):
        cumulative = nearest.cumsum()
        drawn = stream.uniform(2 + int(math.log(clusters)), dtype="float64") * float(cumulative[-1])
        candidates = [min(int(each), len(x) - 1) for each in xp.searchsorted(cumulative, xp.asarray(drawn))]
        left = [xp.minimum(nearest, squared_distances(x, x[each])) for each in candidates]
        best = min(range(len(left)), key=lambda i: float(left[i].sum()))
        chosen, nearest = [*chosen, candidates[best]], left[best]
    return x[xp.asarray(chosen)]


def squared_distances(x: Any, point: Any) -> Any:
    """Squared distances (N,) of points (N, D) from one (D,)."""
    return ((x - point) ** 2).sum(axis=1)
