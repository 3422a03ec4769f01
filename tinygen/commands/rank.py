"""`tinygen rank RUN`."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np

from tinygen.capabilities import Ranks
from tinygen.commands.flags import Count, Debug, Device, File, Images, Place, RunFolder, Which, at_least_one, default
from tinygen.commands.opening import examples, open_run
from tinygen.train import images
from tinygen.train.loading import data_of

BEST = 9


@dataclass(frozen=True)
class Flags:
    """Show each image followed by the training images that the model of a run ranks as most similar."""

    run: RunFolder
    images: Images = None
    n: Annotated[Count, default("8, or all of a folder")] = None
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
    _, x = examples(opened, flags.images, flags.n, flags.data)
    items = data_of(opened.run, flags.data).train.values("x")
    best = opened.model.rank(x, items)[:, :BEST]
    rows = np.concatenate([x[:, None], items[best]], axis=1)
    out = flags.out or opened.run.folder / "ranked.png"
    images.save(images.sheet(rows.reshape(-1, *x.shape[1:]), rows.shape[1]), out)
    print(out)
