"""`tinygen sample RUN`."""

from dataclasses import dataclass
from typing import Annotated

from tinygen.applications import code_samplers
from tinygen.capabilities import Codes, Samples
from tinygen.commands.flags import (
    AttributeNames,
    Captions,
    Debug,
    Device,
    File,
    Labels,
    OptionalInt,
    Place,
    RunFolder,
    Settings,
    Which,
    at_least_one,
    default,
)
from tinygen.commands.opening import conditions, open_run, sampling_settings
from tinygen.errors import UsageError
from tinygen.train import images
from tinygen.train.figures import Figure
from tinygen.train.loading import data_of

MOST_COLUMNS = 10
"""Most texts that have a column of samples each."""


@dataclass(frozen=True)
class Flags:
    """Save new examples sampled from the model of a run: pictures, which may move, texts, or sounds as .wav files."""

    run: RunFolder
    n: Annotated[OptionalInt, default("64 images, 16 clips, 2500 points, 20 texts, or 10 sounds")] = None
    """How many examples."""
    seed: int = 0
    """Seed of the noise."""
    labels: Annotated[Labels, default("every class")] = None
    """Names or numbers of the classes to sample, in turn, from a conditional model; FIELD=NAME for other fields than y,
    such as digit=7,speaker=theo."""
    attributes: Annotated[AttributeNames, default("those of training examples")] = None
    """Attributes of the samples, in turn: names that are joined by +."""
    sampling: Annotated[Settings, default("the run's own")] = None
    """How samples are drawn, where the model lets that be chosen, such as sampling_steps=20,guidance=2."""
    codes: code_samplers.Kind | None = None
    """Decode codes that are drawn from a density fitted to those of training examples: one normal distribution, a
    mixture of ten, or a masked autoregressive flow. It is fitted at the first use, and kept in the run's folder."""
    text: Annotated[Captions, default("captions of training examples")] = None
    """What the samples are to show, for a model of captions: one or more texts, with a semicolon between them, in turn;
    with a few of them each has a column."""
    out: Annotated[File, default("samples-<seed>, or samples-best-<seed>, .png or .txt in the run's folder")] = None
    """File of the picture or text; sounds lie beside it, in a folder of the same name."""
    which: Which = "last"
    data: Place = None
    device: Device = "auto"
    debug: Debug = False


def run(flags: Flags) -> None:
    at_least_one(n=flags.n)
    run, model, _ = open_run(flags.run, flags.device, flags.which, Codes if flags.codes else Samples)
    if flags.data:
        data_of(run, flags.data)
    enough, columns = images.arrangement(model)
    n = enough if flags.n is None else flags.n
    name = "-".join(filter(None, ["samples", flags.codes, "best" if flags.which == "best" else None]))
    given = conditions(model, n, labels=flags.labels, attributes=flags.attributes, text=flags.text)
    settings = sampling_settings(model, flags.sampling or ())
    if flags.codes:
        if given:
            raise UsageError(f"--codes: codes are drawn without {', '.join(given)}; leave one of the two out")
        sampler = code_samplers.sampler_of(run, model, flags.codes, flags.which, flags.data)
        samples = model.decode(sampler.sample(n, seed=flags.seed))
    else:
        with model.sampling_with(**settings):
            samples = model.sample(n, seed=flags.seed, **({"given": given} if given else {}))
    figure = Figure.of_examples("Samples.", samples, model.spec.x, _columns(flags.text) if given else columns)
    out = flags.out or run.folder / f"{name}-{flags.seed}{figure.suffix}"
    figure.save(out)
    print(*filter(None, [out, figure.save_sounds(out)]), sep="\n")


def _columns(texts: tuple[str, ...] | None) -> int | None:
    """One column for each text, where there are a few."""
    return len(texts) if texts and 1 < len(texts) <= MOST_COLUMNS else None
