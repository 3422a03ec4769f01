"""Sampling 64 images 28x28 from the PixelCNNs, with cached activations and with the whole image for each pixel.

The naive side computes 784 whole images for each of the 64, so it is run once, between two runs with the cache. The
environment variable SAMPLING_IMAGES sets the number of images (64).
"""

import os
import time

import numpy as np

import tinygen as tg
from benchmarks import harness
from tinygen import models

IMAGES = int(os.environ.get("SAMPLING_IMAGES", "64"))


def timed_samples(model, **options) -> tuple[np.ndarray, float]:
    """Samples, and the seconds that they needed."""
    start = time.perf_counter()
    samples = model.sample(IMAGES, seed=1, **options)
    return samples, time.perf_counter() - start


def row(name: str) -> dict[str, object]:
    tg.seed(0)
    model = models.get(name)
    model = model(model.Config(), tg.data.Spec("noise", {"x": tg.data.Image(28, 28, 1, "binary")}))
    model.sample(1, seed=0)  # compiles the kernels
    _, before = timed_samples(model)
    naive, naive_seconds = timed_samples(model, cached=False)
    cached, after = timed_samples(model)
    return {
        "model": name,
        "naive, s": naive_seconds,
        "cached, s": (before + after) / 2,
        "naive / cached": 2 * naive_seconds / (before + after),
        "its spread": abs(naive_seconds / before - naive_seconds / after),
        "equal to the bit": naive.tobytes() == cached.tobytes(),
    }


def run() -> harness.Result:
    tg.backend.tune_process()
    notes = [f"{IMAGES} images, default configurations, untrained, {harness.threads()} threads"]
    return harness.Result("Cached sampling", [row("pixelcnn"), row("gated-pixelcnn")], notes)
