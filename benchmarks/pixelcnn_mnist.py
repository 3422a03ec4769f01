"""PixelCNN on dynamically binarised MNIST, in a budget of minutes (PIXELCNN_MINUTES, 15): test nats and seconds."""

import os
import time

import tinygen as tg
from benchmarks import harness
from tinygen.models.pixelcnn import PixelCNN

MINUTES = float(os.environ.get("PIXELCNN_MINUTES", "15"))
WARM_UP, TRIED = 100, 200
CONFIG = {"hidden": 32, "blocks": 7, "head": 32, "batch_size": 16, "learning_rate": 3e-3, "warmup_steps": WARM_UP}


def trained(data: tg.data.Dataset, steps: int, cosine_steps: int) -> tuple[PixelCNN, float]:
    """A model after so many steps, and the seconds that they took."""
    tg.seed(0)
    loader = tg.data.Loader(data.train, CONFIG["batch_size"], seed=0)
    model = PixelCNN(PixelCNN.Config(**CONFIG, cosine_steps=cosine_steps), data.spec)
    start = time.perf_counter()
    for _ in range(steps):
        model.training_step(next(loader))
    return model, time.perf_counter() - start


def run() -> harness.Result:
    tg.backend.tune_process()
    data = tg.data.load("mnist").binarised("dynamic")
    trained(data, 3, 1)  # compiles the kernels
    _, tried = trained(data, TRIED, 1)
    steps = max(WARM_UP + 1, int((60 * MINUTES - tried) * TRIED / tried))
    model, seconds = trained(data, steps, steps - WARM_UP)
    start = time.perf_counter()
    metrics = model.evaluate(data.test, seed=0)
    row = {
        "test nats": metrics["nll_nats"],
        "bits per dimension": metrics["bits_per_dim"],
        "steps": steps,
        "training, s": seconds,
        "with the trial, s": seconds + tried,
        "evaluation, s": time.perf_counter() - start,
    }
    notes = [
        f"{CONFIG['blocks']} blocks of {CONFIG['hidden']} features, batch {CONFIG['batch_size']}, "
        f"{harness.threads()} threads, seed 0",
        f"as many steps as fit into {MINUTES:g} minutes, by the time of {TRIED} steps before, which count",
        f"Adam, up to {CONFIG['learning_rate']:g} in {WARM_UP} steps, then to 0 along half a cosine",
        f"tested on all {len(data.test)} test images, each drawn once",
    ]
    return harness.Result("PixelCNN on dynamically binarised MNIST", [row], notes)
