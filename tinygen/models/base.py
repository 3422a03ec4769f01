"""What every model offers, so that training, command line and scoreboard need to know none by name."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np

from tinygen.autograd import no_grad
from tinygen.backend import to_device, to_numpy
from tinygen.data.fields import Labels
from tinygen.data.needs import Needs
from tinygen.errors import UsageError
from tinygen.nn import Module
from tinygen.optim import Schedule, constant, cosine, warmup


class GenerativeModel(Module):
    """Networks, optimisers and counters of one system.

    A subclass sets `name`, the fields that it `needs` (`{"x": Image(kind="rgb"), "y": Labels()}`; a tuple where one of
    several will do) and a frozen dataclass `Config`; it builds its networks, moves them to the device, then makes its
    optimisers. Where it applies it also has `encode(x) -> codes (N, D)` and
    `decode(codes) -> images`, on arrays in data space: (N, H, W, C) in [0, 1]; and `figures(data, *, seed)`, which
    yields a `tinygen.train.figures.Figure` for each thing that its report should show of the data set besides samples,
    reconstructions and interpolation.

    A model that needs labels y is `conditional`, and has `sample(n, *, seed, labels=None)`: classes (n,) to
    draw, by default 0, 1, 2, ... in turn. An `implicit` one has no likelihood, bound or reconstruction that would say
    how good it is: its samples are all there is to judge.
    """

    name: ClassVar[str]
    needs: ClassVar[Needs]
    conditional: ClassVar[bool] = False
    implicit: ClassVar[bool] = False
    Config: ClassVar[Any]

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "needs" in vars(cls):
            cls.conditional = isinstance(cls.needs.get("y"), Labels)

    def __init__(self, config, spec, device: str = "cpu"):
        self.config, self.spec, self.device = config, spec, device

    @classmethod
    def needs_with(cls, config) -> Needs:
        """What it needs as this Config has it; grey images that are not among it are binarised if that will do."""
        return cls.needs

    def training_step(self, batch) -> dict[str, Any]:
        """Consume one minibatch, update each network at most once, and return named scalars (units in the names)."""
        raise NotImplementedError

    def sample(self, n: int, *, seed: int) -> np.ndarray:
        """n new examples in data space, float32; the same for the same seed."""
        raise NotImplementedError

    def evaluate(self, data, *, seed: int, thorough: bool = True) -> dict[str, float]:
        """Numbers about a split, units in their names; `thorough` adds those that cost many passes."""
        raise NotImplementedError

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Context in evaluation mode and without gradient; the mode of every part is restored."""
        before = [(module, module.training) for module in self.modules()]
        self.eval()
        try:
            with no_grad():
                yield
        finally:
            for module, training in before:
                module.training = training


def at_least(config, minimum: float, *names: str) -> None:
    """UsageError where a named field of a Config is below a minimum."""
    for name in names:
        if getattr(config, name) < minimum:
            raise UsageError(f"{name} is {getattr(config, name)}; it must be at least {minimum}")


def draw_rows(draw, rows: int, size: int, device: str):
    """Numbers (rows, size) from a stream's `draw`: each row uses whole counters, so that chunks do not matter."""
    padded = -(-size // 4) * 4
    return draw((rows, padded), device=device)[:, :size]


def asked_labels(labels, n: int, classes: int) -> np.ndarray:
    """The classes of n samples, int64 (n,): those asked for, or all in turn; UsageError where they do not fit."""
    labels = np.arange(n) % classes if labels is None else np.asarray(labels)
    if labels.shape != (n,) or labels.dtype.kind not in "iu":
        raise UsageError(f"labels have shape {labels.shape} and dtype {labels.dtype}; give {n} whole numbers")
    for label in (labels.min(initial=0), labels.max(initial=0)):
        if not 0 <= label < classes:
            raise UsageError(f"label {label} is unknown: there are 0 to {classes - 1}")
    return labels.astype(np.int64)


def learning_rate(config) -> Schedule:
    """The step size over the steps of a run: a rise over `warmup_steps`, then half a cosine or a constant."""
    peak, steps = config.learning_rate, config.cosine_steps
    return warmup(config.warmup_steps, cosine(peak, 0.0, steps) if steps else constant(peak))


CHUNK = 2000  # examples in one pass of an evaluation
ROWS = 250  # examples in one pass of encoding and decoding


def in_chunks(function, x, device: str) -> np.ndarray:
    """`function` over the rows of x, as one NumPy array.

    It always gets `ROWS` of them, the last ones made up, so that a row's result does not depend on its company: matrix
    products of another height may differ in the last bit.
    """
    parts = []
    for start in range(0, max(1, len(x)), ROWS):
        part = to_numpy(x[start : start + ROWS])
        full = np.zeros((ROWS, *part.shape[1:]), part.dtype)
        full[: len(part)] = part
        parts.append(to_numpy(function(to_device(full, device)))[: len(part)])
    return np.concatenate(parts)


def mean_over(chunks) -> dict[str, float]:
    """Means of named per-example values (N,), given chunk by chunk."""
    totals: dict[str, float] = {}
    count = 0
    for values in chunks:
        for name, x in values.items():
            totals[name] = totals.get(name, 0.0) + float(x.sum(dtype=np.float64))
        count += len(x)
    return {name: total / count for name, total in totals.items()}
