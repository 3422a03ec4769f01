"""Parzen window estimates of a log-likelihood, as the first papers on adversarial networks reported them.

They serve only for comparison with these papers. In hundreds of dimensions no feasible number of samples brings such an
estimate near the likelihood, and it ranks models wrongly: centres of clusters of the training data score better than
most models and than the data themselves (Theis, van den Oord & Bethge 2016, section 3.2).
"""

import math

import numpy as np

WIDTHS = tuple(np.logspace(-1, 0, 20))  # of Goodfellow's parzen_ll.py, for pixels in [0, 1]
MEMORY = 2**24  # distances in memory at a time


def log_likelihood(x, samples, widths) -> np.ndarray:
    """Log density in nats, (len(widths), N), of x (N, ...) under a mixture of normal distributions around samples.

    The mixture has equal weights and one standard deviation in every direction, each of the `widths`.
    """
    x, samples = (np.asarray(a, np.float64).reshape(len(a), -1) for a in (x, samples))
    count, dimensions = samples.shape
    variances = np.square(np.asarray(widths, np.float64))
    norms = np.square(samples).sum(axis=1)
    rows = max(1, MEMORY // count)
    densities = []
    for start in range(0, len(x), rows):
        part = x[start : start + rows]
        distances = np.square(part).sum(axis=1)[:, None] - 2 * part @ samples.T + norms
        nearest = distances.min(axis=1)
        distances -= nearest[:, None]
        densities.append([np.log(np.exp(-distances / (2 * v)).sum(axis=1)) - nearest / (2 * v) for v in variances])
    constant = np.log(2 * math.pi * variances) * dimensions / 2 + math.log(count)
    return np.concatenate(densities, axis=1) - constant[:, None]


def choose_width(x, samples) -> float:
    """The width in `WIDTHS` under which held-out x (N, ...) are most probable."""
    return WIDTHS[int(log_likelihood(x, samples, WIDTHS).mean(axis=1).argmax())]


def estimate(x, samples) -> float:
    """Mean log density in nats of held-out x (N, ...), N of at least 2, under a window around samples.

    Its width is chosen on the first tenth of x; the mean is over the rest.
    """
    first = -(-len(x) // 10)
    return float(log_likelihood(x[first:], samples, [choose_width(x[:first], samples)]).mean())
