"""The one iterator of training steps, which `fit`, `verify`, judges and figures of a training use."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from tinygen import random
from tinygen.autograd import detect_anomaly
from tinygen.data import Batch
from tinygen.errors import NonFiniteError


def training_steps(
    step: Callable[[Batch], Mapping[str, Any]], batches: Iterable[Batch], device: str = "cpu"
) -> Iterator[Mapping[str, Any]]:
    """Train on one batch after another, moved to the device; yields what `step` returns, a model's named scalars.

    A step that raises NonFiniteError is repeated in anomaly mode with the same random numbers, which adds the operation
    and the source line to the error.
    """
    for batch in batches:
        batch = batch.to(device)
        before = random.get_state()
        try:
            scalars = step(batch)
        except NonFiniteError as error:
            located = _located(step, batch, before)
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
