"""`tinygen sample RUN`."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from tinygen.capabilities import Samples
from tinygen.commands.flags import Count, Debug, Device, File, Labels, Place, RunFolder, Which, at_least_one, default
from tinygen.commands.opening import open_run, refuse_incapable
from tinygen.errors import UsageError
from tinygen.train import Run, images
from tinygen.train.figures import Figure
from tinygen.train.loading import class_of, data_of


@dataclass(frozen=True)
class Flags:
    """Draw new examples from the model of a run, as a picture, or as text where that is what it models."""

    run: RunFolder
    n: Annotated[Count, default("64 images, 2500 points, or 20 texts")] = None
    """How many examples."""
    seed: int = 0
    """Decides the noise."""
    labels: Annotated[Labels, default("every class")] = None
    """Classes to draw, in turn, from a model that takes labels."""
    out: Annotated[File, default("samples-<seed>, or samples-best-<seed>, .png or .txt in the run's folder")] = None
    """File of the picture or text."""
    which: Which = "last"
    data: Place = None
    device: Device = "auto"
    debug: Debug = False


def run(flags: Flags) -> None:
    at_least_one(n=flags.n)
    system = class_of(Run.open(flags.run))
    refuse_incapable(system, Samples)
    if flags.labels is not None and "y" not in system.conditions:
        raise UsageError(f"--labels: {system.name} does not take labels; leave them out")
    if flags.data:
        data_of(Run.open(flags.run), flags.data)
    run, model, _ = open_run(flags.run, flags.device, flags.which)
    enough, columns = images.arrangement(model)
    n = enough if flags.n is None else flags.n
    name = "samples-best" if flags.which == "best" else "samples"
    given = {} if flags.labels is None else {"given": {"y": np.resize(flags.labels, n)}}
    samples = model.sample(n, seed=flags.seed, **given)
    figure = Figure.of_examples("Samples.", samples, model.spec.x, None if given else columns)
    out = flags.out or run.folder / f"{name}-{flags.seed}{figure.suffix}"
    figure.save(out)
    print(out)
