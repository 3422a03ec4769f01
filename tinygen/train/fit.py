"""The two ways to train: start a run, or continue one."""

import contextlib
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tinygen.data import Dataset
from tinygen.errors import UsageError
from tinygen.metrics.catalogue import describe
from tinygen.train.changes import record_changes
from tinygen.train.description import checked_record, refuse_changed_data
from tinygen.train.length import Length
from tinygen.train.run import Run
from tinygen.train.settings import Settings
from tinygen.train.training import Training

DEFAULT_LENGTH = Length(epochs=10)


def fit(
    model: Any,
    data: Dataset,
    *,
    epochs: int | None = None,
    steps: int | None = None,
    budget: float | str | None = None,
    out: str | Path | None = None,
    seed: int = 0,
    save_every: int | None = None,
    patience: int | None = None,
    capture: bool = False,
    overwrite: bool = False,
    record: Mapping[str, Any] | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """Train a model of `tinygen.models`; returns the summary: steps, seconds, metrics on valid and test, findings.

    One of `epochs`, `steps` (minibatches) and `budget` (seconds, or a time such as "2m") says how long; by default 10
    epochs. Valid is evaluated after every epoch, test once at the end. After `patience` epochs without a better value
    of the model's `selection_metric` on valid training stops early. A learning rate that falls over the whole run does
    so over its planned steps; with a budget their number is unknown, and the learning rate is constant. With `capture`
    steps are replayed without Python in between (`tinygen.capture`), to the same bits, where the model's can be.

    With `out`, a folder (the next free number stands for ``{n}`` in its name), the run is recorded: configuration (with
    `record` added), log, checkpoint, best state, samples, summary, report. Common faults (`tinygen.train.doctor`)
    are reported on stderr, with a remedy, at the evaluation that shows them. The checkpoint is saved every `save_every`
    steps, by default every 30 seconds, and at the beginning and the end.

    Raises UsageError, DataError or RunError before anything is changed; NonFiniteError, naming step, operation and
    line, where training diverges, and the last checkpoint then stays. The first Ctrl-C finishes the step, saves, and
    raises `Interrupted`; a second one aborts.
    """
    settings = Settings(Length.of(epochs, steps, budget) or DEFAULT_LENGTH, seed, save_every, patience, capture)
    training = Training(model, data, settings, quiet=quiet)
    if out is None:
        return training.train_to_end()
    with contextlib.closing(Run.create(out, training.describe(record or {}), overwrite=overwrite)) as training.run:
        try:
            return training.train_to_end()
        except (Exception, KeyboardInterrupt):
            if training.saved_step is None:
                training.run.discard()
            raise


def resume(
    model: Any,
    data: Dataset,
    folder: str | Path,
    *,
    epochs: int | None = None,
    steps: int | None = None,
    budget: float | str | None = None,
    save_every: int | None = None,
    patience: int | None = None,
    learning_rates: Mapping[str, float] | None = None,
    record: Mapping[str, Any] | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """Continue the run in `folder` to its planned end, or to a new one; model and data must be made as for that run.

    `learning_rates` are fields of the model's Config whose values differ from the run's. These values, a new length or
    patience, and what `record` replaces in sections of `config.json` are recorded there as changes, with the step
    from which they apply. A learning rate that falls over the whole run follows a new length from here on.

    Without changes, and on the same machine, every tensor ends as it would have without the interruption, to the last
    bit; a warning names what could alter that (versions, processor). Raises RunError, CheckpointError or DataError,
    before anything is changed, where the folder, its checkpoint or the data are not what they were.
    """
    more = checked_record(record or {})
    if flat := [name for name, values in more.items() if not isinstance(values, Mapping)]:
        raise UsageError(f"record: {flat[0]!r} is {more[flat[0]]!r}; on resuming give a dict of what it replaces")
    with contextlib.closing(Run.resume(folder)) as run:
        refuse_changed_data(run, data)
        recorded = Settings.from_dict(run.config["fit"])
        length = Length.of(epochs, steps, budget)
        requested: dict[str, Any] = {"length": length, "save_every": save_every, "patience": patience}
        changes = {key: value for key, value in requested.items() if value is not None}
        settings = dataclasses.replace(recorded, **changes)
        training = Training(model, data, settings, quiet=quiet)
        training.restore(run, learning_rates)
        if length and training.is_at_its_end():
            raise UsageError(f"{folder} is at step {training.step} already: ask for more than that")
        if (length or patience) and training.is_out_of_patience():
            raise UsageError(
                f"{folder} stopped early, at step {training.step}, after {settings.patience} epochs without a better "
                f"{describe(training.best.metric or '').label}: ask for more patience than that"
            )
        training.remark_on_new_length(recorded.length)
        kept = dataclasses.replace(settings, save_every=recorded.save_every).as_dict()
        record_changes(run, training.step, {"config": learning_rates or {}, "fit": kept, **more})
        run.save_config()
        run.rewind(training.step)
        run.discard_results()
        return training.train_to_end()
