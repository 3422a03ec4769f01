"""`tinygen resume RUN`."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from tinygen import train
from tinygen.commands.flags import Debug, Device, Duration, OptionalFloat, OptionalInt, Place, RunFolder, default, parse
from tinygen.commands.train import absolute_path
from tinygen.errors import UsageError
from tinygen.registry import first_line
from tinygen.train import Run
from tinygen.train.loading import load_data, model_of, source_of


@dataclass(frozen=True)
class Words:
    """Continue a run: after an interruption, to the same weights as without it; or beyond its end."""

    run: RunFolder
    epochs: Annotated[OptionalInt, default("the run's own end")] = None
    """A new end in epochs, counted from the beginning of the run."""
    steps: Annotated[OptionalInt, default("the run's own end")] = None
    """A new end in minibatches, counted from the beginning of the run."""
    budget: Annotated[Duration, default("the run's own end")] = None
    """A new end in training time, summed over all parts of the run."""
    save_every: Annotated[OptionalInt, default("the run's own")] = None
    """Steps from one checkpoint to the next."""
    patience: Annotated[OptionalInt, default("the run's own")] = None
    """Epochs without an improvement of the model's own metric on validation after which training stops."""
    learning_rate: Annotated[OptionalFloat, default("the run's own")] = None
    """A new learning rate from here on. Where a model has several, each by its name: --discriminator-learning-rate."""
    data: Place = None
    device: Device = "auto"
    debug: Debug = False


about = first_line(Words)


def run(words: Sequence[str]) -> None:
    """Run the command. Flags of learning rates are parsed separately, since their names depend on the run's model."""
    rates, others = take_learning_rates(words)
    flags = parse(Words, others, "resume")
    if flags.learning_rate is not None:
        rates["learning_rate"] = flags.learning_rate
    resume(flags, rates)


def resume(flags: Words, rates: Mapping[str, float]) -> None:
    run = Run.open(flags.run)
    if (summary := run.summary()) and flags.epochs is flags.steps is flags.budget is flags.patience is None:
        print(f"{run.folder} is complete, at step {summary['steps']}: --epochs, --steps or --budget sets a new end")
        return
    train.resume(
        model_of(run, flags.device, rates),
        load_data(run, flags.data),
        run.folder,
        epochs=flags.epochs,
        steps=flags.steps,
        budget=flags.budget,
        save_every=flags.save_every,
        patience=flags.patience,
        learning_rates=rates,
        record={"source": source_of(run) | {"data": absolute_path(flags.data)}} if flags.data else {},
    )


def take_learning_rates(words: Sequence[str]) -> tuple[dict[str, float], list[str]]:
    """Split the words into flags --...-learning-rate X, as numbers by field, and all other words."""
    rates, others, rest = {}, [], iter(words)
    for word in rest:
        name, equals, value = word.partition("=")
        if re.fullmatch("--[a-z0-9_-]+[_-]learning[_-]rate", name):
            value = value if equals else next(rest, "")
            try:
                rates[name[2:].replace("-", "_")] = float(value)
            except ValueError:
                raise UsageError(f"{name}: {value!r} is not a number") from None
        else:
            others.append(word)
    return rates, others
