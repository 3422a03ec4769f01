"""`tinygen translate RUN`."""

from dataclasses import dataclass
from typing import Annotated

from tinygen.capabilities import Translates
from tinygen.commands.flags import Count, Debug, Device, File, Images, Place, RunFolder, Which, at_least_one, default
from tinygen.commands.opening import examples, open_run
from tinygen.train import images
from tinygen.train.panels import above_one_another


@dataclass(frozen=True)
class Flags:
    """Let the model of a run translate images into another domain: inputs above translations."""

    run: RunFolder
    images: Images = None
    n: Annotated[Count, default("8, or all of a folder")] = None
    """How many images."""
    seed: int = 0
    """Seed of the translations."""
    out: Annotated[File, default("translated-<seed>.png in the run's folder")] = None
    """File of the picture."""
    which: Which = "last"
    data: Place = None
    device: Device = "auto"
    debug: Debug = False


def run(flags: Flags) -> None:
    at_least_one(n=flags.n)
    opened = open_run(flags.run, flags.device, flags.which, Translates)
    spec = opened.model.spec
    _, x = examples(opened, flags.images, flags.n, flags.data)
    translated = opened.model.translate(x, seed=flags.seed)
    tiles = above_one_another(images.tiles(x, spec.x), images.tiles(translated, spec.fields.get("target", spec.x)))
    out = flags.out or opened.run.folder / f"translated-{flags.seed}.png"
    images.save(images.sheet(tiles, len(x)), out)
    print(out)
