"""Time of one operation in a chain of 1000 small additions, and of a launch of empty tasks by the pool of threads."""

from collections.abc import Callable

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


def empty_launches() -> Callable[[], None]:
    """A function that launches two empty tasks OPERATIONS times."""
    from tinygen.kernels.cpu import pool
    from tinygen.kernels.cpu.jit import worker

    @worker("nothing")
    def do_nothing(arguments, task, lane):
        pass

    arguments = do_nothing.Arguments()

    def launches() -> None:
        for _ in range(OPERATIONS):
            pool.run(do_nothing, arguments, 2)

    return launches


def run() -> harness.Result:
    start = np.linspace(-1, 1, SIZE, dtype=np.float32)
    leaves = {"tinygen": tg.tensor(start, requires_grad=True)}
    if torch := harness.torch_or_none():
        leaves["PyTorch eager"] = torch.tensor(start, requires_grad=True)
    for x in leaves.values():
        np.testing.assert_array_equal(chain(x).numpy(), np.full(SIZE, OPERATIONS + 1, np.float32))

    timings = harness.in_turns({name: lambda x=x: chain(x) for name, x in leaves.items()})
    rows = harness.comparison(timings, unit=1e-6 * OPERATIONS, unit_name="us an operation")
    launch = harness.in_turns({"": empty_launches()})[""].median / OPERATIONS * 1e6
    notes = [
        f"additions of {SIZE} floats; the gradients of both sides are equal to the bit",
        f"a launch of two empty tasks takes {launch:.2f} us, {harness.threads()} threads",
    ]
    return harness.Result("Overhead of an operation", rows, notes + [harness.PEERS_HINT] * (torch is None))
