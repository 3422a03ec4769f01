"""The reference with which samples of a data set are compared: one half of its test images, seen by two judges."""

import numpy as np

from tinygen.data import Dataset, Split
from tinygen.errors import DataError, NonFiniteError
from tinygen.metrics.coverage import NEIGHBOURS, density_and_coverage
from tinygen.metrics.frechet import frechet_distance
from tinygen.metrics.judge import Judge, JudgeConfig
from tinygen.metrics.labels import agreement, classes_present, histogram_distance
from tinygen.metrics.memorisation import memorisation
from tinygen.random import Stream


class Reference:
    """A random half of the test images, to compare samples with; the other half gives the scores of real images.

    Each half has `n` images, as scored samples must have: a Frechet distance depends on their number. Features and
    classes are those of the first judge; the second judge serves for `judges_agree`. DataError for data without
    labels, or too few.
    """

    def __init__(self, data: Dataset, judges: tuple[Judge, Judge] | None = None):
        self.n = len(data.test) // 2
        self.judges = judges or (Judge.of(data, JudgeConfig(seed=0)), Judge.of(data, JudgeConfig(seed=1)))
        assert data.spec.classes, "judges refuse data without labels"
        self.classes = data.spec.classes
        if self.n <= NEIGHBOURS:
            least = 2 * (NEIGHBOURS + 1)
            raise DataError(f"{data.spec.name} has {len(data.test)} test images: a comparison needs {least} or more")
        order = Stream(0, "halves of test").permutation(len(data.test))
        self.held_out, self.real = (data.test.batch(order[start : start + self.n]) for start in (0, self.n))
        self.train = in_one_batch(data.train)
        self._features = self.judges[0].features(self.held_out.x)
        self._classes = self.judges[0].classes(self._features)
        self.floor = frechet_distance(self.judges[0].features(self.real.x), self._features)
        self.of_real = self.score(self.real.x, self.real.y)

    def score(self, x: np.ndarray, y: np.ndarray | None = None) -> dict[str, float]:
        """Metrics of samples x (n, H, W, C) in [0, 1], which are conditioned on labels y (n,) where these are given.

        `frechet` is in squared units of the features, `frechet_over_floor` a multiple of the distance between both
        halves; `label_distance` is the total variation between label histograms; all else are shares, ratios and a
        count. NonFiniteError for samples that are NaN or infinite.
        """
        if not np.isfinite(x).all():
            raise NonFiniteError("samples hold NaN or infinite values: there is nothing to compare")
        first, second = self.judges
        features = first.features(x)
        classes = first.classes(features)
        frechet = frechet_distance(features, self._features)
        density, coverage = density_and_coverage(self._features, features)
        metrics = {
            "frechet": frechet,
            "frechet_over_floor": frechet / max(self.floor, np.finfo(float).tiny),
            "density": density,
            "coverage": coverage,
            "label_distance": histogram_distance(classes, self._classes, self.classes),
            "classes": float(classes_present(classes, self.classes)),
            "memorisation": memorisation(x, self.train.x, self.held_out.x),
            "judges_agree": agreement(classes, second.classes(second.features(x))),
        }
        return metrics if y is None else metrics | {"label_agreement": agreement(classes, y)}

    def label_agreement(self, x: np.ndarray) -> float:
        """The share of images x (n, H, W, C), made of the real ones, to which the first judge gives their class."""
        judge = self.judges[0]
        return agreement(judge.classes(judge.features(x)), self.real.y)


def in_one_batch(split: Split):
    """All examples of a split as one batch; dynamic binarisation is drawn once."""
    return next(split.batches(len(split)))
