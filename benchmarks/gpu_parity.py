"""Correctness on a GPU: kernels and operations against float64 references, and training against the CPU."""

import math
import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np

import tinygen as tg
from benchmarks.gpu_jobs import Jobs, Rows
from benchmarks.pairs import PAIRS, Pair, normal
from benchmarks.steps import TOLERANCE
from tests.cuda.cases import Case, Draw, cases
from tests.ops.calls import arrays, as_tensors, first_gradients, moved, on_host, outputs
from tests.ops.table import TABLE
from tinygen.kernels.cuda import runtime

NO, YES = "no", "yes"
VALUES, SINGLES, GRADIENTS = "values, float64", "values, float32", "gradients, float32"
BOUNDS = {VALUES: 1e-9, SINGLES: 2e-5, GRADIENTS: 2e-5}  # those of tests/ops


# Kernels and operations


def kernels() -> Jobs:
    """A job for the cases of each kernel and precision."""

    def key(case: Case | Draw) -> tuple[str, str]:
        return (case.call.name, case.precision) if isinstance(case, Case) else (f"drawn {case}", "float32")

    groups = {names: list(group) for names, group in groupby(sorted(cases(), key=key), key=key)}
    first: Jobs = {"compilation": compilation}
    return first | {", ".join(names): partial(kernel, *names, group) for names, group in groups.items()}


def compilation() -> Rows:
    """Compile all kernels for the device in parallel; no rows. A kernel that does not compile fails when it is run."""
    sources = [s for s in runtime.Source.every if s.architecture <= runtime.architecture()]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for source in sources:
            for name in source.names:
                pool.submit(source._kernel, name, 0)
    return []


def kernel(name: str, precision: str, group: list[Case | Draw]) -> Rows:
    """A row with the largest error of the cases: relative for calls, in units of the last place for random numbers."""
    try:
        worst = float(np.max([case.error(case.run()) for case in group]))
    finally:
        runtime.set_precision("float32")
    bound = group[0].bound
    row = {"kernel": name, "precision": precision, "cases": len(group)}
    return [row | {"worst error": finite(worst), "bound": bound, "within": YES if worst <= bound else NO}]


def operations(device: str = "cuda") -> Jobs:
    """A job for the samples of each operation."""
    return {name: partial(operation, name, device) for name in TABLE}


def operation(name: str, device: str) -> Rows:
    """A row with the largest errors of an operation's samples.

    float64 values are compared with the table's reference, float32 values and gradients with the CPU's in float64.
    """
    worst = dict.fromkeys(BOUNDS, 0.0)
    for case in TABLE[name]:
        on_cpu, on_device = first_gradients(case, "float64", "cpu"), first_gradients(case, "float32", device)
        gradients = {
            VALUES: (arrays(case(*as_tensors(moved(case.arguments, device)))), case_reference(case)),
            SINGLES: (on_device[0], on_cpu[0]),
            GRADIENTS: (on_device[1], on_cpu[1]),
        }
        for what, (actual, expected) in gradients.items():
            worst[what] = float(np.max([worst[what], difference(actual, expected)]))
    within = all(worst[what] <= bound for what, bound in BOUNDS.items())
    cells = {what: finite(error) for what, error in worst.items()}
    return [{"operation": name, "samples": len(TABLE[name]), **cells, "within": YES if within else NO}]


def case_reference(case) -> tuple:
    """The outputs that the op table expects of a case."""
    return outputs(case.reference(*case.arguments, **case.static))


def difference(actual: Iterable[Any], expected: Iterable[Any]) -> float:
    """The largest |a - e| / (1 + |e|) of all elements: what `assert_allclose` bounds with equal tolerances."""
    errors = [0.0]
    for a, e in zip(map(on_host, actual), map(on_host, expected), strict=True):
        if a.shape != e.shape:
            raise AssertionError(f"its shape is {a.shape}, not {e.shape}")
        a, e = a.astype(np.float64), e.astype(np.float64)
        same = (a == e) | (np.isnan(a) & np.isnan(e))
        a, e = a[~same], e[~same]
        with np.errstate(invalid="ignore"):  # a wrong infinity gives NaN, which is within no bound
            errors.append(np.max(np.abs(a - e) / (1 + np.abs(e)), initial=0.0))
    return float(np.max(errors))


