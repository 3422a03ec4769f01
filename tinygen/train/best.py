"""The best state of a run so far, by the model's `selection_metric`."""

import contextlib
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from tinygen.backend import to_numpy
from tinygen.errors import CheckpointError, UsageError
from tinygen.metrics.catalogue import describe
from tinygen.serialization import load, save
from tinygen.train.run import Run


class Best:
    """The best validation so far by `metric`, and its state; a later equal value is not better.

    Its file always agrees with the checkpoint, even if training is killed in between: a new best state is written under
    another name (`stage`), then the checkpoint is written, and only then the file is renamed (`publish`).
    """

    def __init__(self, metric: str | None):
        self.metric = metric
        self.step: int | None = None
        self.value: float | None = None
        self._unsaved: tuple[dict[str, np.ndarray], Mapping[str, Any]] | None = None

    @property
    def is_unsaved(self) -> bool:
        """Whether `keep` was called since the last `publish`."""
        return self._unsaved is not None

    def as_dict(self) -> dict[str, Any] | None:
        """The record that a checkpoint holds and `restore` takes; None before the first validation."""
        return None if self.step is None else {"metric": self.metric, "step": self.step, "value": self.value}

    def examine(self, step: int, metrics: Mapping[str, float]) -> bool:
        """Remember a validation if it is the best so far; returns whether it is. UsageError if it lacks the metric."""
        if self.metric is None:
            return False
        if self.metric not in metrics:
            raise UsageError(f"the selection metric {self.metric!r} is not among those on valid: {', '.join(metrics)}")
        value, better = metrics[self.metric], describe(self.metric).is_better
        if not np.isfinite(value) or (self.value is not None and not better(value, self.value)):
            return False
        self.step, self.value = step, value
        return True

    def keep(self, tensors: Mapping[str, Any], meta: Mapping[str, Any]) -> None:
        """Copy the state that `examine` found to be the best, to be saved later."""
        self._unsaved = {name: np.array(to_numpy(array)) for name, array in tensors.items()}, meta

    def stage(self, run: Run) -> None:
        """Write the state that `keep` copied beside the previous best; NonFiniteError if a value is not finite."""
        if self._unsaved:
            save(run.staged_best_file, *self._unsaved)

    def publish(self, run: Run) -> None:
        """Replace the previous best by the staged state."""
        if self._unsaved:
            os.replace(run.staged_best_file, run.best_file)
            self._unsaved = None

    def restore(self, run: Run, record: Mapping[str, Any] | None) -> None:
        """Continue from the record in a checkpoint: publish a best state that was staged with it, delete any other."""
        if record and record["metric"] == self.metric:
            self.step, self.value = record["step"], record["value"]
        staged = None
        with contextlib.suppress(CheckpointError):
            staged = load(run.staged_best_file)[1].get("step")
        if record and staged == record["step"]:
            os.replace(run.staged_best_file, run.best_file)
        else:
            run.staged_best_file.unlink(missing_ok=True)
