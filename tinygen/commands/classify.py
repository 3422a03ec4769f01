"""`tinygen classify RUN`."""

from dataclasses import dataclass
from typing import Annotated

from tinygen.capabilities import Classifies
from tinygen.commands.flags import Count, Debug, Device, Images, Place, RunFolder, Which, at_least_one, default
from tinygen.commands.opening import examples, open_run


@dataclass(frozen=True)
class Flags:
    """Print the most probable class of each image under the model of a run, and its probability."""

    run: RunFolder
    images: Images = None
    n: Annotated[Count, default("8, or all of a folder")] = None
    """How many images."""
    which: Which = "last"
    data: Place = None
    device: Device = "auto"
    debug: Debug = False


def run(flags: Flags) -> None:
    at_least_one(n=flags.n)
    opened = open_run(flags.run, flags.device, flags.which, Classifies)
    names, x = examples(opened, flags.images, flags.n, flags.data)
    for name, probabilities in zip(names, opened.model.classify(x), strict=True):
        best = int(probabilities.argmax())
        print(f"{name}: {opened.model.spec.y.draw(best)} ({probabilities[best]:.1%})")
