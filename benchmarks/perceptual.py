"""DFC-VAE and VAE/GAN against a VAE of equal size: linear probe, distance in a second feature network, samples."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import tinygen as tg
from benchmarks import harness
from tinygen.data import Dataset
from tinygen.metrics.judge import Judge
from tinygen.metrics.probe import Probe
from tinygen.metrics.reference import Reference
from tinygen.models import DFCVAE, VAE, VAEGAN, Features, System
from tinygen.models.adversarial.dcgan import convolutional_discriminator, convolutional_generator
from tinygen.models.features.files import open_network
from tinygen.nn import Sequential
from tinygen.steps import training_steps
from tinygen.train import fit

SEEDS = 0, 1, 2
LAYERS = "relu1_1", "relu2_1", "relu3_1"
NETWORK_STEPS = 600
DFC_STEPS = 800
GAN_SECONDS = 120
"""Processor seconds of training of the VAE/GAN, and of the VAE beside it."""
DATA = "smiles32", "fashion-mnist-7k"
SPENT = "processor seconds"


def until(model: System, data: Dataset, seed: int, ended: Callable[[int, float], bool]) -> tuple[int, float]:
    """Train a model until `ended`(steps, processor seconds) is true; returns both."""
    model.prepare(data, seed=seed)
    start, step = time.process_time(), 0
    for step, _ in enumerate(training_steps(model.training_step, model.source(data.train, seed=seed)), start=1):
        if ended(step, time.process_time() - start):
            break
    return step, time.process_time() - start


def of_codes(model: Any, data: Dataset, seed: int) -> dict[str, float]:
    """Codes: the KL term, and the percentage of test images whose class a linear probe, fitted to train, predicts."""
    (codes, y), (unseen, truth) = (
        (model.encode(part.values("x")), part.values("y")) for part in (data.train, data.test)
    )
    error = Probe(codes, y, data.spec.classes or 0).error_rate(unseen, truth)
    return {"probe, % right": 100 * (1 - error), "KL": model.evaluate(data.test, seed=seed, thorough=False)["kl_nats"]}


def network(data: Dataset, folder: Path, seed: int) -> Path:
    """The run of a feature network with three blocks."""
    tg.seed(seed)
    model = Features(Features.Config(blocks=3), data.spec)
    fit(model, data, steps=NETWORK_STEPS, seed=seed, out=folder, quiet=True)
    return folder


def distance(model: Any, data: Dataset, second: Path) -> dict[str, float]:
    """The squared difference between activations of test images and of their reconstructions in a second network."""
    features, x = open_network(str(second), LAYERS), data.test.values("x")
    with tg.no_grad():
        pairs = [features.activations(images, LAYERS) for images in (x, model.decode(model.encode(x)))]
    layers = [float(((pairs[0][name] - pairs[1][name]) ** 2).mean()) for name in LAYERS]
    return {"distance in a second network": float(np.sum(layers))}


def of_samples(model: Any, data: Dataset, reference: Reference, seed: int) -> dict[str, float]:
    """The Frechet distance of samples by a judge, and how often it gives an image and its reconstruction one class."""
    x, judge = data.test.values("x"), reference.judges[0]
    before, after = (judge.classes(judge.features(each)) for each in (x, model.decode(model.encode(x))))
    score = reference.score(model.sample(reference.n, seed=seed))
    return {
        "Frechet": score["frechet"],
        "over floor": score["frechet_over_floor"],
        "class kept, %": 100 * float((before == after).mean()),
    }


def compare_features(data: Dataset, seed: int) -> list[dict[str, Any]]:
    """DFC-VAE and VAE with the same networks and as many steps."""
    rows = []
    shared = {"architecture": "conv", "latent": 100, "hidden": 400, "channels": 32, "batch_size": 64}
    shared |= {"learning_rate": 1e-3}
    with tempfile.TemporaryDirectory() as folder:
        first, second = (network(data, Path(folder) / str(each), each) for each in (seed, seed + 100))
        for system, more in ((VAE, {"likelihood": "normal"}), (DFCVAE, {"features": str(first)})):
            tg.seed(seed)
            model = system(system.Config(**shared, **more), data.spec)
            model.plan.steps = DFC_STEPS
            steps, seconds = until(model, data, seed, lambda step, spent: step == DFC_STEPS)
            about = {"data": data.spec.name, "seed": seed, "model": system.name, "steps": steps}
            rows.append(about | {SPENT: seconds} | of_codes(model, data, seed) | distance(model, data, second))
    return rows


def compare_samples(data: Dataset, seed: int) -> list[dict[str, Any]]:
    """VAE/GAN and VAE with the same encoder and decoder, and as many processor seconds of training."""
    rows, judge, channels, latent = [], Judge.of(data), 32, 64
    reference = Reference(data, (judge, judge))
    for system in (VAEGAN, VAE):
        tg.seed(seed)
        if system is VAEGAN:
            model: Any = VAEGAN(VAEGAN.Config(latent=latent, channels=channels), data.spec)
        else:
            config = VAE.Config(latent=latent, batch_size=64, learning_rate=1e-3, likelihood="normal")
            encoder = convolutional_discriminator(data.spec.x.shape, channels, 2 * latent)
            *layers, _, _ = convolutional_generator(data.spec.x.shape, latent, channels).layers
            model = VAE(config, data.spec, encoder=encoder, decoder=Sequential(*layers))
        steps, seconds = until(model, data, seed, lambda step, spent: spent > GAN_SECONDS)
        about = {"data": data.spec.name, "seed": seed, "model": system.name, "steps": steps}
        rows.append(about | {SPENT: seconds} | of_samples(model, data, reference, seed) | of_codes(model, data, seed))
    return rows


def run() -> harness.Result:
    tg.backend.tune_process()
    rows = []
    for name in DATA:
        data = tg.data.load(name)
        for seed in SEEDS:
            rows += compare_features(data, seed) if name == DATA[0] else []
            rows += compare_samples(data, seed)
    notes = [
        "DFC-VAE: a VAE with the same networks; the feature network, and the second one, learn the labels of the data",
        "VAE/GAN: a VAE with the same encoder and decoder, batch norm included, and as many processor seconds",
    ]
    return harness.Result("Auto-encoders that compare images by features", rows, notes)
