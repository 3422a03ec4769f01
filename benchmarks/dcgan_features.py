"""What a DCGAN's discriminator knows of the classes of CIFAR-10: a linear classifier of its layers, against pixels."""

import time
from itertools import islice
from typing import Any

import numpy as np

import tinygen as tg
from benchmarks import harness
from tinygen.applications.layers import GRID, linear_error_rate, pooled_features
from tinygen.data import Dataset, Split
from tinygen.models import DCGAN
from tinygen.steps import training_steps

SEEDS = (0, 1, 2)
STEPS = 1500
CONFIG = {"channels": 32, "batch_size": 64}
DATA = "cifar10_5k"


def features_of(split: Split, model: Any | None) -> tuple[np.ndarray, np.ndarray]:
    """Features and labels of a split: pixels without a model."""
    x, y = split.values("x"), split.values("y")
    return (x if model is None else pooled_features(model, x)), y


def row(data: Dataset, what: str, model: Any | None, **more: Any) -> dict[str, Any]:
    error, components = linear_error_rate(*(features_of(part, model) for part in (data.train, data.valid, data.test)))
    cells = {"features": what, "seed": "", "accuracy, %": 100 * (1 - error), "components": components}
    return cells | {"training, s": ""} | more


def rows_of(data: Dataset, seed: int) -> list[dict[str, Any]]:
    """The discriminator before training and after it."""
    tg.seed(seed)
    model = DCGAN(DCGAN.Config(**CONFIG), data.spec)
    untrained = row(data, "untrained discriminator", model, seed=seed)
    start = time.perf_counter()
    for _ in islice(training_steps(model.training_step, model.source(data.train, seed=seed)), STEPS):
        pass
    spent = time.perf_counter() - start
    return [untrained, row(data, "DCGAN's discriminator", model, seed=seed, **{"training, s": spent})]


def run() -> harness.Result:
    tg.backend.tune_process()
    data = tg.data.load(DATA)
    rows = [row(data, "pixels", None)] + [each for seed in SEEDS for each in rows_of(data, seed)]
    notes = [
        f"{len(data.train)} training images for both the GAN and the classifier, {STEPS} steps of {CONFIG}",
        f"maps of each layer are reduced to {GRID}x{GRID} by maxima",
        "the classifier sees as many principal components as are best on validation images",
        "published: 82.8 % by a GAN of ImageNet and a classifier of all 50,000 images (Radford et al. 2016)",
    ]
    return harness.Result("Features of a DCGAN's discriminator on CIFAR-10", rows, notes)
