"""`tinygen eval RUN`."""

import json
from dataclasses import dataclass
from typing import Annotated, Literal

from tinygen.commands.flags import Debug, Device, OptionalInt, Place, RunFolder, Switch, Which, default
from tinygen.commands.opening import open_run
from tinygen.metrics.catalogue import describe
from tinygen.train.loading import data_of
from tinygen.train.run import plain


@dataclass(frozen=True)
class Flags:
    """Evaluate the model of a run on test or validation data."""

    run: RunFolder
    split: Literal["test", "valid"] = "test"
    """Which part of the data."""
    which: Which = "last"
    data: Place = None
    seed: Annotated[OptionalInt, default("the run's own")] = None
    """Seed of the noise of estimates."""
    json: Switch = False
    """Print the metrics as one JSON object."""
    device: Device = "auto"
    debug: Debug = False


def run(flags: Flags) -> None:
    run, model, state = open_run(flags.run, flags.device, flags.which)
    dataset = data_of(run, flags.data)
    seed = run.config["fit"]["seed"] if flags.seed is None else flags.seed
    metrics = model.evaluate(getattr(dataset, flags.split), seed=seed)
    if flags.json:
        about = {"run": str(run.folder), "model": model.name, "data": dataset.spec.name, "split": flags.split}
        about |= {"which": flags.which, "step": state["step"]}
        print(json.dumps(plain({**about, "metrics": metrics}), allow_nan=False))
    else:
        for name, value in metrics.items():
            print(f"{flags.split} {describe(name).format(value)}")
