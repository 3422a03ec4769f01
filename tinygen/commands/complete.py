"""`tinygen complete RUN`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from tinygen.capabilities import Completes
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
from tinygen.errors import UsageError
from tinygen.train.loading import data_of
from tinygen.train.panels import SOUNDS_IN_A_ROW, completions_figure, half_of, without_padding


@dataclass(frozen=True)
class Flags:
    """Let the model of a run complete images, clips, texts or sounds: originals, the kept parts, and completions."""

    run: RunFolder
    rows: Annotated[OptionalInt, default("half of them")] = None
    """How many of the upper rows of images, or of the first frames of clips, tokens of texts or samples of sounds, are
    kept."""
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
    opened = open_run(flags.run, flags.device, flags.which, Completes)
    x, given = to_complete(opened, flags)
    given |= conditions(opened.model, len(x), labels=flags.labels)
    keep = half_of(x) if flags.rows is None else flags.rows
    drawn = opened.model.complete(x, keep, seed=flags.seed, **({"given": given} if given else {}))
    figure = completions_figure(x, keep, [drawn], opened.model.spec.x)
    out = flags.out or opened.run.folder / f"completed-{flags.seed}{figure.suffix}"
    figure.save(out)
    print(*filter(None, [out, figure.save_sounds(out)]), sep="\n")


def to_complete(opened: Opened, flags: Flags) -> tuple[Any, dict[str, Any]]:
    """Examples of the user's files or of test, and for the latter their conditions, as far as the model takes any."""
    field = opened.model.spec.x
    if flags.sounds:
        if not field.is_sound:
            raise UsageError(f"--sounds: the run is of {field.in_words()}; leave it out")
        return read_sounds(Path(flags.sounds), field)[: flags.n], {}
    if flags.images:
        return examples(opened, flags.images, flags.n, flags.data)[1], {}
    n = flags.n or (SOUNDS_IN_A_ROW if field.is_sound else 8)
    batch = data_of(opened.run, flags.data).test.take(n).batch(slice(None))
    x = without_padding(batch.x, field) if field.is_sound else batch.x
    return x, {name: batch[name] for name in opened.model.conditions}
