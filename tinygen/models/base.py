"""The base of every model. Training, command line and scoreboard use only this interface, and name no model."""

import dataclasses
from abc import abstractmethod
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from tinygen.arguments import take_plain_numbers
from tinygen.autograd import no_grad
from tinygen.backend import to_device, to_numpy
from tinygen.backend.capture import restored_on_error
from tinygen.data import Batch, Dataset, Loader, Split
from tinygen.data.needs import Needs
from tinygen.data.sources import Source
from tinygen.errors import NonFiniteError, UsageError
from tinygen.models.trial import Trial
from tinygen.nn import BatchNorm, Module, SpectralNorm
from tinygen.optim import EMA, Schedule, cosine, warmup

Show = Callable[[str], Any]
"""A function that shows a line of text to the user."""


@dataclass
class Plan:
    """What is known about a training before its first step; set by `fit`."""

    steps: int | None = None
    """Number of minibatches; None if it is not known, as with a time budget."""


class System(Module):
    """Networks, optimisers and counters of one system.

    A subclass sets `name`, the fields that it `needs` (`{"x": Image(kind="rgb"), "y": Labels()}`; a tuple where one of
    several will do) and a frozen dataclass `Config`; it builds its networks, moves them to the device, then makes its
    optimisers. What else it can do is decided by the methods of `tinygen.capabilities` that it has; none is required. A
    method `figures(data, *, seed)` yields further figures for its report (`tinygen.train.figures.Figure`).

    `conditions` names the fields that samples can be conditioned on, as in `sample(n, seed=0, given={"y": labels})`.
    `log_prob_is_bound`: `log_prob` is a lower bound. `log_prob_is_estimate`: it is a random estimate, neither exact nor
    a bound. An `implicit` system has no likelihood, bound or reconstruction error, so that only its samples can be
    scored. `translates_any_size`: `translate` also takes images of other sizes than the training images.

    `at_sampling` names the fields of its Config that only sampling reads, such as a number of steps: they may have
    other values after training (`sampling_with`, and `tinygen sample --sampling NAME=VALUE`).

    `selection_metric` is the metric of `evaluate(..., thorough=False)` that chooses the best state of a training; None
    where no single metric can.

    For its checks a system has `tiny` configurations for the protocol test, `trials` for `tinygen verify`, and
    `recipes`, flags of `tinygen train`, for the scoreboard.
    """

    name: ClassVar[str]
    needs: ClassVar[Needs]
    conditions: tuple[str, ...] = ()
    log_prob_is_bound: bool = False
    log_prob_is_estimate: bool = False
    implicit: ClassVar[bool] = False
    translates_any_size: ClassVar[bool] = False
    at_sampling: ClassVar[tuple[str, ...]] = ()
    selection_metric: str | None = None
    earlier: tuple[tuple[int, Any], ...] = ()
    """Earlier configurations of its training, oldest first, each with the step at which it was replaced."""
    Config: ClassVar[Any]
    tiny: ClassVar[tuple[dict[str, Any], ...]] = ()
    trials: ClassVar[tuple[Trial, ...]] = ()
    recipes: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "name" not in vars(cls):
            cls.name = cls.__name__
        if dataclasses.is_dataclass(config := vars(cls).get("Config")):
            take_plain_numbers(config)

    def __init__(self, config, spec, device: str = "cpu"):
        self.config, self.spec, self.device = config, spec, device
        self.plan = Plan()

    @classmethod
    def needs_with(cls, config) -> Needs:
        """Its needs under this Config. Grey images that do not meet them are binarised, if binary images meet them."""
        return cls.needs

    def source(self, split: Split, *, seed: int) -> Source:
        """The source of its minibatches: by default a `Loader` with the `batch_size` of its Config."""
        return Loader(split, self.config.batch_size, seed=seed)

    def pairs(self, batch: Batch, *, seed: int) -> Batch:
        """The inputs of a translating system for held-out data, and their targets if there are any.

        By default those of the data. A task that makes its inputs of the images themselves, such as noisy ones,
        overrides it; `seed` decides what it draws.
        """
        return batch

    def prepare(self, data: Dataset, *, seed: int, show: Show = lambda line: None) -> None:
        """Learn from the data what the first training step needs; by default nothing. `show` gets lines to print.

        It is called once in a training, and not when that is resumed: what it leaves is part of the state.
        """
        return

    @abstractmethod
    def training_step(self, batch) -> dict[str, Any]:
        """Train on one minibatch, updating each network at most once; returns scalars, with units in their names."""
        raise NotImplementedError

    def step_kind(self) -> Hashable:
        """What its next `training_step` does, if more than the values of arrays decides that; None: too much decides.

        Steps of one kind can replace one another (`tinygen.capture`): Python's part in them is the same.
        """
        return None

    @abstractmethod
    def evaluate(self, data, *, seed: int, thorough: bool = True) -> dict[str, float]:
        """Metrics on a split, with units in the names; `thorough` adds those that take many passes."""
        raise NotImplementedError

    @contextmanager
    def sampling_with(self, **values: Any) -> Iterator[None]:
        """A context in which fields of the Config that only sampling reads have other values; UsageError for others."""
        if others := values.keys() - set(self.at_sampling):
            known = f"there are {', '.join(self.at_sampling)}" if self.at_sampling else "it has no such fields"
            raise UsageError(f"{min(others)} cannot be changed when {self.name} draws samples; {known}")
        before = self.config
        self.config = dataclasses.replace(before, **values)
        try:
            yield
        finally:
            self.config = before

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """A context in evaluation mode and without gradients; afterwards every module has its former mode."""
        before = [(module, module.training) for module in self.modules()]
        self.eval()
        try:
            with no_grad():
                yield
        finally:
            for module, training in before:
                module.training = training


