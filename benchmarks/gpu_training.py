"""Does training on a GPU go where it goes on the CPU? A VAE and a small DCGAN on images of clothes, with two seeds."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

import tinygen as tg
from benchmarks.gpu_jobs import Jobs, Rows
from benchmarks.pairs import PAIRS, Pair, normal
from benchmarks.steps import TOLERANCE

SEEDS = 0, 1
FIRST = 5  # steps whose losses are compared one by one


@dataclass(frozen=True)
class Training:
    """Steps of a pair on a batch that is drawn from grey images (N, 28, 28, 1); `bound` is of the losses at the end."""

    pair: Pair
    steps: int
    bound: float
    draw: Callable[[Pair, np.random.Generator, np.ndarray], tuple[np.ndarray, ...]]


def vae_batch(pair, rng, images):
    """Binary images drawn from grey ones, and noise."""
    return (rng.random((pair.batch, 784)) < images.reshape(-1, 784)).astype(np.float32), normal(rng, pair.batch, 20)


def gan_batch(pair, rng, images):
    """Images in [-1, 1], and noise."""
    return 2 * images - 1, normal(rng, pair.batch, 100)


TRAININGS = {
    "vae": Training(PAIRS["vae"], 300, 2e-3, vae_batch),
    "dcgan": Training(replace(PAIRS["dcgan"], batch=16), 150, 0.1, gan_batch),
}


def jobs() -> Jobs:
    return {f"{name}, seed {seed}": partial(compare, name, seed) for name in TRAININGS for seed in SEEDS}


def losses(training: Training, seed: int, device: str) -> np.ndarray:
    """(steps, losses of a step)."""
    tg.seed(seed)
    images = tg.data.load("fashion-mnist-7k").train.arrays["x"].reshape(-1, 28, 28, 1)
    _, step = replace(training.pair, device=device).ours(tg)
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(training.steps):
        chosen = images[rng.integers(len(images), size=training.pair.batch)].astype(np.float32) / 255
        batch = training.draw(training.pair, rng, chosen)
        found.append([loss.item() for loss in step(*(tg.backend.to_device(a, device) for a in batch))])
    return np.array(found)


def compare(name: str, seed: int, device: str = "cuda") -> Rows:
    """The losses of both devices: how far they are apart in the first steps, and in the mean of the last third."""
    training = TRAININGS[name]
    here, there = (losses(training, seed, place) for place in ("cpu", device))
    apart = float(np.abs(there[:FIRST] / here[:FIRST] - 1).max())
    ends = [values[-training.steps // 3 :].mean(axis=0) for values in (here, there)]
    end = float(np.abs(ends[1] / ends[0] - 1).max())
    row: dict[str, Any] = {"training": training.pair.title, "batch": training.pair.batch, "seed": seed}
    row |= {"steps": training.steps, "CPU": told(ends[0]), "GPU": told(ends[1])}
    row |= {
        f"first {FIRST} steps apart": apart,
        "bound": TOLERANCE,
        "end apart": end,
        "bound of the end": training.bound,
    }
    return [row | {"within": "yes" if apart <= TOLERANCE and end <= training.bound else "no"}]


def told(values: np.ndarray) -> str:
    return ", ".join(f"{value:.5g}" for value in values)
