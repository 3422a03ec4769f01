"""Trivial generators of images, and for each the metrics of samples that tell it from a system that has learnt more.

Each has some virtue of samples: a normal distribution the right covariances, class means the right classes, copies of
training images everything but novelty. So no metric alone shows that samples are good.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tinygen.data import Dataset, Split
from tinygen.metrics.coverage import density_and_coverage
from tinygen.metrics.memorisation import memorisation
from tinygen.random import Stream

COMPONENTS = 2
"""Number of principal components."""
LEVELS = 256
"""Number of levels of pixels that `value_distance` tells apart."""
SAMPLES = 1000
"""Number of samples of each generator."""


def independent_pixels(x: np.ndarray, y: np.ndarray | None, n: int) -> np.ndarray:
    """Each pixel from a random image of its own."""
    rows = Stream(0, "independent pixels").integers(len(x), (n, x.shape[1]))
    return np.take_along_axis(x, rows, axis=0)


def normal(x: np.ndarray, y: np.ndarray | None, n: int) -> np.ndarray:
    """The normal distribution with the mean and the covariance of the images."""
    # A sum of all deviations with independent normal weights has their covariance; no matrix is needed.
    weights = Stream(0, "normal").normal((n, len(x))) / np.sqrt(len(x) - 1)
    return x.mean(axis=0) + weights @ (x - x.mean(axis=0))


def principal_components(x: np.ndarray, y: np.ndarray | None, n: int) -> np.ndarray:
    """The normal distribution of `COMPONENTS` principal components, around the mean image."""
    variances, directions = np.linalg.eigh(np.cov(x.T))
    scaled = directions[:, -COMPONENTS:] * np.sqrt(variances[-COMPONENTS:].clip(0))
    return x.mean(axis=0) + Stream(0, "components").normal((n, COMPONENTS)) @ scaled.T


def class_means(x: np.ndarray, y: np.ndarray | None, n: int) -> np.ndarray:
    """The mean images of the classes 0, 1, 2, ... in turn; of all images where these have no labels."""
    means = [x.mean(axis=0)] if y is None else [x[y == label].mean(axis=0) for label in range(y.max() + 1)]
    return np.stack(means)[np.arange(n) % len(means)]


def repeated_images(x: np.ndarray, y: np.ndarray | None, n: int) -> np.ndarray:
    """One training image of each class 0, 1, 2, ... in turn; ten images where these have no labels."""
    few = x[:10] if y is None else np.stack([x[y == label][0] for label in range(y.max() + 1)])
    return few[np.arange(n) % len(few)]


def copied_images(x: np.ndarray, y: np.ndarray | None, n: int) -> np.ndarray:
    """Random training images, of the classes 0, 1, 2, ... in turn where they have labels."""
    order = Stream(0, "copies").permutation(len(x))
    if y is None:
        return x[order[np.arange(n) % len(x)]]
    of_class = [order[y[order] == label] for label in range(y.max() + 1)]
    classes = len(of_class)
    return x[[of_class[i % classes][i // classes % len(of_class[i % classes])] for i in range(n)]]


@dataclass(frozen=True)
class Generator:
    """A trivial generator, and the metrics of `sample_metrics` in which it is bad."""

    draw: Callable[[np.ndarray, np.ndarray | None, int], np.ndarray]
    """n images (n, D) from training images (N, D) and their labels (N,), or None."""
    bad_in: tuple[str, ...]

    def samples(self, data: Dataset, n: int) -> np.ndarray:
        """n images (n, H, W, C), clipped to [0, 1]; those of black and white data are rounded."""
        x, y = pixels(data.train), data.train.values("y") if data.spec.classes else None
        drawn = self.draw(x.reshape(len(x), -1), y, n).clip(0, 1).reshape(n, *x.shape[1:])
        return (np.round(drawn) if data.spec.x.kind == "binary" else drawn).astype(np.float32)


GENERATORS: dict[str, Generator] = {
    "independent pixels": Generator(independent_pixels, ("pixel_covariance_correlation", "pixel_density")),
    "normal distribution": Generator(normal, ("pixel_density", "pixel_value_distance")),
    "principal components": Generator(principal_components, ("pixel_coverage", "pixel_value_distance")),
    "class means": Generator(class_means, ("pixel_coverage", "pixel_value_distance")),
    "repeated images": Generator(repeated_images, ("pixel_coverage", "memorisation")),
    "copied images": Generator(copied_images, ("memorisation",)),
}


def sample_metrics(samples: np.ndarray, data: Dataset) -> dict[str, float]:
    """Metrics of samples (N, H, W, C), computed from pixels.

    Density and coverage compare them with held-out images, at most 1000 of test and valid.
    """
    if data.spec.x.kind == "binary":
        samples = np.round(samples)  # probabilities of white pixels lie near all images, as no image does
    train, held_out = pixels(data.train), np.concatenate([pixels(data.test), pixels(data.valid)])[:1000]
    density, coverage = density_and_coverage(held_out.reshape(len(held_out), -1), samples.reshape(len(samples), -1))
    return {
        "pixel_covariance_correlation": covariance_correlation(samples, train),
        "pixel_value_distance": value_distance(samples, held_out),
        "pixel_density": density,
        "pixel_coverage": coverage,
        "memorisation": memorisation(samples, train, held_out),
    }


def metrics_of_generators(data: Dataset) -> dict[str, dict[str, float]]:
    """The metrics of `SAMPLES` samples of each of GENERATORS; kept for the next call with the same images."""
    key = hashlib.blake2b(digest_size=16)
    for split in (data.train, data.valid, data.test):
        split.add_to_digest(key)
    kept = (data.spec.name, data.spec.kind, key.digest())
    if kept not in _kept:
        _kept[kept] = {name: sample_metrics(each.samples(data, SAMPLES), data) for name, each in GENERATORS.items()}
    return _kept[kept]


_kept: dict[tuple[str, str | None, bytes], dict[str, dict[str, float]]] = {}


def value_distance(x: np.ndarray, y: np.ndarray) -> float:
    """Wasserstein-1 distance between the values of all pixels of two sets of images in [0, 1], to about 1 / LEVELS."""
    counts = [np.histogram(images, LEVELS, (0, 1))[0] for images in (x, y)]
    below = [np.cumsum(each) / each.sum() for each in counts]
    return float(np.abs(below[0] - below[1]).mean())


def covariance_correlation(samples: np.ndarray, real: np.ndarray) -> float:
    """Correlation, between samples and real images, of the covariances of all pairs of different pixels."""
    matrices = [np.cov(x.reshape(len(x), -1).T.astype("float64")) for x in (samples, real)]
    off_diagonal = ~np.eye(len(matrices[0]), dtype=bool)
    return float(np.corrcoef([matrix[off_diagonal] for matrix in matrices])[0, 1])


def pixels(split: Split) -> np.ndarray:
    """The images (N, H, W, C) of a split, in [0, 1]."""
    return np.concatenate([batch.x for batch in split.batches(1000)])