@contextmanager
def batch_norm_restored_on_error(model: Module) -> Iterator[None]:
    """Restore BatchNorm's running statistics, and SpectralNorm's vectors, if the step inside raises NonFiniteError.

    The forward passes, which move both, come before the optimiser sees that a loss is not finite.
    """

    def arrays() -> list[Any]:
        norms = [module for module in model.modules() if isinstance(module, BatchNorm)]
        moved = [array for norm in norms for array in (norm.running_mean, norm.running_var)]
        return moved + [module.u for module in model.modules() if isinstance(module, SpectralNorm)]

    def restore(before: list[Any]) -> None:
        for array, values in zip(arrays(), before, strict=True):
            array[...] = values

    def remember() -> list[Any]:
        return [array.copy() for array in arrays()]

    with restored_on_error(remember, restore, NonFiniteError):
        yield


def at_least(config, minimum: float, *names: str) -> None:
    """UsageError if a named field of a Config is below a minimum."""
    for name in names:
        if getattr(config, name) is not None and getattr(config, name) < minimum:
            raise UsageError(f"{name} is {getattr(config, name)}; it must be at least {minimum}")


def draw_rows(draw, rows: int, size: int, device: str):
    """Random numbers (rows, size) from a stream's `draw`, the same whether rows are drawn at once or in chunks.

    A stream makes four numbers at a time, so each row is padded to a multiple of four.
    """
    padded = -(-size // 4) * 4
    return draw((rows, padded), device=device)[:, :size]


def given_labels(given, n: int, classes: int) -> np.ndarray:
    """The classes of n samples, int64 (n,): those in `given`, or 0, 1, 2, ... in turn; UsageError for unknown ones."""
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
    """The schedule of the learning rate: a linear rise over `warmup_steps`, then half a cosine down to zero.

    The fall takes `cosine_steps`; None stands for all remaining steps of the plan. If there are none, or their number
    is unknown, the learning rate stays constant after the rise.
    """
    return warmup(config.warmup_steps, Fall(config, plan))


@dataclass(frozen=True)
class Fall:
    """The part of `learning_rate` after the rise."""

    config: Any
    plan: Plan

    def __call__(self, step: int) -> float:
        steps = self.config.cosine_steps
        if steps is None:
            steps = max(0, (self.plan.steps or 0) - self.config.warmup_steps)
        return cosine(self.config.learning_rate, 0.0, steps)(step) if steps else self.config.learning_rate


@dataclass(frozen=True)
class LinearDecay:
    """The learning rate of a Config, which falls along a line to zero over its `decay_share` of the planned steps.

    That is the last part of a training. Without a number of steps in the plan the learning rate stays constant.
    """

    config: Any
    plan: Plan

    def __call__(self, step: int) -> float:
        falling = self.config.decay_share * (self.plan.steps or 0)
        left = (self.plan.steps or 0) - step
        return self.config.learning_rate * min(1.0, max(0, left) / falling if falling else 1.0)


CHUNK = 2000  # examples in one pass of an evaluation
ROWS = 250  # examples in one pass of encoding and decoding


def in_chunks(function, x, device: str, *others) -> np.ndarray:
    """Apply `function` to chunks of rows of x and to the same rows of further arrays; returns one NumPy array.

    The last chunk is padded to `ROWS` rows, so that the result of a row is bit-identical for every batch size: the last
    bit of a matrix product may depend on its number of rows.
    """
    parts = []
    for start in range(0, max(1, len(x)), ROWS):
        rows = [_padded(to_numpy(each[start : start + ROWS])) for each in (x, *others)]
        parts.append(to_numpy(function(*(to_device(each, device) for each in rows)))[: len(x) - start])
    return np.concatenate(parts)


def _padded(part: np.ndarray) -> np.ndarray:
    """An array of up to `ROWS` rows, padded with rows of zeros."""
    full = np.zeros((ROWS, *part.shape[1:]), part.dtype)
    full[: len(part)] = part
    return full


def mean_over(chunks) -> dict[str, float]:
    """The mean over all examples of each named value, from chunks of values (N,)."""
    totals: dict[str, float] = {}
    count = 0
    for values in chunks:
        for name, x in values.items():
            totals[name] = totals.get(name, 0.0) + float(x.sum(dtype=np.float64))
        count += len(x)
    return {name: total / count for name, total in totals.items()}


def average_of(network: Module, decay: float) -> EMA | None:
    """Make the average of a network's weights, None for a decay of 0; UsageError for one of 1 or more."""
    if decay >= 1:
        raise UsageError(f"averaging is {decay}; as the decay of an average it must be below 1")
    return EMA(network, GrowingDecay(decay)) if decay else None


@dataclass(frozen=True)
class GrowingDecay:
    """The decay of an average that is short at first, so that it soon forgets the random initial weights."""

    decay: float

    def __call__(self, step: int) -> float:
        return min(self.decay, (1 + step) / (10 + step))
