"""Cached sampling of autoregressive models beside naive sampling: images of PixelCNNs, and sounds of a WaveNet.

Naive sampling computes the whole image, or the whole receptive field, for each value. Both kinds run in turns, ROUNDS
times each. SAMPLING_IMAGES in the environment sets the number of images (64).
"""

import os
import time
from typing import Any

import numpy as np

import tinygen as tg
from benchmarks import harness
from tinygen import models

ROUNDS = 3
IMAGES = int(os.environ.get("SAMPLING_IMAGES", "64"))
SOUNDS, LENGTH = 4, 200
"""Number of sounds, and their samples."""


def timed_samples(model, n: int, **options) -> tuple[np.ndarray, float]:
    """Samples, and the seconds that they needed."""
    start = time.perf_counter()
    samples = model.sample(n, seed=1, **options)
    return samples, time.perf_counter() - start


def row(name: str, field: tg.data.Field, n: int, words: str, **config: Any) -> dict[str, object]:
    tg.seed(0)
    model = models.get(name)
    model = model(model.Config(**config), tg.data.Spec("noise", {"x": field}))
    model.sample(1, seed=0)  # compiles the kernels
    seconds: dict[bool, list[float]] = {False: [], True: []}
    samples = {}
    for _ in range(ROUNDS):
        for cached, times in seconds.items():
            samples[cached], spent = timed_samples(model, n, cached=cached)
            times.append(spent)
    naive, cached = (harness.Timing(tuple(times)) for times in seconds.values())
    ratio, spread = naive.ratio_to(cached)
    return {
        "model": name,
        "samples": words,
        "naive, s": naive.median,
        "cached, s": cached.median,
        "naive / cached": ratio,
        "its spread": spread,
        "equal to the bit": samples[False].tobytes() == samples[True].tobytes(),
    }


def of_images(name: str) -> dict[str, object]:
    """The row of a model of black and white images."""
    return row(name, tg.data.Image(28, 28, 1, "binary"), IMAGES, f"{IMAGES} images")


def of_sounds() -> dict[str, object]:
    """The row of a WaveNet of the paper's depth: three stacks with dilations from 1 to 512."""
    words = f"{SOUNDS} sounds of {LENGTH} samples (30 layers)"
    return row("wavenet", tg.data.Wave(8000, 8000), SOUNDS, words, doublings=10, stacks=3, drawn=LENGTH)


def run() -> harness.Result:
    tg.backend.tune_process()
    notes = [
        f"default configurations but for the depth, untrained, {harness.threads()} threads",
        f"medians of {ROUNDS} runs of each kind, in turns; the spread of a ratio is the distance between its quartiles",
    ]
    return harness.Result("Cached sampling", [of_images("pixelcnn"), of_images("gated-pixelcnn"), of_sounds()], notes)
