"""LAPGAN against a DCGAN of the same processor seconds: Frechet distance, density and coverage of samples."""

from typing import Any

import tinygen as tg
from benchmarks import harness
from benchmarks.perceptual import SPENT, until
from tinygen.data import Dataset
from tinygen.metrics.judge import Judge
from tinygen.metrics.reference import Reference
from tinygen.models import DCGAN, LAPGAN

SEEDS = 0, 1, 2
SECONDS = 240
"""Processor seconds of a training."""
DATA = ("smiles32",)
MODELS: dict[Any, dict[str, Any]] = {LAPGAN: {}, DCGAN: {"channels": 32, "batch_size": 64}}


def compare(data: Dataset, reference: Reference, seed: int) -> list[dict[str, Any]]:
    """Scores of samples of both models."""
    rows = []
    for system, config in MODELS.items():
        tg.seed(seed)
        model = system(system.Config(**config), data.spec)
        steps, seconds = until(model, data, seed, lambda step, spent: spent > SECONDS)
        score = reference.score(model.sample(reference.n, seed=seed))
        shown = {"Frechet": "frechet", "over floor": "frechet_over_floor", "density": "density", "coverage": "coverage"}
        about = {"data": data.spec.name, "seed": seed, "model": system.name, "steps": steps, SPENT: seconds}
        rows.append(about | {title: score[name] for title, name in shown.items()})
    return rows


def run() -> harness.Result:
    tg.backend.tune_process()
    rows = []
    for name in DATA:
        data = tg.data.load(name)
        judge = Judge.of(data)
        reference = Reference(data, (judge, judge))
        rows += [row for seed in SEEDS for row in compare(data, reference, seed)]
    notes = ["the DCGAN has its paper's networks with half of the channels, whose step takes about as long"]
    return harness.Result("A Laplacian pyramid of GANs", rows, notes)
