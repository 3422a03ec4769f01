"""`tinygen train MODEL`: its flags are those of every training and the fields of the model's Config."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from tinygen import backend, data, models, random, registry
from tinygen.commands.flags import Debug, Device, Duration, File, OptionalInt, Switch, default, parse
from tinygen.errors import UsageError
from tinygen.train import fit

about = "Train a model: tinygen train MODEL, or your own class: tinygen train FILE.py:CLASS."


LOADING_FLAGS = ("size", "augment", "vocabulary", "length")
"""Flags that `tinygen.data.load` takes under the same name, if they are given."""


@dataclass(frozen=True)
class TrainingFlags:
    data: str = "fashion-mnist-7k"
    """What to train on: a name (`tinygen data` lists them), a file or a folder."""
    fields: Annotated[tuple[str, ...], tyro.conf.arg(metavar="FIELD=KEY"), default("by the names in the file")] = ()
    """Which array or column of a file is which field, such as x=photo target=label, or x=idx20:indexed."""
    size: Annotated[str | None, tyro.conf.arg(metavar="N|WxH"), default("as they are")] = None
    """Width and height (one number if equal) to which the pictures of a folder are resized and cropped."""
    augment: Annotated[Literal["flip", "symmetries"] | None, default("none")] = None
    """Augment training pictures: flip mirrors each at random; symmetries also turns them, permutes their colours and
    inverts them, for tasks that are the same in all of these."""
    skip_broken: Switch = False
    """Leave out picture files that cannot be read."""
    vocabulary: Annotated[OptionalInt, default("all")] = None
    """Number of different words (or characters) of texts that are kept, the most frequent ones; others become <unk>."""
    length: Annotated[OptionalInt, default("that of the longest")] = None
    """Number of words (or characters) to which longer texts are cut."""
    binarise: Annotated[
        Literal["dynamic", "threshold"] | None,
        default("dynamic, for a model that takes no grey images"),
    ] = None
    """Binarise grey images: dynamic draws each pixel anew in every batch, with its grey value as the probability of 1;
    threshold sets values of at least 1/2 to 1."""
    epochs: Annotated[OptionalInt, default("10, unless steps or budget is given")] = None
    """Passes over the training set."""
    steps: Annotated[OptionalInt, default("none")] = None
    """Minibatches to train on, instead of epochs."""
    budget: Annotated[Duration, default("none")] = None
    """How long to train, such as 30s, 2m or 1h30m, instead of epochs."""
    seed: int = 0
    """Seed of all randomness: initial weights, order of examples, noise."""
    out: Annotated[File, default("runs/<model>-<n>, the next free number")] = None
    """Folder of the run: checkpoint, log, samples and report."""
    save_every: Annotated[OptionalInt, default("every 30 seconds")] = None
    """Steps from one checkpoint to the next."""
    patience: Annotated[OptionalInt, default("none")] = None
    """Epochs without an improvement of the model's own metric on validation after which training stops."""
    capture: Switch = False
    """Replay recorded steps instead of running Python in each: the same result to the bit, small steps several times
    as fast. Models that cannot be captured train as usual."""
    overwrite: Switch = False
    """Replace the run that --out holds."""
    device: Device = "auto"
    debug: Debug = False

    def options(self) -> dict[str, Any]:
        """The arguments of `tinygen.data.load` besides the name."""
        options: dict[str, Any] = {"skip_broken": self.skip_broken}
        if self.fields:
            pairs = [each.partition("=") for each in self.fields]
            if bad := next((each for each, (_, equals, _) in zip(self.fields, pairs, strict=True) if not equals), None):
                raise UsageError(f"--fields: {bad!r} is not of the form FIELD=KEY, such as x=photo")
            options["fields"] = {field: key for field, _, key in pairs}
        return options | {name: value for name in LOADING_FLAGS if (value := getattr(self, name)) is not None}


def run(words: Sequence[str]) -> None:
    if words and words[0] in ("-h", "--help"):
        print(usage())
        return
    words = _model_first(words)
    if not words or words[0].startswith("-"):
        hint = f"tinygen train {{{','.join(models.names())}}} ..., or FILE.py:CLASS for your own"
        raise UsageError(f"name the model first, then its flags: {hint}")
    train(words[0], words[1:])


def usage() -> str:
    """The help of the command, with a list of the models."""
    lines = ["usage: tinygen train MODEL [FLAGS]", "       tinygen train FILE.py:CLASS [FLAGS]"]
    for family, places in registry.FAMILIES.items():
        lines += ["", f"{family}:", *(f"  {name:<16}{registry.first_line(models.get(name))}" for name in places)]
    lines += ["", "tinygen train MODEL --help lists the flags of a model."]
    lines += ["A run of your own class names its file: every command that opens the run executes that file."]
    return "\n".join(lines)


def train(name: str, words: Sequence[str]) -> None:
    """Train the named model with the flags in the words."""
    system = models.get(name)

    @dataclass(frozen=True)
    class Flags:
        training: TrainingFlags
        """The data, how long to train, and where to keep the result."""
        model: system.Config  # type: ignore[name-defined, valid-type]
        """The network, and how it learns."""

    suited = f"--data {system.trials[0].data} " if system.trials else ""
    example = f"Example: tinygen train {name} {suited}--epochs 5 --out runs/first"
    parsed = parse(
        tyro.conf.OmitArgPrefixes[Flags], words, f"train {name}", f"{registry.first_line(system)}\n\n{example}"
    )
    flags, config = parsed.training, parsed.model
    device = backend.select_device(flags.device)
    options = flags.options()
    dataset = data.load(flags.data, **options)
    dataset = models.check_data(system, dataset.binarised(flags.binarise) if flags.binarise else dataset, config)
    random.seed(flags.seed)
    fit(
        system(config, dataset.spec, device),
        dataset,
        epochs=flags.epochs,
        steps=flags.steps,
        budget=flags.budget,
        out=flags.out or f"runs/{system.name}-{{n}}",
        seed=flags.seed,
        save_every=flags.save_every,
        patience=flags.patience,
        capture=flags.capture,
        overwrite=flags.overwrite,
        record={
            "command": shlex.join(["tinygen", "train", name, *words]),
            "source": {"data": absolute_path(flags.data), **options},
        },
    )


def absolute_path(name_or_path: str) -> str:
    """A path made absolute, so that it is valid in another working directory; a name stays as it is."""
    path = Path(name_or_path)
    is_bare = len(path.parts) == 1 and not path.suffix
    if not path.exists() or (is_bare and name_or_path.replace("_", "-") in dict(data.names())):
        return name_or_path
    return str(path.resolve())


def _model_first(words: Sequence[str]) -> list[str]:
    """The words with the value of --model, which names the model too, moved to the front."""
    for i, word in enumerate(words):
        if word == "--model":
            if i + 1 == len(words):
                raise UsageError("--model: name your class after it, as FILE.py:CLASS")
            return [words[i + 1], *words[:i], *words[i + 2 :]]
        if word.startswith("--model="):
            return [word.partition("=")[2], *words[:i], *words[i + 1 :]]
    return list(words)
