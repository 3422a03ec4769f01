"""Modes and high-quality samples of a GAN on 8 Gaussians in a ring and of WGAN-GP on 25 in a grid, three seeds each."""

import math
import time
from dataclasses import dataclass
from typing import Any

import tinygen as tg
from benchmarks import harness
from tinygen import models
from tinygen.data.points import MIXTURES
from tinygen.metrics.modes import SAMPLES, count_modes

SEEDS = 0, 1, 2


@dataclass(frozen=True)
class Training:
    """A model with its configuration, its data, and the number of its training steps."""

    model: str
    data: str
    steps: int
    config: dict[str, Any]


TRAININGS = [
    Training(
        "gan",
        "ring8",
        12_000,
        {"latent": 2, "hidden": 128, "layers": 3, "batch_size": 256, "learning_rate": 3e-4, "averaging": 0.999},
    ),
    Training(
        "wgan-gp",
        "grid25",
        20_000,
        {
            "latent": 2,
            "hidden": 128,
            "batch_size": 256,
            "critic_steps": 1,
            "penalty": 0.1,
            "learning_rate": 2e-3,
            "beta1": 0.5,
            "averaging": 0.998,
        },
    ),
]


def train_and_count(training: Training, seed: int) -> dict[str, Any]:
    """Train from the seed, and return a row about the modes that 2500 samples cover after the last step."""
    data, model_class = tg.data.load(training.data), models.get(training.model)
    tg.seed(seed)
    model = model_class(model_class.Config(**training.config), data.spec)
    loader = tg.data.Loader(data.train, model.config.batch_size, seed=seed)
    start = time.perf_counter()
    for _ in range(training.steps):
        model.training_step(next(loader))
    seconds = time.perf_counter() - start
    mixture = MIXTURES[training.data]
    covered, high_quality = count_modes(model.sample(SAMPLES, seed=seed), mixture)
    return {
        "model": training.model,
        "data": training.data,
        "seed": seed,
        "modes": covered,
        "of": len(mixture.centres),
        "high quality, %": round(100 * high_quality, 1),
        "steps": training.steps,
        "training, s": round(seconds, 1),
    }


def run() -> harness.Result:
    tg.backend.tune_process()
    rows = [train_and_count(training, seed) for training in TRAININGS for seed in SEEDS]
    notes = [
        f"{SAMPLES} samples; high quality: within 3 standard deviations of the nearest centre; a mode needs one such",
        f"of the mixture's own samples {100 * -math.expm1(-(3**2) / 2):.1f} % are of high quality",
        "a step is one minibatch of the discriminator; samples are made with averaged weights",
        *(f"{training.model}: {', '.join(f'{k} {v}' for k, v in training.config.items())}" for training in TRAININGS),
    ]
    return harness.Result("Modes of a mixture, ring and grid of the PacGAN paper", rows, notes)
