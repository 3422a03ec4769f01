"""Training steps of whole networks through the public API, after the losses of 5 steps have been compared."""

from collections.abc import Callable
from typing import Any

import numpy as np

import tinygen as tg
from benchmarks import harness
from benchmarks.pairs import BATCHES, PAIRS, Pair, our_side, peer_side

TOLERANCE = 1e-3  # five steps of a GAN amplify rounding: PyTorch's memory formats differ by 1e-4 (measured)
ROUNDS, BLOCK = 7, 0.7
STEPS_OF_FAULTS = 5  # number of steps over which page faults are counted


def losses(step: Callable[[], tuple]) -> np.ndarray:
    """The losses (BATCHES, losses of a step) of the next BATCHES steps."""
    return np.array([[loss.item() for loss in step()] for _ in range(BATCHES)])


def page_faults(step: Callable[[], object]) -> float:
    """Page faults a step: pages that the system maps again because memory was freed after the step before."""
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(STEPS_OF_FAULTS):
        step()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / STEPS_OF_FAULTS


def measure(pair: str | Pair) -> dict[str, Any]:
    """The row of a pair, or of the one of this name in `pairs.PAIRS`; AssertionError if the sides' losses differ."""
    pair = PAIRS[pair] if isinstance(pair, str) else pair
    networks, ours = our_side(pair, tg)
    torch = harness.torch_or_none()
    peers = {str(config): peer_side(pair, torch, config, networks) for config in pair.configs} if torch else {}
    third = {}
    if torch and harness.jax_or_none():
        from benchmarks.jax_steps import STEPS, jax_side

        if type(pair) in STEPS:
            third["JAX"] = jax_side(pair, networks)
    expected = losses(ours)
    compared = {name: losses(step) for name, step in (peers | third).items()}
    for name, values in compared.items():
        np.testing.assert_allclose(values, expected, rtol=TOLERANCE, err_msg=f"{pair.title}, {name}")

    cells = harness.against_pytorch(ours, peers, rounds=ROUNDS, block=BLOCK, jax=third.get("JAX"))
    row = {"step": pair.title, "batch": pair.batch, **cells, "our page faults a step": page_faults(ours)}
    if compared:
        row["losses differ by"] = max(float(np.abs(values / expected - 1).max()) for values in compared.values())
    return row


def run() -> harness.Result:
    tg.backend.tune_process()
    rows = [measure(name) for name in PAIRS]
    notes = [
        f"{harness.threads()} threads a side; the process's allocator, and so that of both sides, keeps what is freed",
        f"same initial weights, data and noise: the losses of {BATCHES} steps agree to {TOLERANCE:g}, relative; the "
        "last column is the largest difference of a side or of a configuration of PyTorch's from ours",
        "PyTorch eager runs in the fastest of its configurations: memory format of images, fused or foreach Adam",
        "JAX, where the step is written for it: a whole update is one compiled function, in our layout, on all cores"
        if harness.jax_or_none()
        else "JAX is not installed, so it was not measured",
    ]
    return harness.Result("Training steps", rows, notes + [harness.PEERS_HINT] * (harness.torch_or_none() is None))
