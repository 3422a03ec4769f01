"""Whether a sampler has learned its training examples by heart."""

import numpy as np

from tinygen.metrics.neighbours import nearest


def memorisation(samples: np.ndarray, train: np.ndarray, held_out: np.ndarray) -> float:
    """Mean distance of samples (N, ...) to the nearest training example, over that to the nearest held-out one.

    In data space, where no network that saw the training examples can have an opinion. 0 for copies. New examples of
    the same distribution come near 1, and below where there are more training examples than held-out ones, so the
    figure is read beside that of real ones.
    """
    samples, train, held_out = (x.reshape(len(x), -1) for x in (samples, train, held_out))
    to_train, to_held_out = nearest(samples, train).mean(), nearest(samples, held_out).mean()
    with np.errstate(divide="ignore", invalid="ignore"):  # copies of held-out examples
        return float(to_train / to_held_out)
