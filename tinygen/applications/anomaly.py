"""Anomaly detection: scores that are high for examples unlike the training data, and the ROC curves of these scores.

A likelihood alone misleads, since simple examples of other data can be more probable than training examples (Nalisnick
et al. 2019, arXiv:1810.09136); so there are several scores.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from tinygen.applications.codes import PCA, codes_of, flat, png_sizes
from tinygen.applications.retrieval import nearest
from tinygen.capabilities import Codes, Density
from tinygen.data import Split
from tinygen.train import plots

NEIGHBOURS = 5
COMPONENTS = 32
SIDE = 320
"""Pixels along each side of the plot of ROC curves."""
SMALLEST_NORM = 1e-3
"""The least divisor of relative scores; the squared norm of a black image would be 0."""


class Detector:
    """The scores that a system's capabilities allow.

    reconstruction: squared error of the reconstruction. relative reconstruction: its ratio to the squared norm of the
    image, since the error of a few bright pixels is small whatever they show. code: mean distance of the code from the
    five nearest training codes. improbability: -log p, or its bound. complexity ratio: improbability minus the size in
    nats of the image as a PNG file (Serrà et al. 2020, arXiv:1909.11480). principal components, the baseline: squared
    distance from the plane of the first 32 principal components; also relative, as above.
    """

    def __init__(self, model: Any, train: Split, *, seed: int):
        self.model, self.seed = model, seed
        self.pca = PCA(flat(train.values("x")), COMPONENTS)
        self.codes = flat(codes_of(model, train)) if isinstance(model, Codes) else None

    def scores(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """For each score, its values (N,) for images (N, H, W, C)."""
        model, scores = self.model, {}
        norms = (flat(x) ** 2).sum(axis=1).clip(SMALLEST_NORM)
        if self.codes is not None:
            codes = model.encode(x)
            scores["reconstruction"] = flat((model.decode(codes) - x) ** 2).sum(axis=1)
            scores["relative reconstruction"] = scores["reconstruction"] / norms
            scores["code"] = nearest(flat(codes), self.codes, NEIGHBOURS)[1].mean(axis=1)
        if isinstance(model, Density):
            scores["improbability"] = -model.log_prob(x, seed=self.seed)
            scores["complexity ratio"] = scores["improbability"] - compressed_nats(x)
        residual = self.pca.residual(flat(x))
        return scores | {"principal components": residual, "relative principal components": residual / norms}


def compressed_nats(x: np.ndarray) -> np.ndarray:
    """Size in nats (N,) of images (N, H, W, C), each compressed as a PNG."""
    return png_sizes(x) * 8 * math.log(2)


def auroc(normal: np.ndarray, anomalous: np.ndarray) -> float:
    """The probability that an anomaly scores higher than a normal example, ties counted half: the area under the ROC
    curve (Hanley & McNeil 1982).
    """
    _, index, counts = np.unique(np.concatenate([normal, anomalous]), return_inverse=True, return_counts=True)
    ranks = (counts.cumsum() - (counts - 1) / 2)[index][len(normal) :]
    return float((ranks.mean() - (len(anomalous) + 1) / 2) / len(normal))


def roc(normal: np.ndarray, anomalous: np.ndarray) -> np.ndarray:
    """The ROC curve, (N, 2): shares of normal and of anomalous examples above each threshold, the highest first."""
    thresholds = np.unique(np.concatenate([normal, anomalous]))[::-1]
    above = [len(scores) - np.searchsorted(np.sort(scores), thresholds, side="left") for scores in (normal, anomalous)]
    curve = np.stack([above[0] / len(normal), above[1] / len(anomalous)], axis=1)
    return np.concatenate([[[0.0, 0.0]], curve])


def roc_picture(curves: Mapping[str, np.ndarray]) -> Any:
    """A Pillow image of the named curves, with the diagonal of chance."""
    from PIL import Image, ImageDraw

    line_height = 14
    picture = Image.new("RGB", (SIDE, SIDE + line_height * (1 + len(curves))), "white")
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, 0, SIDE - 1, SIDE - 1), outline="black")
    draw.line((0, SIDE - 1, SIDE - 1, 0), fill="#bbbbbb")
    for number, (name, curve) in enumerate(curves.items()):
        colour = plots.CLASSES[number % len(plots.CLASSES)]
        draw.line([((SIDE - 1) * a, (SIDE - 1) * (1 - b)) for a, b in curve.tolist()], fill=colour, width=2)
        draw.text((4, SIDE + 4 + line_height * number), name, fill=colour)
    return picture
