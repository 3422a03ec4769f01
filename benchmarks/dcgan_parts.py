"""What each cost and regulariser brings to a DCGAN on MNIST: agreement of two judges, coverage, Frechet distance."""

import time
from typing import Any

import tinygen as tg
from benchmarks import harness
from tinygen.metrics.reference import Reference
from tinygen.models import DCGAN

SEED, STEPS = 0, 1000
NO_BATCH_NORM = {"discriminator_norm": "none"}
SPECTRAL = {"discriminator_norm": "spectral"}
PARTS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "cost least-squares": {"cost": "least-squares"},
    "cost relativistic": {"cost": "relativistic"},
    "spectral norm": SPECTRAL,
    "spectral norm, cost hinge": SPECTRAL | {"cost": "hinge"},
    "penalty r1": NO_BATCH_NORM | {"penalty": "r1"},
    "penalty r1, cost relativistic": NO_BATCH_NORM | {"penalty": "r1", "cost": "relativistic"},
    "penalty dragan": NO_BATCH_NORM | {"penalty": "dragan"},
    "pack 2": {"pack": 2},
    "smoothing 0.9": {"smoothing": 0.9},
    "minibatch discrimination": {"minibatch_discrimination": 50},
    "virtual batch norm": {"generator_norm": "virtual"},
    "no average of the generator": {"averaging": 0.0},
}
"""The parts that are changed, by name; all else is the default."""


def row(name: str, part: dict[str, Any], data: Any, reference: Reference) -> dict[str, Any]:
    """Metrics of the samples after `STEPS` minibatches of the discriminator."""
    tg.seed(SEED)
    model = DCGAN(DCGAN.Config(**part), data.spec)
    batches, start = model.source(data.train, seed=SEED), time.perf_counter()
    for _ in range(STEPS):
        model.training_step(next(batches))
    seconds = time.perf_counter() - start
    metrics = reference.score(model.sample(reference.n, seed=SEED))
    shown = {"judges agree": "judges_agree", "coverage": "coverage", "Frechet over floor": "frechet_over_floor"}
    return {"part": name} | {label: metrics[key] for label, key in shown.items()} | {"training, s": round(seconds)}


def run() -> harness.Result:
    tg.backend.tune_process()
    data = tg.data.load("mnist")
    reference = Reference(data)
    rows = [row(name, part, data, reference) for name, part in PARTS.items()]
    notes = [f"{STEPS} minibatches of {DCGAN.Config().batch_size}, seed {SEED}; {reference.n} samples"]
    return harness.Result("What each part of a DCGAN brings, on MNIST", rows, notes)
