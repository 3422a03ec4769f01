"""The exact Wasserstein-1 distance between two samples of numbers."""

import numpy as np


def w1(a, b) -> float:
    """Wasserstein-1 distance of the empirical distributions of two samples (N,) and (M,), in the unit of their values.

    The area between the two distribution functions (Vallender 1974): in one dimension the optimal transport keeps
    the order.
    """
    a, b = (np.sort(np.asarray(x, np.float64)) for x in (a, b))
    places = np.concatenate([a, b])
    places.sort()
    below_a, below_b = (np.searchsorted(x, places[:-1], side="right") / len(x) for x in (a, b))
    return float(np.abs(below_a - below_b) @ np.diff(places))
