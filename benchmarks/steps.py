"""Training steps of whole networks through the public API, after the losses of 5 steps have been compared."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

import tinygen as tg
from benchmarks import harness
from benchmarks.pairs import BATCHES, PAIRS, Pair, our_side, peer_side

TOLERANCE = 1e-3  # five steps of a GAN amplify rounding: PyTorch's memory formats differ by 1e-4 (measured)
ROUNDS, BLOCK = 7, 0.7
COMPILED, FAULTS = "torch.compile", "our page faults a step"
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


def peers_of(pair: Pair, torch, networks: list) -> tuple[dict[str, Callable], dict[str, np.ndarray], str]:
    """PyTorch's steps by configuration, their first losses, and why torch.compile fails or "".

    The configuration in which the functions that the pair marks are compiled has the name COMPILED.
    """
    sides, values, failure = {}, {}, ""
    torch.compiler.reset()  # else the functions of pairs before count towards its limit of compilations
    configs = {str(config): config for config in pair.configs}
    for name, config in (configs | {COMPILED: replace(pair.configs[0], compiled=True)}).items():
        step = peer_side(pair, torch, config, networks)
        try:
            values[name] = losses(step)
            sides[name] = step
        except Exception as error:
            if not config.compiled:
                raise
            failure = f"fails: {harness.first_line(error)}"
    return sides, values, failure


def largest_difference(compared: dict[str, np.ndarray], expected: np.ndarray, title: str) -> float:
    """The largest relative difference of losses from ours; AssertionError if it exceeds TOLERANCE."""
    for name, values in compared.items():
        np.testing.assert_allclose(values, expected, rtol=TOLERANCE, err_msg=f"{title}, {name}")
    return max(float(np.abs(values / expected - 1).max()) for values in compared.values())


def measure(pair: str | Pair) -> dict[str, Any]:
    """The row of a pair, or of the one of this name in `pairs.PAIRS`; AssertionError if the sides' losses differ."""
    pair = PAIRS[pair] if isinstance(pair, str) else pair
    networks, ours = our_side(pair, tg)
    row: dict[str, Any] = {"step": pair.title, "batch": pair.batch}
    torch = harness.torch_or_none()
    if torch is None:
        return row | harness.against_pytorch(ours, {}, rounds=ROUNDS, block=BLOCK) | {FAULTS: page_faults(ours)}
    peers, compared, failure = peers_of(pair, torch, networks)
    also = {COMPILED: peers[COMPILED]} if COMPILED in peers else {}
    if harness.jax_or_none():
        from benchmarks.jax_steps import STEPS, jax_side

        if type(pair) in STEPS:
            also["JAX"] = jax_side(pair, networks)
            compared["JAX"] = losses(also["JAX"])
    differs = largest_difference(compared, losses(ours), pair.title)
    row |= harness.against_pytorch(ours, peers, rounds=ROUNDS, block=BLOCK, also=also)
    if failure:
        row[f"{COMPILED} / ours"] = failure
    return row | {FAULTS: page_faults(ours), "losses differ by": differs}


def run() -> harness.Result:
    tg.backend.tune_process()
    rows = [measure(name) for name in PAIRS]
    notes = [
        f"{harness.threads()} threads a side; the process's allocator, and so that of both sides, keeps what is freed",
        f"same initial weights, data and noise: the losses of {BATCHES} steps agree to {TOLERANCE:g}, relative; the "
        "last column is the largest difference of a side or of a configuration of PyTorch's from ours",
        "PyTorch runs in the fastest of its configurations, which a trial finds: memory format of images, fused or "
        "foreach Adam, and the networks and the loss compiled with torch.compile, compilation not counted",
        "torch.compile / ours: that configuration in the same rounds, or why it fails",
        "JAX, where the step is written for it: a whole update is one compiled function, in our layout, on all cores"
        if harness.jax_or_none()
        else "JAX is not installed, so it was not measured",
    ]
    return harness.Result("Training steps", rows, notes + [harness.PEERS_HINT] * (harness.torch_or_none() is None))
