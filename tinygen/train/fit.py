"""The two ways into training: a new run, and one that goes on."""

import contextlib
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tinygen.data import Dataset
from tinygen.errors import UsageError
from tinygen.train.length import Length
from tinygen.train.run import Run
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
    overwrite: bool = False,
    record: Mapping[str, Any] | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """Train a model of `tinygen.models`; returns the summary: steps, seconds, metrics on valid and test, findings.

    One of `epochs`, `steps` (minibatches) and `budget` (seconds, or a time such as "2m") says how long; by default 10
    epochs. Valid is evaluated after every epoch, test once at the end. With `out`, a folder (the next free number
    stands for ``{n}`` in its name), the run is recorded: configuration (with `record` added), log, checkpoint,
    samples, summary, report. What commonly goes wrong (`tinygen.train.doctor`) is told on stderr, with the
    remedy, at the evaluation that shows it. The checkpoint is saved every `save_every` steps, by default every 30
    seconds, and at both ends.

    Raises UsageError, DataError or RunError before anything is changed; NonFiniteError, naming step, operation and
    line, where training diverges, and the last checkpoint then stays. The first Ctrl-C finishes the step, saves, and
    raises `Interrupted`; a second one aborts.
    """
    length = Length.of(epochs, steps, budget) or DEFAULT_LENGTH
    training = Training(model, data, length=length, seed=seed, save_every=save_every, quiet=quiet)
    if out is None:
        return training.to_the_end()
    with contextlib.closing(Run.create(out, training.describe(record or {}), overwrite=overwrite)) as training.run:
        return training.to_the_end()


def resume(
    model: Any,
    data: Dataset,
    folder: str | Path,
    *,
    epochs: int | None = None,
    steps: int | None = None,
    budget: float | str | None = None,
    save_every: int | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """Continue the run in `folder`, with a model and data made as for it, to the end it was given, or to a new one.

    On the same machine every tensor ends as it would have without the interruption, to the last bit; a change that
    could alter that (versions, processor) is warned of. Raises RunError, CheckpointError or DataError, before anything
    is changed, where the folder, its checkpoint or the data are not what they were.
    """
    with contextlib.closing(Run.resume(folder)) as run:
        new_length = Length.of(epochs, steps, budget)
        settings = run.config["fit"]
        training = Training(
            model,
            data,
            length=new_length or Length(**settings["length"]),
            seed=settings["seed"],
            save_every=save_every or settings["save_every"],
            quiet=quiet,
        )
        training.restore(run)
        if new_length:
            if new_length.is_over(training.step, training.seconds, training.per_epoch):
                raise UsageError(f"{folder} is at step {training.step} already: ask for more than that")
            settings["length"] = dataclasses.asdict(new_length)
            run.save_config()
        run.rewind(training.step)
        run.discard_results()
        return training.to_the_end()
