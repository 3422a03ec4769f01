"""Whether codes of the beta-VAE follow the factors of sprites: against beta 1, untrained networks, and PCA.

All have as many dimensions. The metrics are computed on test (`tinygen.metrics.disentanglement`).
"""

import time
from itertools import islice
from typing import Any

import numpy as np

import tinygen as tg
from benchmarks import harness
from tinygen.data import Dataset
from tinygen.metrics import disentanglement
from tinygen.models import VAE
from tinygen.steps import training_steps

SEEDS = 0, 1, 2
STEPS, BETA = 6000, 25.0
CONFIG: dict[str, Any] = {
    "likelihood": "normal",
    "architecture": "broadcast",
    "latent": 6,
    "hidden": 256,
    "batch_size": 32,
    "learning_rate": 1e-3,
}
"""As the recipe of `vae` on sprites."""
FITTED = 4096
"""Training examples to which the principal components are fitted."""


def of_components(data: Dataset, latent: int) -> np.ndarray:
    """The first principal components of test images: codes (N, latent)."""
    train, test = (split.values("x").reshape(len(split), -1) for split in (data.train.take(FITTED), data.test))
    mean = train.mean(axis=0)
    _, _, directions = np.linalg.svd(train - mean, full_matrices=False)
    return (test - mean) @ directions[:latent].T


def row(data: Dataset, what: str, codes: np.ndarray, seed: int, **more: Any) -> dict[str, Any]:
    factors = disentanglement.factors_of(data.test)
    scores = disentanglement.scores(codes, factors, seed=seed)
    best = disentanglement.mutual_information(codes, factors).max(axis=1)
    informed = " ".join(f"{name} {value:.2f}" for name, value in zip(factors, best, strict=True))
    shown = {"Higgins score": scores["higgins_score"], "MIG": scores["mutual_information_gap"]}
    cells = {"codes": what, "seed": seed} | shown | {"KL": "", "processor seconds": ""} | more
    return cells | {"most information in one dimension": informed}


def rows_of(data: Dataset, seed: int) -> list[dict[str, Any]]:
    """Each kind of codes, for one seed of training and of the metrics."""
    x = data.test.values("x")
    rows = [row(data, "principal components", of_components(data, CONFIG["latent"]), seed)]
    for beta in (BETA, 1.0):
        tg.seed(seed)
        model = VAE(VAE.Config(beta=beta, **CONFIG), data.spec)
        model.plan.steps = STEPS
        if beta == BETA:
            rows.append(row(data, "untrained", model.encode(x), seed))
        start = time.process_time()
        for _ in islice(training_steps(model.training_step, model.source(data.train, seed=seed)), STEPS):
            pass
        spent = time.process_time() - start
        kl = model.evaluate(data.test, seed=seed, thorough=False)["kl_nats"]
        rows.append(row(data, f"beta {beta:g}", model.encode(x), seed, KL=kl, **{"processor seconds": spent}))
    return rows


def run() -> harness.Result:
    tg.backend.tune_process()
    data = tg.data.load("sprites")
    rows = [row for seed in SEEDS for row in rows_of(data, seed)]
    notes = [
        f"{CONFIG['latent']} dimensions, {STEPS} steps of training; metrics of the {len(data.test)} test images",
        "most information: I(z_j; v_k) / H(v_k) of the best dimension j for each factor k",
    ]
    return harness.Result("Disentanglement of the factors of sprites", rows, notes)
