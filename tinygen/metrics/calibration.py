"""Calibration of the scores: sets of images of known quality, which the scores must rank correctly."""

import itertools
from collections.abc import Mapping

import numpy as np

from tinygen.data import Dataset
from tinygen.metrics.reference import Reference, in_one_batch
from tinygen.random import Stream

TIERS = (
    ("real", "copies of train"),
    ("one class dropped", "10 % noise", "blur", "per-class Gaussian"),
    ("single mode", "pure noise"),
)
"""Sets of images from the best to the worst; within a tier no order is required.

The class means are in no tier: a Frechet distance may put them before blurred images, which coverage does not.
"""

DROPPED_CLASS = 1
"""The class that is dropped."""
NOISE = 0.1
"""The probability that a pixel is replaced by noise."""


def graded_sets(reference: Reference, data: Dataset) -> dict[str, np.ndarray]:
    """Sets of images of known quality, `reference.n` in each, by name."""
    real, train = reference.real, reference.train
    stream = Stream(0, "calibration")
    noise = stream.uniform(real.x.shape)
    valid = in_one_batch(data.valid)
    kept, more = real.x[real.y != DROPPED_CLASS], valid.x[valid.y != DROPPED_CLASS]
    return {
        "real": real.x,
        "copies of train": train.x[stream.permutation(len(train))[: len(real)]],
        "one class dropped": np.concatenate([kept, more])[: len(real)],
        "10 % noise": np.where(stream.uniform(real.x.shape) < NOISE, noise, real.x),
        "blur": _blur(real.x),
        "per-class Gaussian": _gaussians(train, real.y, stream),
        "class means": _class_means(train, real.y),
        "single mode": np.repeat(real.x[:1], len(real), axis=0),
        "pure noise": noise,
    }


def calibrate(reference: Reference, data: Dataset) -> dict[str, dict[str, float]]:
    """The metrics of each of the `graded_sets`."""
    return {name: reference.score(x) for name, x in graded_sets(reference, data).items()}


def misranked(metrics: Mapping[str, Mapping[str, float]]) -> list[str]:
    """A sentence for each error in how the metrics rank the `graded_sets`; empty if there is none."""
    wrong = []
    for better, worse in itertools.chain.from_iterable(
        itertools.product(*tiers) for tiers in itertools.pairwise(TIERS)
    ):
        if not metrics[better]["frechet"] < metrics[worse]["frechet"]:
            wrong.append(f"the Frechet distance puts {worse!r} before {better!r}")
        if not metrics[better]["coverage"] > metrics[worse]["coverage"]:
            wrong.append(f"coverage puts {worse!r} before {better!r}")
    ratios = {name: each["memorisation"] for name, each in metrics.items()}
    if not ratios.pop("copies of train") < 0.5 * min(ratios.values()):
        wrong.append("the memorisation ratio does not tell copies of train from the rest")
    if not metrics["one class dropped"]["label_distance"] > metrics["real"]["label_distance"]:
        wrong.append("the label histogram does not miss a class that was dropped")
    if metrics["single mode"]["classes"] != 1:
        wrong.append("a single mode counts as more than one class")
    return wrong


def _blur(x: np.ndarray) -> np.ndarray:
    """Images (N, H, W, C) whose pixels are means over 3x3 pixels; border pixels are repeated outwards."""
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    return windows.mean(axis=(4, 5))


def _class_means(train, labels) -> np.ndarray:
    """For each label the mean image of its class."""
    images = np.empty((len(labels), *train.x.shape[1:]), np.float32)
    for label in np.unique(labels):
        images[labels == label] = train.x[train.y == label].mean(axis=0)
    return images


def _gaussians(train, labels, stream: Stream) -> np.ndarray:
    """An image for each label, drawn from a normal distribution with mean and covariance of its class; clipped."""
    images = np.empty((len(labels), *train.x.shape[1:]), np.float32)
    for label in np.unique(labels):
        of_class, wanted = train.x[train.y == label], labels == label
        mean = of_class.mean(axis=0)
        # A sum of all deviations with independent normal weights has their covariance; no matrix is needed.
        weights = stream.normal((int(wanted.sum()), len(of_class))) / np.float32(max(1, len(of_class) - 1)) ** 0.5
        images[wanted] = mean + np.tensordot(weights, of_class - mean, axes=1)
    return images.clip(0, 1)
