"""The one iterator of training steps, which `fit`, `verify`, judges and figures of a training use."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from typing import Any

from tinygen import random
from tinygen.autograd import detect_anomaly
from tinygen.backend import is_array
from tinygen.data import Batch
from tinygen.errors import NonFiniteError
from tinygen.replay import CapturedUpdate, capture
from tinygen.tensor import Tensor

Step = Callable[[Batch], Mapping[str, Any]]


class CapturedSteps:
    """The training step of a system, captured (`tinygen.capture`) once for each kind of step and shape of a batch.

    It returns the same bits as `training_step`. What cannot be captured is trained by `training_step` itself.
    """

    def __init__(self, system: Any):
        self.system = system
        self.updates: dict[Hashable, CapturedUpdate] = {}

    def __call__(self, batch: Batch) -> Mapping[str, Any]:
        kind, names = self.system.step_kind(), tuple(batch)
        arrays = [batch[name] for name in names]
        if kind is None or not all(map(is_array, arrays)):
            return self.system.training_step(batch)
        key = kind, *((name, array.shape, array.dtype) for name, array in zip(names, arrays, strict=True))
        if key not in self.updates:
            self.updates[key] = capture(
                lambda *arrays: self.system.training_step(Batch(dict(zip(names, arrays, strict=True))))
            )
        scalars = self.updates[key](*arrays)
        return {name: value.data.copy() if isinstance(value, Tensor) else value for name, value in scalars.items()}


def training_steps(
    step: Step, batches: Iterable[Batch], device: str = "cpu", *, repeated: Step | None = None
) -> Iterator[Mapping[str, Any]]:
    """Train on one batch after another, moved to the device; yields what `step` returns, a model's named scalars.

    A step that raises NonFiniteError is repeated in anomaly mode with the same random numbers, by `repeated` if that is
    given, which adds the operation and the source line to the error.
    """
    for batch in batches:
        batch = batch.to(device)
        before = random.get_state()
        try:
            scalars = step(batch)
        except NonFiniteError as error:
            located = _located(repeated or step, batch, before)
            raise NonFiniteError(f"{error}; {located}" if located else str(error)) from error
        yield scalars


def _located(step: Callable[[Batch], Any], batch: Batch, streams: Mapping[str, Any]) -> NonFiniteError | None:
    """The error that the step raises in anomaly mode, from these states of the random streams."""
    random.set_state(streams)
    try:
        with detect_anomaly():
            step(batch)
    except NonFiniteError as error:
        return error
    return None
