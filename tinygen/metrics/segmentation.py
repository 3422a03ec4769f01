"""Metrics of segment maps and masks: the share of pixels of the right class, and intersections over unions."""

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


def foreground_iou(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """The intersection over union of two masks, bool (N, H, W), of each image: (N,); 1 where both are empty."""
    union = (predicted | true).sum(axis=(1, 2))
    return np.where(union > 0, (predicted & true).sum(axis=(1, 2)) / union.clip(1), 1.0)
