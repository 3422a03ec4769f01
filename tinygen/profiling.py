"""`tg.profile()`: the time that each operation takes."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from math import prod
from threading import get_ident
from time import perf_counter
from typing import Any

from tinygen.backend import gpu_problem, is_array
from tinygen.backend.dispatch import wrapped
from tinygen.kernels.geometry import tap_mask
from tinygen.primitive import REGISTRY, Primitive


def _convolution(pixels, weight, geometry) -> int:
    """FLOPs of a convolution or one of its adjoints, for an array `pixels` of its outputs; masked weights cost none."""
    mask = tap_mask(tuple(weight.shape), geometry.mask)
    return 2 * prod(pixels.shape[:3]) * int(weight.size if mask is None else mask.sum())


def _recurrence(x, input_weight, hidden_weight, *_, **__) -> int:
    return 2 * prod(x.shape[:2]) * (input_weight.size + hidden_weight.size)


def _pairs(query, key, causal: bool) -> int:
    """How many pairs of a query and a key attention multiplies."""
    *lead, steps, _ = query.shape
    keys = key.shape[-2]
    return prod(lead) * (sum(min(keys, t + 1) for t in range(steps)) if causal else steps * keys)


FLOPS: dict[str, Callable[..., int]] = {
    "attention": lambda y, xp, q, k, v, *_, causal, **__: 2 * _pairs(q, k, causal) * (q.shape[-1] + v.shape[-1]),
    "attention_backward": lambda grads, g, q, k, v, *_, causal, **__: (
        2 * _pairs(q, k, causal) * (3 * q.shape[-1] + 2 * v.shape[-1])
    ),
    "conv2d": lambda y, xp, x, w, *_, geometry, **__: _convolution(y, w, geometry),
    "conv2d_input_grad": lambda x, xp, g, w, *_, geometry, **__: _convolution(g, w, geometry),
    "conv2d_weight_grad": lambda w, xp, x, g, *, geometry, **_: _convolution(g, w, geometry),
    "matmul": lambda y, xp, a, b: 2 * y.size * a.shape[-1],
    "linear": lambda y, xp, x, w, *_, **__: 2 * y.size * w.shape[0],
    "conv_lstm": lambda y, xp, gates, u, *_, **__: 2 * prod(gates.shape[:-1]) * u.size,
    "conv_lstm_backward": lambda grads, *_, **__: 4 * prod(grads[0].shape[:-1]) * grads[1].size,
    "lstm": lambda y, xp, *arguments: _recurrence(*arguments),
    "gru": lambda y, xp, *arguments: _recurrence(*arguments),
    "lstm_backward": lambda grads, *_: 2 * _recurrence(*grads),
    "gru_backward": lambda grads, *_: 2 * _recurrence(*grads),
}
"""FLOPs of a call, from its result and its arguments: the multiplications and additions of its products."""


COLUMNS = ("operation", "calls", "ms", "share", "MB", "GFLOP/s")


@dataclass
class Row:
    """The total of all calls of one operation, without the operations that ran inside of it."""

    name: str
    calls: int = 0
    seconds: float = 0.0
    bytes: int = 0
    flops: int = 0

    @property
    def gflops(self) -> float | None:
        """Billions of floating-point operations per second; None if they are not counted."""
        return self.flops / self.seconds / 1e9 if self.flops else None

    def cells(self, total: float) -> tuple[str, ...]:
        """The row as text, with its share of `total` seconds."""
        calls, size = (str(self.calls), f"{self.bytes / 1e6:.1f}") if self.calls else ("", "")
        rate = "" if self.gflops is None else f"{self.gflops:.1f}"
        return self.name, calls, f"{self.seconds * 1e3:.3f}", f"{self.seconds / (total or 1):.1%}", size, rate


class Profile:
    """The measurements of `profile`; `print` shows them as a table.

    `outside` are the seconds that were spent in no operation; they are set when the context is left.
    """

    def __init__(self) -> None:
        self.outside = 0.0
        self._rows: dict[str, Row] = {}
        self._thread: int | None = get_ident()
        self._inside = 0.0  # seconds inside operations, since the call that is running began

    @property
    def rows(self) -> list[Row]:
        """A Row for each operation, the slowest first."""
        return sorted(self._rows.values(), key=lambda row: -row.seconds)

    @property
    def seconds(self) -> float:
        """All seconds that were measured."""
        return sum(row.seconds for row in self._rows.values()) + self.outside

    def __str__(self) -> str:
        total = self.seconds
        rows = [*self.rows, Row("outside of operations", seconds=self.outside), Row("total", seconds=total)]
        cells = [COLUMNS, *(row.cells(total) for row in rows)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = ([name.ljust(widths[0]), *map(str.rjust, numbers, widths[1:])] for name, *numbers in cells)
        return "\n".join("  ".join(line).rstrip() for line in lines)

    def call(self, name: str, function: Callable, /, *arguments, **options) -> Any:
        """Call a function and add its measurements to the row of a name; returns its result."""
        if get_ident() != self._thread:
            return function(*arguments, **options)
        before, self._inside = self._inside, 0.0
        start = _now()
        try:
            result = function(*arguments, **options)
            seconds = _now() - start - self._inside
            row = self._rows.setdefault(name, Row(name))
            row.calls += 1
            row.seconds += seconds
            row.bytes += sum({id(a): a.nbytes for a in _arrays((arguments, result))}.values())
            if name in FLOPS:
                row.flops += FLOPS[name](result, *arguments, **options)
            return result
        finally:  # the time for counting belongs to no operation
            self._inside = before + _now() - start


@contextmanager
def profile(*, show: bool = True) -> Iterator[Profile]:
    """A context that measures each operation: calls, time, bytes, and floating-point operations per second.

    `with tg.profile(): model.training_step(batch)` prints a table on leaving, unless `show` is false; `as` gives the
    Profile, whose `rows` hold the numbers. An operation `name` has a row for its forward pass, and a row
    `name_backward` for its gradient. Kernels that belong to no operation, such as `adam`, have rows too. The time of an
    operation inside another counts only for the inner one. The rest is outside of operations: Python, the tape, data,
    arrays that are used directly.

    Run a step before, since the first call of a kernel may compile it. Bytes are those of the arrays that a call is
    given, has saved, and returns. FLOPs are counted for convolutions, matrix products and recurrent layers, as direct
    sums over the taps that no mask hides: Winograd's algorithm needs fewer, so its rate can exceed the machine's peak.
    Only the thread that entered is measured. Each reading of the clock first waits for a GPU in use (`synchronize` on
    its current stream), so that work that would overlap is added up.
    """
    measured = Profile()
    backward = Primitive.backward

    def timed_backward(op, node, g, create_graph, edges):
        return measured.call(
            f"{op.name}_backward", lambda *_: backward(op, node, g, create_graph, edges), g, node.saved
        )

    def timed_kernel(name, function):  # an operation's own kernel is part of the operation's row
        return function if name in REGISTRY else partial(measured.call, name, function)

    with ExitStack() as stack:
        for op in REGISTRY.values():
            stack.enter_context(_replaced(op, "forward", partial(measured.call, op.name, op.forward)))
        stack.enter_context(_replaced(Primitive, "backward", timed_backward))
        stack.enter_context(wrapped(timed_kernel))
        start = _now()
        try:
            yield measured
        finally:
            measured.outside = _now() - start - measured._inside
            measured._thread = None
            if show:
                print(measured)


@contextmanager
def _replaced(owner, name: str, value) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def _now() -> float:
    """Seconds on a clock, read after a GPU in use has finished its work."""
    if "cupy" in sys.modules and not gpu_problem():
        sys.modules["cupy"].cuda.get_current_stream().synchronize()
    return perf_counter()


def _arrays(values) -> Iterator[Any]:
    """The arrays in nested tuples and lists."""
    for value in values:
        if isinstance(value, tuple | list):
            yield from _arrays(value)
        elif is_array(value):
            yield value
