"""`tinygen complete RUN`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from tinygen.applications import completion, results
from tinygen.capabilities import Completes, Fills
from tinygen.commands.flags import (
    Debug,
    Device,
    File,
    Images,
    Labels,
    OptionalInt,
    Place,
    RunFolder,
    Sounds,
    Which,
    at_least_one,
    default,
)
from tinygen.commands.opening import Opened, conditions, examples, open_run, read_sounds
from tinygen.data import Dataset
from tinygen.errors import UsageError
from tinygen.train.images import is_intensities
from tinygen.train.loading import data_of
from tinygen.train.panels import completions_figure, fillings_figure, half_of, without_padding


@dataclass(frozen=True)
class Flags:
    """Let the model of a run complete images, clips, texts or sounds: originals, the kept parts, and completions."""

    run: RunFolder
    rows: Annotated[OptionalInt, default("half of them")] = None
    """How many of the upper rows of images, or of the first frames of clips, tokens of texts or samples of sounds, are
    kept."""
    mask: Annotated[File, default("none: by rows")] = None
    """A black and white picture, as large as the run's images: white where pixels are missing, which are drawn."""
    images: Images = None
    sounds: Sounds = None
    labels: Annotated[Labels, default("those of test examples, else every class")] = None
    """Classes of the completions, as for sample."""
    n: Annotated[OptionalInt, default("8, or all of a folder; 3 sounds")] = None
    """How many images, clips, texts or sounds."""
    seed: int = 0
    """Seed of the completions."""
    out: Annotated[File, default("completed-<seed>.png or .txt in the run's folder")] = None
    """File of the picture or text; sounds lie beside it, in a folder of the same name."""
    which: Which = "last"
    data: Place = None
    device: Device = "auto"
    debug: Debug = False


def run(flags: Flags) -> None:
    at_least_one(n=flags.n)
    if flags.mask and flags.rows is not None:
        raise UsageError("--mask says which pixels are known: leave --rows out")
    opened = open_run(flags.run, flags.device, flags.which, *((Fills,) if flags.mask else (Completes, Fills)))
    x, given, data = to_complete(opened, flags)
    given |= conditions(opened.model, len(x), labels=flags.labels)
    arguments: dict[str, Any] = {"seed": flags.seed, **({"given": given} if given else {})}
    continues = isinstance(opened.model, Completes) and not flags.mask
    if not continues:
        return fill(opened, flags, x, data, arguments)
    keep = half_of(x) if flags.rows is None else flags.rows
    drawn = opened.model.complete(x, keep, **arguments)
    figure = completions_figure(x, keep, [drawn], opened.model.spec.x)
    out = flags.out or opened.run.folder / f"completed-{flags.seed}{figure.suffix}"
    figure.save(out)
    print(*filter(None, [out, figure.save_sounds(out)]), sep="\n")
    return None


def fill(opened: Opened, flags: Flags, x: Any, data: Dataset | None, arguments: dict[str, Any]) -> None:
    """Draw missing pixels; those of test images are compared with trivial completions."""
    height, width, _ = opened.model.spec.x.shape
    if flags.mask:
        known = completion.read_mask(flags.mask, height, width)
    else:
        known = completion.upper_rows(height // 2 if flags.rows is None else flags.rows, height, width)
    drawn = opened.model.fill(x, np.repeat(known[None], len(x), axis=0), **arguments)
    figure = fillings_figure("", x, known, [drawn])
    out = Path(flags.out or opened.run.folder / f"completed-{flags.seed}.png")
    if data is None:
        figure.save(out)
        print(out)
        return
    decibels = completion.compared(x, drawn, known, data.train)
    for name, value in decibels.items():
        print(f"PSNR of missing pixels, {name}: {value:.2f} dB")
    results.save(figure.picture, {"hole_psnr_db": decibels, "images": len(x), "seed": flags.seed}, out)


def to_complete(opened: Opened, flags: Flags) -> tuple[Any, dict[str, Any], Dataset | None]:
    """Examples of the user's files, or of test with their conditions, as far as the model takes any, and the data."""
    field = opened.model.spec.x
    if not isinstance(opened.model, Completes) and not is_intensities(field):
        raise UsageError(f"{flags.run}: the run is of {field.in_words()}; only pixels of images can be filled in")
    if flags.sounds:
        if not field.is_sound:
            raise UsageError(f"--sounds: the run is of {field.in_words()}; leave it out")
        return read_sounds(Path(flags.sounds), field)[: flags.n], {}, None
    if flags.images:
        return examples(opened, flags.images, flags.n, flags.data)[1], {}, None
    n = flags.n or (field.completions_shown if field.is_sound else 8)
    data = data_of(opened.run, flags.data)
    batch = data.test.take(n).batch(slice(None))
    x = without_padding(batch.x, field) if field.is_sound else batch.x
    return x, {name: batch[name] for name in opened.model.conditions}, data
