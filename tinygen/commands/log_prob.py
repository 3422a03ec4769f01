"""`tinygen log-prob RUN`."""

from dataclasses import dataclass
from typing import Annotated

from tinygen.capabilities import Density
from tinygen.commands.flags import Debug, Device, Images, OptionalInt, Place, RunFolder, Which, at_least_one, default
from tinygen.commands.opening import examples, open_run
from tinygen.errors import UsageError


@dataclass(frozen=True)
class Flags:
    """Print the log-probability of each image, or other example, under the model of a run, in nats.

    It is exact (=), a lower bound (>=), or an estimate (~).
    """

    run: RunFolder
    images: Images = None
    n: Annotated[OptionalInt, default("8, or all of a folder")] = None
    """How many images."""
    seed: int = 0
    """Seed of the noise of estimates."""
    importance_samples: Annotated[OptionalInt, default("the model's own")] = None
    """Number of codes drawn for each image, if it is a lower bound; more bring it closer to the log-probability."""
    which: Which = "last"
    data: Place = None
    device: Device = "auto"
    debug: Debug = False


def run(flags: Flags) -> None:
    at_least_one(n=flags.n, importance_samples=flags.importance_samples)
    opened = open_run(flags.run, flags.device, flags.which, Density)
    model, options = opened.model, {}
    if flags.importance_samples is not None:
        if not model.log_prob_is_bound:
            raise UsageError(f"--importance-samples: {model.name} gives no bound by drawn codes; leave it out")
        options["samples"] = flags.importance_samples
    names, x = examples(opened, flags.images, flags.n, flags.data)
    sign = ">=" if model.log_prob_is_bound else "~" if model.log_prob_is_estimate else "="
    for name, value in zip(names, model.log_prob(x, seed=flags.seed, **options), strict=True):
        print(f"{name}: log p {sign} {value:.2f} nats")
