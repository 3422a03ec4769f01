"""The best state of a run so far, by the metric that its model names, beside the last one."""

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
    """The validation that had the best value of `metric`; an equal value later is not better.

    On disk it always goes with the last checkpoint, whenever training is killed: a new best is written under another
    name (`stage`), the checkpoint that knows of it is written, and only then it takes its place (`publish`).
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
        """As a checkpoint has it, and `restore` takes it; None before the first validation."""
        return None if self.step is None else {"metric": self.metric, "step": self.step, "value": self.value}

    def examine(self, step: int, metrics: Mapping[str, float]) -> bool:
        """Whether the metrics of a validation are the best so far, which is then remembered.

        UsageError where the metric is not among them.
        """
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
        """Copy the state that `examine` found to be the best, until it is saved."""
        self._unsaved = {name: np.array(to_numpy(array)) for name, array in tensors.items()}, meta

    def stage(self, run: Run) -> None:
        """Write what was kept beside the best of before; NonFiniteError where a value is not finite."""
        if self._unsaved:
            save(run.staged_best_file, *self._unsaved)

    def publish(self, run: Run) -> None:
        """Put what was staged in the place of the best of before."""
        if self._unsaved:
            os.replace(run.staged_best_file, run.best_file)
            self._unsaved = None

    def restore(self, run: Run, record: Mapping[str, Any] | None) -> None:
        """Stand where a checkpoint was saved that says this; a best that was staged for it takes its place."""
        if record and record["metric"] == self.metric:
            self.step, self.value = record["step"], record["value"]
        staged = None
        with contextlib.suppress(CheckpointError):
            staged = load(run.staged_best_file)[1]["step"]
        if record and staged == record["step"]:
            os.replace(run.staged_best_file, run.best_file)
        else:
            run.staged_best_file.unlink(missing_ok=True)
