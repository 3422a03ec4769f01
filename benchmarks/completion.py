"""Digits of MNIST completed by a DCGAN around a square hole and below their upper half, three seeds."""

import time
from collections.abc import Iterator
from typing import Any

import numpy as np

import tinygen as tg
from benchmarks import harness
from tinygen.applications.completion import hole_psnr, trivial, upper_rows
from tinygen.data import Dataset
from tinygen.metrics.judge import Judge
from tinygen.models import DCGAN
from tinygen.train.panels import around_a_square

SEEDS, STEPS, IMAGES = (0, 1, 2), 3000, 200


def trained(data: Dataset, seed: int) -> DCGAN:
    tg.seed(seed)
    model = DCGAN(DCGAN.Config(), data.spec)
    batches = model.source(data.train, seed=seed)
    for _ in range(STEPS):
        model.training_step(next(batches))
    return model


def rows_of(data: Dataset, seed: int) -> Iterator[dict[str, Any]]:
    """For each mask and way of completion: PSNR of missing pixels, and how often a judge finds the same class."""
    start, model, judge = time.perf_counter(), trained(data, seed), Judge.of(data)
    spent = time.perf_counter() - start
    batch = data.test.take(IMAGES).batch(slice(None))
    height, width, _ = data.spec.x.shape
    masks = {"square": around_a_square(batch.x[:1])[0], "lower half": upper_rows(height // 2, height, width)}
    for name, known in masks.items():
        start = time.perf_counter()
        drawn = model.fill(batch.x, known[None].repeat(len(batch), axis=0), seed=seed)
        searched = time.perf_counter() - start
        for way, x in {"dcgan": drawn, **trivial(batch.x, known, data.train)}.items():
            yield {
                "missing": name,
                "seed": seed,
                "completed by": way,
                "PSNR, dB": round(hole_psnr(batch.x, x, known), 2),
                "class kept": float((judge.classes(judge.features(x)) == batch.y).mean()),
                "training, s": round(spent, 1) if way == "dcgan" else None,
                "search, s": round(searched, 1) if way == "dcgan" else None,
            }


def run() -> harness.Result:
    tg.backend.tune_process()
    data = tg.data.load("mnist")
    rows = [row for seed in SEEDS for row in rows_of(data, seed)]
    notes = [
        f"dcgan after {STEPS} steps; the first {IMAGES} test images; PSNR of all missing pixels together",
        "class kept: the judge, trained on real images, finds the true class of the completed image",
        f"real images: {judged_real(data):.3f} of them are judged to be of their class",
    ]
    return harness.Result("Completion of digits by a GAN", rows, notes)


def judged_real(data: Dataset) -> float:
    judge, batch = Judge.of(data), data.test.take(IMAGES).batch(slice(None))
    return float(np.mean(judge.classes(judge.features(batch.x)) == batch.y))
