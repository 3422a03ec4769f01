"""`tinygen sample RUN`."""

from dataclasses import dataclass
from typing import Annotated

from tinygen.capabilities import Samples
from tinygen.commands.flags import Count, Debug, Device, File, Labels, Place, RunFolder, Which, at_least_one, default
from tinygen.commands.opening import conditions, open_run
from tinygen.train import images
from tinygen.train.loading import data_of


@dataclass(frozen=True)
class Flags:
    """Save a picture of new examples sampled from the model of a run."""

    run: RunFolder
    n: Annotated[Count, default("64 images, or 2500 points")] = None
    """How many examples."""
    seed: int = 0
    """Seed of the noise."""
    labels: Annotated[Labels, default("every class")] = None
    """Names or numbers of the classes to sample, in turn, from a conditional model."""
    out: Annotated[File, default("samples-<seed>.png, or samples-best-<seed>.png, in the run's folder")] = None
    """File of the picture."""
    which: Which = "last"
    data: Place = None
    device: Device = "auto"
    debug: Debug = False


def run(flags: Flags) -> None:
    at_least_one(n=flags.n)
    run, model, _ = open_run(flags.run, flags.device, flags.which, Samples)
    if flags.data:
        data_of(run, flags.data)
    enough, columns = images.arrangement(model)
    n = enough if flags.n is None else flags.n
    name = "samples-best" if flags.which == "best" else "samples"
    out = flags.out or run.folder / f"{name}-{flags.seed}.png"
    given = conditions(model, n, labels=flags.labels)
    samples = model.sample(n, seed=flags.seed, **({"given": given} if given else {}))
    images.save(images.picture(samples, model.spec.x, None if given else columns), out)
    print(out)
