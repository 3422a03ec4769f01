"""What each cost and regulariser of a GAN brings: modes and high-quality samples on a ring and a grid of Gaussians."""

import time
from typing import Any

import numpy as np

import tinygen as tg
from benchmarks import harness
from tinygen.data.points import MIXTURES
from tinygen.errors import NonFiniteError
from tinygen.metrics.modes import SAMPLES, Modes, count_modes
from tinygen.models import GAN

SEEDS, STEPS = (0, 1, 2), 3000
DATA = "ring8", "grid25"
BASE = {"latent": 2, "hidden": 64, "batch_size": 128, "learning_rate": 1e-3, "averaging": 0.99}
PENALISED = {"penalty_weight": 1.0}
PARTS: dict[str, dict[str, Any]] = {
    "non-saturating": {},
    **{f"cost {cost}": {"cost": cost} for cost in ("minimax", "maximum-likelihood")},
    **{f"cost {cost}": {"cost": cost} for cost in ("least-squares", "hinge", "relativistic")},
    **{f"penalty {name}": {"penalty": name} | PENALISED for name in ("gradient", "one-sided", "dragan", "r1")},
    "spectral norm": {"spectral_norm": True},
    "spectral norm, cost hinge": {"spectral_norm": True, "cost": "hinge"},
    "pack 2": {"pack": 2},
    "pack 4": {"pack": 4},
    "minibatch discrimination": {"minibatch_discrimination": 16},
    "smoothing 0.9": {"smoothing": 0.9},
    "3 steps of the discriminator": {"discriminator_steps": 3},
    "no average of the generator": {"averaging": 0.0},
    "penalty r1, cost relativistic": {"penalty": "r1", "cost": "relativistic"} | PENALISED,
    "penalty r1, pack 2": {"penalty": "r1", "pack": 2} | PENALISED,
}
"""The parts that are changed, by name; all else is as in `BASE`."""


def trained(data: Any, part: dict[str, Any], seed: int) -> GAN:
    """A GAN after `STEPS` minibatches of the discriminator, or when it diverged."""
    tg.seed(seed)
    model = GAN(GAN.Config(**BASE | part), data.spec)
    batches = model.source(data.train, seed=seed)
    try:
        for _ in range(STEPS):
            model.training_step(next(batches))
    except NonFiniteError:
        pass
    return model


def row(name: str, part: dict[str, Any]) -> dict[str, Any]:
    """The modes that 2500 samples cover for each seed, and the mean share of samples of high quality."""
    cells: dict[str, Any] = {"part": name}
    start = time.perf_counter()
    for data in map(tg.data.load, DATA):
        found: list[Modes] = []
        for seed in SEEDS:
            samples = trained(data, part, seed).sample(SAMPLES, seed=seed)
            found.append(count_modes(samples, MIXTURES[data.spec.name]))
        cells[f"{data.spec.name}: modes"] = ", ".join(str(each.covered) for each in found)
        cells[f"{data.spec.name}: high quality, %"] = round(100 * float(np.mean([each.high_quality for each in found])))
    return cells | {"s": round(time.perf_counter() - start)}


def run() -> harness.Result:
    tg.backend.tune_process()
    rows = [row(name, part) for name, part in PARTS.items()]
    notes = [
        f"gan with {', '.join(f'{k} {v}' for k, v in BASE.items())}, {STEPS} minibatches of the discriminator; seeds "
        + ", ".join(map(str, SEEDS)),
        f"{SAMPLES} samples; high quality: within 3 standard deviations of the nearest centre; a mode needs one such",
        "penalties have weight 1; minibatch discrimination has 16 kernels",
    ]
    return harness.Result("What each part of a GAN brings, on mixtures", rows, notes)
