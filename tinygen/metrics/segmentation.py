"""Metrics of segment maps: the share of pixels of the right class, and the mean intersection over union of classes."""

import numpy as np


def confusion(predicted: np.ndarray, true: np.ndarray, classes: int) -> np.ndarray:
    """The number of pixels of each true class (row) and predicted class (column), float64 (classes, classes)."""
    pairs = true.ravel() * classes + predicted.ravel()
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes).astype(np.float64)


def scores(confusion: np.ndarray) -> dict[str, float]:
    """Pixel accuracy and mean intersection over union (Everingham et al. 2015), both over all images at once.

    The mean is over the classes that occur among the true or the predicted ones.
    """
    hits = np.diag(confusion)
    unions = confusion.sum(axis=0) + confusion.sum(axis=1) - hits
    return {
        "mean_iou": float((hits / unions.clip(1))[unions > 0].mean()),
        "pixel_accuracy": float(hits.sum() / confusion.sum()),
    }
