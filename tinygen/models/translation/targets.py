"""What a translation predicts: intensities, the chroma of grey images, or the class of each pixel.

Each kind of target defines the values (N, H, W, K) to predict, the loss, the resulting translation, and the metrics.
These are computed from a statistic that is summed over examples, batch by batch.
"""

from typing import Any

import numpy as np

from tinygen import functional as F
from tinygen.backend import to_numpy
from tinygen.data.fields import Image, SegmentMap
from tinygen.metrics import segmentation
from tinygen.metrics.images import psnr
from tinygen.models.translation import chroma
from tinygen.nn import Module

ERRORS = {"squared": F.squared_error, "absolute": F.absolute_error}
LEVELS = {1: 64, 3: 16}
"""Levels of each channel that a `ColourTable` distinguishes, for each number of channels."""


class Intensities:
    """Images in [0, 1]: the input plus what a network adds to it, or the sigmoid of the network's outputs."""

    selection_metric = "psnr_db"

    def __init__(self, x: Image, target: Image, *, loss: str, residual: bool):
        self.inputs, self.outputs, self.error, self.residual = x.shape[2], target.shape[2], loss, residual
        self.can_be_copied = x.channels == target.channels
        self.loss_name = f"{loss}_error_per_pixel"

    def network_input(self, x) -> Any:
        """The network's input."""
        return x

    def predicted(self, outputs, x) -> Any:
        return x + outputs if self.residual else F.sigmoid(outputs)

    def loss(self, outputs, x, target) -> Any:
        """The mean error over all values."""
        return ERRORS[self.error](self.predicted(outputs, x), target).mean()

    def translation(self, outputs, x) -> np.ndarray:
        return to_numpy(F.clip(self.predicted(outputs, x), 0, 1))

    def values(self, target: np.ndarray) -> np.ndarray:
        return target

    def statistic(self, predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
        """The summed squared error, and the number of values."""
        return np.array([((predicted - true) ** 2).sum(dtype=np.float64), true.size])

    def metrics(self, statistic: np.ndarray) -> dict[str, float]:
        return {"psnr_db": psnr(statistic[0] / statistic[1])}


class Chroma(Intensities):
    """The chroma of grey images, whose luma is kept."""

    selection_metric = "chroma_error"

    def __init__(self, *, loss: str):
        self.inputs, self.outputs, self.error, self.can_be_copied = 1, 2, loss, True
        self.loss_name = "chroma_error" if loss == "squared" else "absolute_error_per_pixel"

    def network_input(self, x) -> Any:
        return chroma.luma(x)

    def loss(self, outputs, x, target) -> Any:
        """The mean over pixels of the error, summed over Cb and Cr."""
        return ERRORS[self.error](outputs, chroma.chroma(target)).sum(axis=3).mean()

    def translation(self, outputs, x) -> np.ndarray:
        return chroma.colours(chroma.luma(to_numpy(x)), to_numpy(outputs))

    def values(self, target: np.ndarray) -> np.ndarray:
        return chroma.chroma(target)

    def metrics(self, statistic: np.ndarray) -> dict[str, float]:
        return {"chroma_error": float(2 * statistic[0] / statistic[1])}


class Classes:
    """A class for each pixel, by logits."""

    selection_metric, loss_name = "mean_iou", "pixel_cross_entropy_nats"
    can_be_copied = False

    def __init__(self, x: Image, target: SegmentMap):
        self.inputs, self.outputs = x.shape[2], target.classes or 0

    def network_input(self, x) -> Any:
        return x

    def loss(self, outputs, x, target) -> Any:
        """The mean cross-entropy of a pixel's class, in nats."""
        return F.cross_entropy(outputs.reshape(-1, self.outputs), target.reshape(-1)).mean()

    def translation(self, outputs, x) -> np.ndarray:
        return to_numpy(outputs).argmax(axis=3)

    def values(self, target: np.ndarray) -> np.ndarray:
        """1 for the class of a pixel, else 0."""
        return np.eye(self.outputs, dtype=np.float32)[target]

    def statistic(self, predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
        """The number of pixels of each true class (row) for which each class (column) is predicted."""
        return segmentation.confusion(predicted.argmax(axis=3), true.argmax(axis=3), self.outputs)

    def metrics(self, statistic: np.ndarray) -> dict[str, float]:
        return segmentation.scores(statistic)


class ColourTable(Module):
    """A baseline: for each colour of an input pixel, the mean values of the target pixels, over examples.

    It is the best translation of a pixel by its own colour alone; `constant` is the best that ignores the input.
    """

    def __init__(self, channels: int, values: int):
        self.levels = LEVELS[channels]
        self.counts = np.zeros(self.levels**channels)
        self.totals = np.zeros((self.levels**channels, values))

    def add(self, x: np.ndarray, values: np.ndarray) -> None:
        """Count the pixels of images (N, H, W, C) by colour, and add up the values (N, H, W, K) of their targets."""
        indices, size = self._indices(x).ravel(), len(self.counts)
        self.counts += np.bincount(indices, minlength=size)
        for k in range(values.shape[3]):
            self.totals[:, k] += np.bincount(indices, values[..., k].ravel(), minlength=size)

    def constant(self, x: np.ndarray) -> np.ndarray:
        """The mean values of all targets, for each pixel (N, H, W, K)."""
        mean = self.totals.sum(axis=0) / max(1.0, self.counts.sum())
        return np.broadcast_to(mean, (*x.shape[:3], len(mean)))

    def of_colour(self, x: np.ndarray) -> np.ndarray:
        """The mean values of the targets of pixels of the same colour (N, H, W, K)."""
        mean = self.totals.sum(axis=0) / max(1.0, self.counts.sum())
        table = np.where(self.counts[:, None] > 0, self.totals / self.counts.clip(1)[:, None], mean)
        return table[self._indices(x)]

    def _indices(self, x: np.ndarray) -> np.ndarray:
        """The index (N, H, W) of the colour of each pixel in the table."""
        digits = (np.nan_to_num(x) * self.levels).astype(np.int64).clip(0, self.levels - 1)
        return digits @ self.levels ** np.arange(x.shape[3])
