"""`tinygen complete RUN`."""

from dataclasses import dataclass
from typing import Annotated

from tinygen.capabilities import Completes
from tinygen.commands.flags import (
    Debug,
    Device,
    File,
    Images,
    OptionalInt,
    Place,
    RunFolder,
    Which,
    at_least_one,
    default,
)
from tinygen.commands.opening import examples, open_run
from tinygen.train.panels import completions_figure, half_of


@dataclass(frozen=True)
class Flags:
    """Let the model of a run complete images, clips or texts: originals, the kept parts, and completions."""

    run: RunFolder
    rows: Annotated[OptionalInt, default("half of them")] = None
    """How many of the upper rows of images, or of the first frames of clips or tokens of texts, are kept."""
    images: Images = None
    n: Annotated[OptionalInt, default("8, or all of a folder")] = None
    """How many images, clips or texts."""
    seed: int = 0
    """Seed of the completions."""
    out: Annotated[File, default("completed-<seed>.png or .txt in the run's folder")] = None
    """File of the picture or text."""
    which: Which = "last"
    data: Place = None
    device: Device = "auto"
    debug: Debug = False


def run(flags: Flags) -> None:
    at_least_one(n=flags.n)
    opened = open_run(flags.run, flags.device, flags.which, Completes)
    _, x = examples(opened, flags.images, flags.n, flags.data)
    keep = half_of(x) if flags.rows is None else flags.rows
    drawn = opened.model.complete(x, keep, seed=flags.seed)
    figure = completions_figure(x, keep, [drawn], opened.model.spec.x)
    out = flags.out or opened.run.folder / f"completed-{flags.seed}{figure.suffix}"
    figure.save(out)
    print(out)
