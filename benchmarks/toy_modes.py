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
class Game:
    """A model, its data, and for how many steps they meet."""

    model: str
    data: str
    steps: int
    config: dict[str, Any]


GAMES = [
    Game(
        "gan",
        "ring8",
        12_000,
        {"latent": 2, "hidden": 128, "layers": 3, "batch_size": 256, "learning_rate": 3e-4, "averaging": 0.999},
    ),
    Game(
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


def play(game: Game, seed: int) -> dict[str, Any]:
    """Train from the seed; what 2500 samples of the last step cover, whatever came before."""
    data, model_class = tg.data.load(game.data), models.get(game.model)
    tg.seed(seed)
    model = model_class(model_class.Config(**game.config), data.spec)
    loader = tg.data.Loader(data.train, model.config.batch_size, seed=seed)
    start = time.perf_counter()
    for _ in range(game.steps):
        model.training_step(next(loader))
    seconds = time.perf_counter() - start
    mixture = MIXTURES[game.data]
    covered, high_quality = count_modes(model.sample(SAMPLES, seed=seed), mixture)
    return {
        "model": game.model,
        "data": game.data,
        "seed": seed,
        "modes": covered,
        "of": len(mixture.centres),
        "high quality, %": round(100 * high_quality, 1),
        "steps": game.steps,
        "training, s": round(seconds, 1),
    }


def run() -> harness.Result:
    tg.backend.tune_process()
    rows = [play(game, seed) for game in GAMES for seed in SEEDS]
    notes = [
        f"{SAMPLES} samples; high quality: within 3 standard deviations of the nearest centre; a mode needs one such",
        f"of the mixture's own samples {100 * -math.expm1(-(3**2) / 2):.1f} % are of high quality",
        "a step is one minibatch of the discriminator; samples are made with averaged weights",
        *(f"{game.model}: {', '.join(f'{k} {v}' for k, v in game.config.items())}" for game in GAMES),
    ]
    return harness.Result("Modes of a mixture, ring and grid of the PacGAN paper", rows, notes)
