"""Sampling of 64 images 28x28 from the PixelCNNs: what is new computed alone, against the whole image for each pixel.

The naive side computes some 784 whole images for each of the 64: it is run once, between two of ours, and on as few
images as SAMPLING_IMAGES says (64).
"""

import os
import time

import numpy as np

import tinygen as tg
from benchmarks import harness
from tinygen import models

IMAGES = int(os.environ.get("SAMPLING_IMAGES", "64"))


def timed(model, **options) -> tuple[np.ndarray, float]:
    """Samples, and the seconds that they took."""
    start = time.perf_counter()
    samples = model.sample(IMAGES, seed=1, **options)
    return samples, time.perf_counter() - start


def row(name: str) -> dict[str, object]:
    tg.seed(0)
    model = models.get(name)
    model = model(model.Config(), tg.data.Spec("noise", {"x": tg.data.Image(28, 28, 1, "binary")}))
    model.sample(1, seed=0)  # compiles the kernels
    _, before = timed(model)
    naive, naive_seconds = timed(model, cached=False)
    cached, after = timed(model)
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
