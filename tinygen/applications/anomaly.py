"""Anomaly detection: scores that are high for examples unlike those that a system was trained on, and their ROC curves.

A likelihood misleads, since simple examples of other data can be more probable than those of training (Nalisnick et al.
2019, arXiv:1810.09136); so there are several scores.
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
SMALLEST_NORM = 1e-3
"""Below this a squared norm is not divided by: of images that are black."""


class Detector:
    """The scores that a system's capabilities allow.

    reconstruction: squared error of the image rebuilt from its code. relative reconstruction: its ratio to the squared
    norm of the image, since the error of a few bright pixels is small whatever they show. code: mean distance of its
    code from the five nearest of train. improbability: -log p, or its bound. complexity ratio: the same less the nats
    of the image compressed as a PNG (Serrà et al. 2020, arXiv:1909.11480). principal components, the baseline: squared
    distance from the plane of the 32 first ones; and relative, as above.
    """

    def __init__(self, model: Any, train: Split, *, seed: int):
        self.model, self.seed = model, seed
        self.pca = PCA(flat(train.values("x")), COMPONENTS)
        self.codes = flat(codes_of(model, train)) if isinstance(model, Codes) else None

    def scores(self, x: np.ndarray) -> dict[str, np.ndarray]:
        """For each score its values (N,) of images (N, H, W, C)."""
        model, found = self.model, {}
        norms = (flat(x) ** 2).sum(axis=1).clip(SMALLEST_NORM)
        if self.codes is not None:
            codes = model.encode(x)
            found["reconstruction"] = flat((model.decode(codes) - x) ** 2).sum(axis=1)
            found["relative reconstruction"] = found["reconstruction"] / norms
            found["code"] = nearest(flat(codes), self.codes, NEIGHBOURS)[1].mean(axis=1)
        if isinstance(model, Density):
            found["improbability"] = -model.log_prob(x, seed=self.seed)
            found["complexity ratio"] = found["improbability"] - compressed_nats(x)
        residual = self.pca.residual(flat(x))
        return found | {"principal components": residual, "relative principal components": residual / norms}


def compressed_nats(x: np.ndarray) -> np.ndarray:
    """Size in nats (N,) of images (N, H, W, C), each compressed as a PNG."""
    return png_sizes(x) * 8 * math.log(2)


def auroc(normal: np.ndarray, anomalous: np.ndarray) -> float:
    """The probability that an anomaly scores higher than a normal example, ties counted half: the area under the ROC
    curve (Hanley & McNeil 1982).
    """
    _, place, counts = np.unique(np.concatenate([normal, anomalous]), return_inverse=True, return_counts=True)
    ranks = (counts.cumsum() - (counts - 1) / 2)[place][len(normal) :]
    return float((ranks.mean() - (len(anomalous) + 1) / 2) / len(normal))


def roc(normal: np.ndarray, anomalous: np.ndarray) -> np.ndarray:
    """The ROC curve, (N, 2): shares of normal and of anomalous examples above each threshold, the highest first."""
    thresholds = np.unique(np.concatenate([normal, anomalous]))[::-1]
    above = [len(scores) - np.searchsorted(np.sort(scores), thresholds, side="left") for scores in (normal, anomalous)]
    curve = np.stack([above[0] / len(normal), above[1] / len(anomalous)], axis=1)
    return np.concatenate([[[0.0, 0.0]], curve])


def roc_picture(curves: Mapping[str, np.ndarray]) -> Any:
    """A picture of Pillow's with the curves of each name, and the diagonal of chance."""
    from PIL import Image, ImageDraw

    row = 14
    picture = Image.new("RGB", (SIDE, SIDE + row * (1 + len(curves))), "white")
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, 0, SIDE - 1, SIDE - 1), outline="black")
    draw.line((0, SIDE - 1, SIDE - 1, 0), fill="#bbbbbb")
    for number, (name, curve) in enumerate(curves.items()):
        colour = plots.CLASSES[number % len(plots.CLASSES)]
        draw.line([((SIDE - 1) * a, (SIDE - 1) * (1 - b)) for a, b in curve.tolist()], fill=colour, width=2)
        draw.text((4, SIDE + 4 + row * number), name, fill=colour)
    return picture
