"""Baselines of likelihoods: independent pixels, tokens and samples, the last frame, one normal distribution."""

import math
from typing import Any

import numpy as np

from tinygen.data import Dataset, Split
from tinygen.distributions import level_numbers
from tinygen.metrics.bits import bits_per_dim
from tinygen.metrics.points import log_normal_fit
from tinygen.random import Stream

MARGIN = 0.05
"""The least distance from 0 and from 1 of values whose logits are taken."""


def likelihood(data: Dataset) -> dict[str, float]:
    """-log p of test under independent pixels, by the names of the metrics of likelihoods and of bounds.

    A binary pixel is Bernoulli with its mean over train, another has its histogram over train. Empty where values are
    not discrete: a histogram cannot be compared with a density.
    """
    x = data.spec.x
    if x.value_count == 0:
        return {}
    nats = bernoulli_nats(data.train, data.test) if x.kind == "binary" else histogram_nats(data.train, data.test)
    bits = bits_per_dim(nats, x.shape)
    return {"nll_nats": nats, "neg_elbo_nats": nats, "bits_per_dim": bits, "neg_elbo_bits_per_dim": bits}


def likelihood_of_tokens(data: Dataset) -> dict[str, float]:
    """-log p of the sentences x of test, with their ends, under independent tokens with their frequencies in train.

    The count of every token, and of the end, is raised by one (Laplace smoothing).
    """
    train, test = data.train.values("x"), data.test.values("x")
    counts = np.bincount(train.values[train.mask], minlength=len(data.spec.x.vocabulary)) + 1
    ends = len(train) + 1
    log_p = np.log(counts / (counts.sum() + ends))
    nats = -float(log_p[test.values[test.mask]].sum()) / len(test) - math.log(ends / (counts.sum() + ends))
    return {"nll_nats": nats, "neg_elbo_nats": nats}


def likelihood_of_sounds(data: Dataset) -> dict[str, float]:
    """-log p per sample of the sounds x of test under independent samples with the frequencies of levels in train.

    The silence at the ends of sounds is not counted. The count of every level is raised by one (Laplace smoothing).
    """
    counts = _level_counts(data.train) + 1
    tested = _level_counts(data.test)
    return {"nats_per_sample": float(-(tested @ np.log(counts / counts.sum())) / tested.sum())}


def _level_counts(split: Split) -> np.ndarray:
    """How often each level occurs in the sounds x of a split, without the silence at their ends."""
    field: Any = split.fields["x"]
    counts = np.zeros(field.levels, np.int64)
    for batch in split.batches(1000):
        counted = np.arange(batch.x.shape[1]) < field.lengths(batch.x)[:, None]
        counts += np.bincount(batch.x[counted], minlength=field.levels)
    return counts


def likelihood_of_frames(data: Dataset, given: int) -> dict[str, float]:
    """-log p per frame of the clips x of test, after their `given` first frames, by the last frame before each alone.

    A pixel is white with one probability where it was white before, and with another where it was black: their
    frequencies in train. Grey values are probabilities of white.
    """
    x = data.train.values("x").astype(np.float64)
    last, now = x[:, given - 1 : -1], x[:, given:]
    if_white, if_black = ((w * now).sum() / max(w.sum(), 1) for w in (last, 1 - last))
    x = data.test.values("x").astype(np.float64)
    last, now = x[:, given - 1 : -1], x[:, given:]
    p = (last * if_white + (1 - last) * if_black).clip(1e-3, 1 - 1e-3)
    nats = -(now * np.log(p) + (1 - now) * np.log(1 - p)).sum(axis=(2, 3, 4))
    return {"nats_per_frame": float(nats.mean()), "nll_nats": float(nats.sum(axis=1).mean())}


def likelihood_of_one_normal(data: Dataset) -> dict[str, float]:
    """A lower bound on log p of images x of test, by a normal distribution of the logits of their values.

    It has the mean and the covariance of train. The K levels of a value are dequantised as (k + u) / K, with u uniform
    on [0, 1) (Theis et al. 2016), and mapped to logits of MARGIN + (1 - 2 MARGIN) x.
    """
    field: Any = data.spec.x
    levels, size = field.value_count, math.prod(field.shape)
    logits, log_slope = [], 0.0
    for name in ("train", "test"):
        x = getattr(data, name).values("x").reshape(-1, size).astype(np.float64)
        p = MARGIN + (1 - 2 * MARGIN) * (x * (levels - 1) + Stream(0, name).uniform(x.shape)) / levels
        logits.append(np.log(p / (1 - p)))
        log_slope = math.log(1 - 2 * MARGIN) * size - float(np.log(p * (1 - p)).sum(axis=1).mean())
    nats = size * math.log(levels) - float(log_normal_fit(*logits).mean()) - log_slope
    return {"neg_elbo_nats": nats, "neg_elbo_bits_per_dim": bits_per_dim(nats, field.shape)}


def bernoulli_nats(train: Split, test: Split) -> float:
    """-log p of the black and white images x of test, in nats per image: each pixel by its mean over train."""
    ones = sum(batch.x.sum(axis=0, dtype=np.float64) for batch in train.batches(1000))
    p = (ones / len(train)).clip(1e-3, 1 - 1e-3)
    log_p = (batch.x * np.log(p) + (1 - batch.x) * np.log(1 - p) for batch in test.batches(1000))
    return -sum(float(each.sum()) for each in log_p) / len(test)


def histogram_nats(train: Split, test: Split) -> float:
    """-log p of the images x of test, in nats per image: each value of a pixel by its own histogram over train.

    Every possible value is counted once more than it is seen (Laplace smoothing).
    """
    field: Any = train.fields["x"]
    levels, first = field.value_count, field.value_count * np.arange(math.prod(field.shape))
    counts = np.ones(levels * first.size)
    for batch in train.batches(1000):
        counts += np.bincount(_cells(batch.x, first, levels).ravel(), minlength=counts.size)
    log_p = np.log(counts / (len(train) + levels))
    return -sum(float(log_p[_cells(batch.x, first, levels)].sum()) for batch in test.batches(1000)) / len(test)


def _cells(x: np.ndarray, first: np.ndarray, levels: int) -> np.ndarray:
    """Positions (N, D) in the concatenated histograms; the histogram of pixel d begins at first[d]."""
    return level_numbers(x.reshape(len(x), -1), levels) + first
