"""`tinygen rank RUN`."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from tinygen.capabilities import Ranks
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
from tinygen.commands.opening import labelled_examples, open_run
from tinygen.train import images
from tinygen.train.loading import data_of

BEST = 9


@dataclass(frozen=True)
class Flags:
    """Show each image followed by the training images that the model of a run ranks as most similar.

    Of test images with labels it prints how many of these have the class of theirs.
    """

    run: RunFolder
    images: Images = None
    n: Annotated[OptionalInt, default("8, or all of a folder")] = None
    """How many images."""
    out: Annotated[File, default("ranked.png in the run's folder")] = None
    """File of the picture."""
    which: Which = "last"
    data: Place = None
    device: Device = "auto"
    debug: Debug = False


def run(flags: Flags) -> None:
    at_least_one(n=flags.n)
    opened = open_run(flags.run, flags.device, flags.which, Ranks)
    _, x, true = labelled_examples(opened, flags.images, flags.n, flags.data)
    train = data_of(opened.run, flags.data).train
    items = train.values("x")
    best = opened.model.rank(x, items)[:, :BEST]
    if true is not None:
        share = (train.values("y")[best] == true[:, None]).mean()
        print(f"{share:.1%} of the most similar have the class of their image")
    rows = np.concatenate([x[:, None], items[best]], axis=1)
    out = flags.out or opened.run.folder / "ranked.png"
    tiles = images.tiles(rows.reshape(-1, *x.shape[1:]), opened.model.spec.x)
    images.save(images.sheet(tiles, rows.shape[1]), out)
    print(out)
