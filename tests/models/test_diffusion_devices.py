"""Diffusion models on the device "cuda" give the results of the CPU."""

import numpy as np
import pytest

import tinygen as tg
from tests.comparison import assert_same
from tests.models.cases import spec_for, split_for
from tinygen import models
from tinygen.data import Dataset

TINY = {"hidden": 6, "layers": 1, "warmup_steps": 0}
STEPS = TINY | {"timesteps": 3}
CASES = {
    "images": ("ddpm", STEPS | {"channels": 2, "condition": "labels", "guidance": 0.5, "loss": "bound"}, "grey"),
    "points": ("ddpm", STEPS | {"sampler": "ancestral", "sampling_steps": 3}, "points"),
    "flow of points": ("flow-matching", TINY | {"sampling_steps": 2, "density_steps": 2}, "points"),
    "2015, points": ("diffusion", STEPS, "points"),
    "2015, images": ("diffusion", STEPS, "binary"),
}


def train_evaluate_and_sample(case, device):
    """Scalars of two steps, metrics, samples and likelihoods, and filled images."""
    name, config, kind = CASES[case]
    system = models.get(name)
    tg.seed(0)
    spec = spec_for(system, (4, 4), kind, config)
    model = system(system.Config(**config), spec, device)
    split = split_for(model, 7)
    model.prepare(Dataset(spec, split, split, split), seed=0)
    batch = split.batch(slice(None))
    scalars = [float(v) for _ in range(2) for v in model.training_step(batch.to(device)).values()]
    results = [scalars, model.evaluate(split, seed=1), model.sample(3, seed=2), model.log_prob(batch.x, seed=3)]
    if case == "images":
        results.append(model.fill(batch.x, np.arange(16).reshape(1, 4, 4, 1).repeat(7, axis=0) % 3 == 0, seed=4))
    return results


@pytest.mark.parametrize("case", CASES)
def test_models_agree_with_the_cpu(case, cuda):
    assert_same(train_evaluate_and_sample(case, cuda), train_evaluate_and_sample(case, "cpu"), 1e-3)
