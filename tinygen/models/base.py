"""What every model offers, so that training, command line and scoreboard need to know none by name."""

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from tinygen.autograd import no_grad
from tinygen.backend import to_device, to_numpy
from tinygen.data.needs import Needs
from tinygen.errors import UsageError
from tinygen.models.trial import Trial
from tinygen.nn import Module
from tinygen.optim import Schedule, cosine, warmup


@dataclass
class Plan:
    """What a model is told of its training before it begins."""

    steps: int | None = None
    """Minibatches, None where that is not known."""


class System(Module):
    """Networks, optimisers and counters of one system.

    A subclass sets `name`, the fields that it `needs` (`{"x": Image(kind="rgb"), "y": Labels()}`; a tuple where one of
    several will do) and a frozen dataclass `Config`; it builds its networks, moves them to the device, then makes its
    optimisers. What else it can do is told by the methods of `tinygen.capabilities`, none of which it must have: it
    samples, encodes and decodes, completes, translates, gives probabilities, classifies or ranks. A method
    `figures(data, *, seed)` yields a `tinygen.train.figures.Figure` for each thing that its report should show besides.

    `conditions` names the fields that samples may be asked to have, `sample(n, seed=0, given={"y": labels})`.
    `log_prob_is_bound`: `log_prob` is a lower bound. An `implicit` system has no likelihood, bound or reconstruction
    that would say how good it is: its samples are all there is to judge.

    `selection_metric` is that of `evaluate(..., thorough=False)` by which the best state of a training is chosen; None
    where no number says on its own which of two states is better.

    What checks it stands in its file too: `tiny` configurations for the protocol test, `trials` for `tinygen verify`,
    and `recipes`, flags of `tinygen train`, for the scoreboard.
    """

    name: ClassVar[str]
    needs: ClassVar[Needs]
    conditions: ClassVar[tuple[str, ...]] = ()
    log_prob_is_bound: ClassVar[bool] = False
    implicit: ClassVar[bool] = False
    selection_metric: str | None = None
    earlier: tuple[tuple[int, Any], ...] = ()
    """Configurations that its training began with, oldest first, each with the step at which it was replaced."""
    Config: ClassVar[Any]
    tiny: ClassVar[tuple[dict[str, Any], ...]] = ()
    trials: ClassVar[tuple[Trial, ...]] = ()
    recipes: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "name" not in vars(cls):
            cls.name = cls.__name__

    def __init__(self, config, spec, device: str = "cpu"):
        self.config, self.spec, self.device = config, spec, device
        self.plan = Plan()

    @classmethod
    def needs_with(cls, config) -> Needs:
        """What it needs as this Config has it; grey images that are not among it are binarised if that will do."""
        return cls.needs

    @abstractmethod
    def training_step(self, batch) -> dict[str, Any]:
        """Consume one minibatch, update each network at most once, and return named scalars (units in the names)."""
        raise NotImplementedError

    @abstractmethod
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
        if getattr(config, name) is not None and getattr(config, name) < minimum:
            raise UsageError(f"{name} is {getattr(config, name)}; it must be at least {minimum}")


def draw_rows(draw, rows: int, size: int, device: str):
    """Numbers (rows, size) from a stream's `draw`: each row uses whole counters, so that chunks do not matter."""
    padded = -(-size // 4) * 4
    return draw((rows, padded), device=device)[:, :size]


def given_labels(given, n: int, classes: int) -> np.ndarray:
    """The classes of n samples, int64 (n,): those in `given`, or all in turn; UsageError where they do not fit."""
    if given is not None and set(given) != {"y"}:
        raise UsageError(f"given has {', '.join(given) or 'nothing'}; samples can be given labels, as y")
    labels = np.arange(n) % classes if given is None else np.asarray(given["y"])
    if labels.shape != (n,) or labels.dtype.kind not in "iu":
        raise UsageError(f"labels have shape {labels.shape} and dtype {labels.dtype}; give {n} whole numbers")
    for label in (labels.min(initial=0), labels.max(initial=0)):
        if not 0 <= label < classes:
            raise UsageError(f"label {label} is unknown: there are 0 to {classes - 1}")
    return labels.astype(np.int64)


def learning_rate(config, plan: Plan) -> Schedule:
    """The step size over the steps of a run: a rise over `warmup_steps`, then half a cosine, or a constant.

    The cosine takes `cosine_steps`; None stands for all that are planned, and without a plan the step size stays.
    """

    def after_warmup(step: int) -> float:
        steps = config.cosine_steps
        if steps is None:
            steps = max(0, (plan.steps or 0) - config.warmup_steps)
        return cosine(config.learning_rate, 0.0, steps)(step) if steps else config.learning_rate

    return warmup(config.warmup_steps, after_warmup)


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