def finite(value: float) -> float | str:
    """A number, as text if it is NaN or infinite, which JSON does not have."""
    return value if math.isfinite(value) else str(value)


# Training on the GPU and on the CPU: a VAE and a small DCGAN on images of clothes

SEEDS = 0, 1
FIRST_STEPS = 5  # steps whose losses are compared one by one
END_TOLERANCE = 2e-3  # allowed relative difference of the losses at the end, or twice that of small changes, if larger
CHANGES = 1e-7, 3e-7, 1e-6


@dataclass(frozen=True)
class Training:
    """Training steps of a pair; `draw` makes the batch of a step from grey images (N, 28, 28, 1)."""

    pair: Pair
    steps: int
    draw: Callable[[Pair, np.random.Generator, np.ndarray], tuple[np.ndarray, ...]]


def vae_batch(pair, rng, images):
    """Binary images sampled from grey ones, and noise."""
    return (rng.random((pair.batch, 784)) < images.reshape(-1, 784)).astype(np.float32), normal(rng, pair.batch, 20)


def gan_batch(pair, rng, images):
    """Images in [-1, 1], and noise."""
    return 2 * images - 1, normal(rng, pair.batch, 100)


TRAININGS = {
    "vae": Training(PAIRS["vae"], 300, vae_batch),
    "dcgan": Training(replace(PAIRS["dcgan"], batch=16), 150, gan_batch),
}


def trainings() -> Jobs:
    """A job for the seeds of each training."""
    return {name: partial(compare, name) for name in TRAININGS}


def losses(training: Training, seed: int, device: str, change: float = 0.0) -> np.ndarray:
    """The losses (steps, losses of a step) of a training whose first batch is multiplied by 1 - change."""
    tg.seed(seed)
    images = tg.data.load("fashion-mnist-7k").train.columns["x"].reshape(-1, 28, 28, 1)
    _, step = replace(training.pair, device=device).ours(tg)
    rng = np.random.default_rng(seed)
    losses_of_steps = []
    for number in range(training.steps):
        chosen = images[rng.integers(len(images), size=training.pair.batch)].astype(np.float32) / 255
        batch = training.draw(training.pair, rng, chosen)
        if number == 0:
            batch = tuple(array * np.float32(1 - change) for array in batch)
        losses_of_steps.append([loss.item() for loss in step(*(tg.backend.to_device(a, device) for a in batch))])
    return np.array(losses_of_steps)


def compare(name: str, device: str = "cuda") -> Rows:
    """Rows with the relative differences of both devices' losses in the first steps and in the mean of the last third.

    Training is chaotic, above all that of a GAN: the difference at the end may be twice as large as that which a change
    of the first batch in its last digits makes on the CPU.
    """
    training, rows, chance = TRAININGS[name], [], 0.0
    for seed in SEEDS:
        on_cpu, on_device = (losses(training, seed, place) for place in ("cpu", device))
        changed = [losses(training, seed, "cpu", change) for change in CHANGES]
        ends = [values[-training.steps // 3 :].mean(axis=0) for values in (on_cpu, on_device, *changed)]
        end, *others = (float(np.abs(other / ends[0] - 1).max()) for other in ends[1:])
        chance = max(chance, *others)
        row: dict[str, Any] = {"training": training.pair.title, "batch": training.pair.batch, "seed": seed}
        row |= {"steps": training.steps, "CPU": as_text(ends[0]), "GPU": as_text(ends[1])}
        first_difference = float(np.abs(on_device[:FIRST_STEPS] / on_cpu[:FIRST_STEPS] - 1).max())
        rows.append(row | {f"first {FIRST_STEPS} steps apart": first_difference, "bound": TOLERANCE, "end apart": end})
    bound = max(END_TOLERANCE, 2 * chance)
    for row in rows:
        within = row[f"first {FIRST_STEPS} steps apart"] <= TOLERANCE and row["end apart"] <= bound
        row |= {"bound of the end": bound, "within": YES if within else NO}
    return rows


def as_text(values: np.ndarray) -> str:
    return ", ".join(f"{value:.5g}" for value in values)
