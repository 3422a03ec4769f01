"""How many modes of a known mixture a generator covers, and how well (Srivastava et al. 2017; Lin et al. 2018)."""

from typing import NamedTuple

import numpy as np

from tinygen.data.points import Mixture

SAMPLES = 2500
"""Samples for a count, as in both papers."""


class Modes(NamedTuple):
    """The number of modes that have a sample of high quality, and the share of samples that are of high quality."""

    covered: int
    high_quality: float


def count_modes(samples: np.ndarray, mixture: Mixture) -> Modes:
    """Assign samples (N, D) to modes: one is of high quality within three standard deviations of its nearest centre."""
    distances = np.linalg.norm(samples[:, None].astype(np.float64) - mixture.centres, axis=2)
    nearest = distances.argmin(axis=1)
    good = distances.min(axis=1) <= 3 * mixture.std[nearest]
    return Modes(len(np.unique(nearest[good])), float(good.mean()))
