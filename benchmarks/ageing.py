"""Ages of given digits, their stroke widths, changed by Age-cGAN with refined codes and with the encoder's alone."""

import time
from typing import Any

import numpy as np

import tinygen as tg
from benchmarks import harness
from tinygen import models
from tinygen.data import Dataset, Spec, Split
from tinygen.metrics.judge import Judge

DATA, SEEDS, STEPS, IMAGES = "ageing-mnist", (0,), 3000, 500


def of_identities(data: Dataset) -> Dataset:
    """The data with the identities as classes."""
    fields = {"x": data.spec.x, "y": data.spec.identity}
    parts = (
        Split(fields, {"x": part.columns["x"], "y": part.columns["identity"]})
        for part in (data.train, data.valid, data.test)
    )
    return Dataset(Spec(f"{data.spec.name}, identities", fields), *parts)


def classes(judge: Judge, x: np.ndarray) -> np.ndarray:
    return judge.classes(judge.features(x))


def measure(data: Dataset, seed: int) -> list[dict[str, Any]]:
    """Shares of images that judges of ages and of identities find at the asked age and with the same identity."""
    start, system = time.perf_counter(), models.get("age-cgan")
    tg.seed(seed)
    model = system(system.Config(), data.spec)
    batches = model.source(data.train, seed=seed)
    for _ in range(STEPS):
        model.training_step(next(batches))
    spent = time.perf_counter() - start
    judges = Judge.of(data), Judge.of(of_identities(data))
    rows = data.test.rows(np.arange(len(data.test)) * 7 % len(data.test)).take(IMAGES)
    batch, ages = rows.batch(slice(None)), data.spec.classes or 0
    target = (batch.y + 1 + np.arange(len(batch)) % (ages - 1)) % ages
    rough = model.encode_roughly(batch.x)
    refined = model.refined(rough, batch.x, model.age_and_identity(batch.x)[0])
    results = {
        "the images themselves": (batch.x, batch.y),
        "encoder alone": (model.aged(rough, target), target),
        "refined": (model.aged(refined, target), target),
    }
    return [
        {
            "seed": seed,
            "images": name,
            "age right": float((classes(judges[0], x) == age).mean()),
            "identity kept": float((classes(judges[1], x) == batch.identity).mean()),
            "training, s": round(spent, 1),
        }
        for name, (x, age) in results.items()
    ]


def run() -> harness.Result:
    tg.backend.tune_process()
    data = tg.data.load(DATA)
    rows = [row for seed in SEEDS for row in measure(data, seed)]
    notes = [f"{STEPS} steps on {DATA}; {IMAGES} test images, each at another age; judges trained on real images"]
    return harness.Result("Ageing of given images by Age-cGAN", rows, notes)
