"""`tinygen complete RUN`."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from tinygen.capabilities import Completes
from tinygen.commands.flags import Count, Debug, Device, File, Images, Place, RunFolder, Which, at_least_one, default
from tinygen.commands.opening import examples, open_run
from tinygen.train import images


@dataclass(frozen=True)
class Flags:
    """Let the model of a run complete images: originals above what is kept of them above completions."""

    run: RunFolder
    rows: Annotated[Count, default("half of them")] = None
    """How many of the upper rows are kept."""
    images: Images = None
    n: Annotated[Count, default("8, or all of a folder")] = None
    """How many images."""
    seed: int = 0
    """Seed of the completions."""
    out: Annotated[File, default("completed-<seed>.png in the run's folder")] = None
    """File of the picture."""
    which: Which = "last"
    data: Place = None
    device: Device = "auto"
    debug: Debug = False


def run(flags: Flags) -> None:
    at_least_one(n=flags.n)
    opened = open_run(flags.run, flags.device, flags.which, Completes)
    _, x = examples(opened, flags.images, flags.n, flags.data)
    rows = x.shape[1] // 2 if flags.rows is None else flags.rows
    completed = opened.model.complete(x, rows, seed=flags.seed)
    kept = x.copy()
    kept[:, rows:] = 0.5
    out = flags.out or opened.run.folder / f"completed-{flags.seed}.png"
    images.save(images.sheet(np.concatenate([x, kept, completed]), len(x)), out)
    print(out)
