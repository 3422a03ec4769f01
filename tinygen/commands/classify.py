"""`tinygen classify RUN`."""

from dataclasses import dataclass
from typing import Annotated

from tinygen.capabilities import Classifies
from tinygen.commands.flags import Debug, Device, Images, OptionalInt, Place, RunFolder, Which, at_least_one, default
from tinygen.commands.opening import labelled_examples, open_run


@dataclass(frozen=True)
class Flags:
    """Print the most probable class of each image under the model of a run, and its probability.

    Of test images also the true class, and how many predictions are right.
    """

    run: RunFolder
    images: Images = None
    n: Annotated[OptionalInt, default("8, or all of a folder")] = None
    """How many images."""
    which: Which = "last"
    data: Place = None
    device: Device = "auto"
    debug: Debug = False


def run(flags: Flags) -> None:
    at_least_one(n=flags.n)
    opened = open_run(flags.run, flags.device, flags.which, Classifies)
    names, x, true = labelled_examples(opened, flags.images, flags.n, flags.data)
    draw, probabilities = opened.model.spec.y.draw, opened.model.classify(x)
    best = probabilities.argmax(axis=1)
    for i, name in enumerate(names):
        wrong = "" if true is None or true[i] == best[i] else f", in truth {draw(true[i])}"
        print(f"{name}: {draw(best[i])} ({probabilities[i, best[i]]:.1%}){wrong}")
    if true is not None:
        print(f"{(true == best).sum()} of {len(true)} are right")
