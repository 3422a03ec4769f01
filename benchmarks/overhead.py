"""A chain of 1000 small additions, forward and backward: what one operation costs."""

import numpy as np

import tinygen as tg
from benchmarks import harness

OPERATIONS = 1000
SIZE = 16


def chain(x):
    """The gradient of sum(x + x + ... + x), OPERATIONS additions of SIZE floats each, in either library."""
    x.grad = None
    y = x
    for _ in range(OPERATIONS):
        y = y + x
    y.sum().backward()
    return x.grad


def run() -> harness.Result:
    start = np.linspace(-1, 1, SIZE, dtype=np.float32)
    leaves = {"tinygen": tg.tensor(start, requires_grad=True)}
    if torch := harness.torch_or_none():
        leaves["PyTorch eager"] = torch.tensor(start, requires_grad=True)
    for x in leaves.values():
        np.testing.assert_array_equal(chain(x).numpy(), np.full(SIZE, OPERATIONS + 1, np.float32))

    timings = harness.in_turns({name: lambda x=x: chain(x) for name, x in leaves.items()})
    rows = harness.comparison(timings, unit=1e-6 * OPERATIONS, unit_name="us an operation")
    notes = [f"additions of {SIZE} floats; the gradients of both sides are equal to the bit"]
    return harness.Result("Overhead of an operation", rows, notes + [harness.PEERS_HINT] * (torch is None))
