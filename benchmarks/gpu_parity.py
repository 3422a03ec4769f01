"""Is what a GPU computes right? Its kernels and its operations against the references in float64, on the host."""

import math
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np

from benchmarks.gpu_jobs import Jobs, Rows
from tests.cuda.cases import Case, Draw, cases
from tests.ops.calls import arrays, boxed, first_gradients, on_host, outputs, placed
from tests.ops.table import TABLE
from tinygen.kernels.cuda import runtime

NO, YES = "no", "yes"
VALUES, SINGLES, GRADIENTS = "values, float64", "values, float32", "gradients, float32"
BOUNDS = {VALUES: 1e-9, SINGLES: 2e-5, GRADIENTS: 2e-5}  # those of tests/ops


def kernels() -> Jobs:
    """One for the cases of each kernel and precision."""

    def key(case: Case | Draw) -> tuple[str, str]:
        return (case.call.name, case.precision) if isinstance(case, Case) else (f"drawn {case}", "float32")

    groups = {names: list(group) for names, group in groupby(sorted(cases(), key=key), key=key)}
    first: Jobs = {"compilation": compilation}
    return first | {", ".join(names): partial(kernel, *names, group) for names, group in groups.items()}


def compilation() -> Rows:
    """Every kernel that the device can run, many at once; one that does not compile fails as it is run, so no rows."""
    sources = [s for s in runtime.Source.every if s.architecture <= runtime.architecture()]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for source in sources:
            for name in source.names:
                pool.submit(source._kernel, name, 0)
    return []


def kernel(name: str, precision: str, group: list[Case | Draw]) -> Rows:
    """The worst of some cases. Of calls, errors are relative; of draws, they are units in the last place."""
    try:
        worst = float(np.max([case.error(case.run()) for case in group]))
    finally:
        runtime.set_precision("float32")
    bound = group[0].bound
    row = {"kernel": name, "precision": precision, "cases": len(group)}
    return [row | {"worst error": finite(worst), "bound": bound, "within": YES if worst <= bound else NO}]


def operations(device: str = "cuda") -> Jobs:
    """One for the samples of each operation."""
    return {name: partial(operation, name, device) for name in TABLE}


def operation(name: str, device: str) -> Rows:
    """The worst of its samples: its values by the table's reference, and what the host makes of float64."""
    worst = dict.fromkeys(BOUNDS, 0.0)
    for case in TABLE[name]:
        here, there = first_gradients(case, "float64", "cpu"), first_gradients(case, "float32", device)
        found = {
            VALUES: (arrays(case(*boxed(placed(case.arguments, device)))), case_reference(case)),
            SINGLES: (there[0], here[0]),
            GRADIENTS: (there[1], here[1]),
        }
        for what, (actual, expected) in found.items():
            worst[what] = float(np.max([worst[what], difference(actual, expected)]))
    within = all(worst[what] <= bound for what, bound in BOUNDS.items())
    cells = {what: finite(error) for what, error in worst.items()}
    return [{"operation": name, "samples": len(TABLE[name]), **cells, "within": YES if within else NO}]


def case_reference(case) -> tuple:
    """What the op table expects of a case."""
    return outputs(case.reference(*case.arguments, **case.static))


def difference(actual: Iterable[Any], expected: Iterable[Any]) -> float:
    """The largest |a - e| / (1 + |e|) of all elements: what `assert_allclose` bounds with equal tolerances."""
    found = [0.0]
    for a, e in zip(map(on_host, actual), map(on_host, expected), strict=True):
        if a.shape != e.shape:
            raise AssertionError(f"its shape is {a.shape}, not {e.shape}")
        a, e = a.astype(np.float64), e.astype(np.float64)
        same = (a == e) | (np.isnan(a) & np.isnan(e))
        a, e = a[~same], e[~same]
        with np.errstate(invalid="ignore"):  # an infinity that should be another is NaN: not within any bound
            found.append(np.max(np.abs(a - e) / (1 + np.abs(e)), initial=0.0))
    return float(np.max(found))


def finite(value: float) -> float | str:
    """A number as JSON knows it."""
    return value if math.isfinite(value) else str(value)
