"""`tinygen resume RUN`."""

from dataclasses import dataclass
from typing import Annotated

from tinygen import train
from tinygen.commands.flags import Count, Debug, Device, Duration, RunFolder, default
from tinygen.train import Run
from tinygen.train.loading import data_of, model_of


@dataclass(frozen=True)
class Flags:
    """Continue an interrupted run, to the same weights that it would have had without the interruption."""

    run: RunFolder
    epochs: Annotated[Count, default("the run's own end")] = None
    """A new end, counted from the beginning of the run."""
    steps: Annotated[Count, default("the run's own end")] = None
    """A new end in minibatches."""
    budget: Annotated[Duration, default("the run's own end")] = None
    """A new end in time, over all parts of the run."""
    save_every: Annotated[Count, default("the run's own")] = None
    """Steps from one checkpoint to the next."""
    device: Device = "auto"
    debug: Debug = False


def run(flags: Flags) -> None:
    run = Run.open(flags.run)
    if (summary := run.summary()) and flags.epochs is flags.steps is flags.budget is None:
        print(f"{run.folder} is complete, at step {summary['steps']}: --epochs, --steps or --budget sets a new end")
        return
    train.resume(
        model_of(run, flags.device),
        data_of(run),
        run.folder,
        epochs=flags.epochs,
        steps=flags.steps,
        budget=flags.budget,
        save_every=flags.save_every,
    )
