"""`tinygen log-prob RUN`."""

from dataclasses import dataclass
from typing import Annotated

from tinygen.capabilities import Density
from tinygen.commands.flags import Count, Debug, Device, Images, Place, RunFolder, Which, at_least_one, default
from tinygen.commands.opening import examples, open_run


@dataclass(frozen=True)
class Flags:
    """Print the log-probability of each image under the model of a run, in nats: exact, or a lower bound."""

    run: RunFolder
    images: Images = None
    n: Annotated[Count, default("8, or all of a folder")] = None
    """How many images."""
    seed: int = 0
    """Seed of the noise of estimates."""
    which: Which = "last"
    data: Place = None
    device: Device = "auto"
    debug: Debug = False


def run(flags: Flags) -> None:
    at_least_one(n=flags.n)
    opened = open_run(flags.run, flags.device, flags.which, Density)
    names, x = examples(opened, flags.images, flags.n, flags.data)
    sign = ">=" if opened.model.log_prob_is_bound else "="
    for name, value in zip(names, opened.model.log_prob(x, seed=flags.seed), strict=True):
        print(f"{name}: log p {sign} {value:.2f} nats")
