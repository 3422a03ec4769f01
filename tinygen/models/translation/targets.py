"""What a translation predicts: intensities, the chroma of grey images, or the class of each pixel.

Each kind of target defines the values (N, H, W, K) to predict, the loss, the resulting translation, and the metrics.
These are computed from a statistic that is summed over examples, batch by batch.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from tinygen import functional as F
from tinygen.backend import to_numpy
from tinygen.data.fields import Image, SegmentMap
from tinygen.errors import UsageError
from tinygen.metrics import segmentation
from tinygen.metrics.images import WINDOW, psnr, ssim
from tinygen.models.translation import chroma
from tinygen.nn import Module

ERRORS = {"squared": F.squared_error, "absolute": F.absolute_error}
LEVELS = {1: 64, 3: 16}
"""Levels of each channel that a `ColourTable` distinguishes, for each number of channels."""


class Intensities:
    """Images in [0, 1]: the input plus what a network adds to it, or the sigmoid of the network's outputs."""

    selection_metric = "psnr_db"

    def __init__(self, x: Image | SegmentMap, target: Image, *, loss: str, residual: bool):
        self.inputs, self.outputs, self.error, self.residual = depth(x), target.shape[2], loss, residual
        self.can_be_copied = not isinstance(x, SegmentMap) and x.channels == target.channels
        self.has_structure = min(target.shape[:2]) >= WINDOW
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
        """The sums of squared errors, of absolute errors and of SSIM, and the numbers of values and of images."""
        return image_errors(predicted, true)

    def metrics(self, statistic: np.ndarray) -> dict[str, float]:
        return image_metrics(statistic, self.has_structure)


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

    def statistic(self, predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
        """The summed squared error, and the number of pixels."""
        return np.array([((predicted - true) ** 2).sum(dtype=np.float64), true.size / 2])

    def metrics(self, statistic: np.ndarray) -> dict[str, float]:
        return {"chroma_error": float(statistic[0] / statistic[1])}


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
    """Trivial translations: the means of target values over examples, of all, at a place, and for an input's colour.

    The last, `of_colour`, is the best translation of a pixel by its own colour, or its own class, alone. `constant` and
    `at_place` are the best ones that ignore the input.
    """

    def __init__(self, x: Image | SegmentMap, values: tuple[int, int, int]):
        """`values` is the shape (H, W, K) of the target values of an example."""
        self.levels = None if isinstance(x, SegmentMap) else LEVELS[x.shape[2]]
        colours = depth(x) if self.levels is None else self.levels ** x.shape[2]
        self.counts, self.totals = np.zeros(colours), np.zeros((colours, values[2]))
        self.examples, self.places = np.zeros(()), np.zeros(values)

    def add(self, x: np.ndarray, values: np.ndarray) -> None:
        """Count the pixels of inputs (N, H, W, ...) by colour, and add up the values (N, H, W, K) of their targets."""
        indices, size = self._indices(x).ravel(), len(self.counts)
        self.counts += np.bincount(indices, minlength=size)
        for k in range(values.shape[3]):
            self.totals[:, k] += np.bincount(indices, values[..., k].ravel(), minlength=size)
        self.examples += len(x)
        self.places += values.sum(axis=0, dtype=np.float64)

    def constant(self, x: np.ndarray) -> np.ndarray:
        """The mean values of all targets, for each pixel (N, H, W, K)."""
        mean = self.totals.sum(axis=0) / max(1.0, self.counts.sum())
        return np.broadcast_to(mean, (*x.shape[:3], len(mean)))

    def at_place(self, x: np.ndarray) -> np.ndarray:
        """The mean values of all targets at each place, (N, H, W, K)."""
        return np.broadcast_to(self.places / max(1.0, float(self.examples)), (len(x), *self.places.shape))

    def of_colour(self, x: np.ndarray) -> np.ndarray:
        """The mean values of the targets of pixels of the same colour (N, H, W, K)."""
        mean = self.totals.sum(axis=0) / max(1.0, self.counts.sum())
        table = np.where(self.counts[:, None] > 0, self.totals / self.counts.clip(1)[:, None], mean)
        return table[self._indices(x)]

    def guesses(self, x: np.ndarray, *, paired: bool = True) -> dict[str, np.ndarray]:
        """The trivial translations by the prefix of their metrics; `of_colour` where the examples were pairs."""
        found = {"constant_": self.constant(x), "position_": self.at_place(x)}
        return found | {"table_": self.of_colour(x)} if paired else found

    def _indices(self, x: np.ndarray) -> np.ndarray:
        """The index (N, H, W) of the colour of each pixel in the table."""
        if self.levels is None:
            return x
        digits = (np.nan_to_num(x) * self.levels).astype(np.int64).clip(0, self.levels - 1)
        return digits @ self.levels ** np.arange(x.shape[3])


class Scores:
    """The metrics of several translations, each with its prefix, from statistics summed over all examples."""

    def __init__(self, target: Intensities | Classes):
        self.target = target
        self.statistics: dict[str, Any] = {}

    def add(self, guesses: Mapping[str, np.ndarray], true: np.ndarray) -> None:
        """Add the values (N, H, W, K) of translations, by the prefix of their metrics, and the true values."""
        for prefix, guess in guesses.items():
            self.statistics[prefix] = self.statistics.get(prefix, 0) + self.target.statistic(guess, true)

    def metrics(self) -> dict[str, float]:
        metrics = {prefix: self.target.metrics(statistic) for prefix, statistic in self.statistics.items()}
        return {f"{prefix}{name}": value for prefix, each in metrics.items() for name, value in each.items()}


def image_errors(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """The sums of squared errors, of absolute errors and of SSIM, and the numbers of values and of images."""
    difference = np.subtract(predicted, true, dtype=np.float64)
    similarity = ssim(np.asarray(predicted), true).sum() if min(true.shape[1:3]) >= WINDOW else 0.0
    return np.array([np.square(difference).sum(), np.abs(difference).sum(), similarity, true.size, len(true)])


def image_metrics(statistic: np.ndarray, has_structure: bool) -> dict[str, float]:
    """PSNR of the squared error averaged over all images, absolute error, and SSIM where windows fit, from sums."""
    squared, absolute, similarity, values, images = statistic.tolist()
    found = {"psnr_db": psnr(squared / values), "absolute_error_per_pixel": absolute / values}
    return found | {"ssim": similarity / images} if has_structure else found


def depth(x: Image | SegmentMap) -> int:
    """The number of values of an input pixel: channels, or classes of a segment map, which become one-hot vectors."""
    return x.classes or 0 if isinstance(x, SegmentMap) else x.shape[2]


def refuse_unequal_sizes(x: Any, target: Any) -> None:
    """UsageError for fields of pictures of two sizes."""
    if x.shape[:2] != target.shape[:2]:
        sizes = f"x are {x.in_words()} and target {target.in_words()}"
        raise UsageError(f"{sizes}: bring both to one size, which the network keeps")


def refuse_unpaired(target: Any) -> None:
    """UsageError for a field target whose pictures do not belong to the x beside them."""
    if why := getattr(target, "unpaired", None):
        raise UsageError(f"x and target are no pairs: {why}; pairs have the same names (cyclegan learns without pairs)")
