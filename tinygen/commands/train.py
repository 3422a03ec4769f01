"""`tinygen train MODEL`: its flags are those of every training and the fields of the model's Config."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from tinygen import backend, data, models, random, registry
from tinygen.commands import first_line
from tinygen.commands.flags import Count, Debug, Device, Duration, File, Switch, default, parse, written
from tinygen.errors import UsageError
from tinygen.train import fit

about = "Train a model: tinygen train MODEL, or your own class: tinygen train FILE.py:CLASS."


@dataclass(frozen=True)
class TrainingFlags:
    data: str = "fashion-mnist-7k"
    """What to learn from: a name (`tinygen data` lists them), a file or a folder."""
    fields: Annotated[tuple[str, ...], tyro.conf.arg(metavar="FIELD=KEY"), default("by the names in the file")] = ()
    """Which part of a file is which field, such as x=photo target=label, or x=idx20:indexed."""
    size: Annotated[str | None, written("N|WxH", str), default("as they are")] = None
    """Side, or width and height, to which the pictures of a folder are brought."""
    augment: Annotated[Literal["flip"] | None, default("nothing")] = None
    """Show training pictures mirrored, too: flip."""
    skip_broken: Switch = False
    """Leave out picture files that cannot be read."""
    binarise: Annotated[
        Literal["dynamic", "threshold"] | None, default("dynamic, for a model that takes no grey images")
    ] = None
    """Make grey images black and white: a pixel is 1 with the probability that its grey gives, or from one half up."""
    epochs: Annotated[Count, default("10, where neither steps nor budget is given")] = None
    """How often training goes through the whole training set."""
    steps: Annotated[Count, default("none")] = None
    """How many minibatches to train on, instead of epochs."""
    budget: Annotated[Duration, default("none")] = None
    """How long to train, such as 30s, 2m or 1h30m, instead of epochs."""
    seed: int = 0
    """Number that decides all that is random: the first weights, the order of examples, all noise."""
    out: Annotated[File, default("runs/<model>-<n>, the next free number")] = None
    """Folder for what is learned and measured: the run."""
    save_every: Annotated[Count, default("every 30 seconds")] = None
    """Steps from one saved state to the next."""
    patience: Annotated[Count, default("none")] = None
    """How many epochs without a better validation, by the model's own metric, before training stops."""
    overwrite: Switch = False
    """Replace the run that --out holds."""
    device: Device = "auto"
    debug: Debug = False

    def options(self) -> dict[str, Any]:
        """What `tinygen.data.load` is told besides the name."""
        found: dict[str, Any] = {"skip_broken": self.skip_broken}
        if self.fields:
            pairs = [each.partition("=") for each in self.fields]
            if bad := next((each for each, (_, equals, _) in zip(self.fields, pairs, strict=True) if not equals), None):
                raise UsageError(f"--fields: {bad!r} is not of the form FIELD=KEY, such as x=photo")
            found["fields"] = {field: key for field, _, key in pairs}
        return found | {name: value for name in ("size", "augment") if (value := getattr(self, name)) is not None}


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
    """The models that can be trained."""
    lines = ["usage: tinygen train MODEL [FLAGS]", "       tinygen train FILE.py:CLASS [FLAGS]"]
    for family, places in registry.FAMILIES.items():
        lines += ["", f"{family}:", *(f"  {name:<16}{first_line(models.get(name))}" for name in places)]
    return "\n".join([*lines, "", "tinygen train MODEL --help tells the flags of a model."])


def train(name: str, words: Sequence[str]) -> None:
    """Train the model of a name as the words say."""
    system = models.get(name)

    @dataclass(frozen=True)
    class Flags:
        training: TrainingFlags
        """The data, how long to train, and where to keep the result."""
        model: system.Config  # type: ignore[name-defined, valid-type]
        """The network, and how it learns."""

    example = f"Example: tinygen train {name} --epochs 5 --out runs/first"
    parsed = parse(tyro.conf.OmitArgPrefixes[Flags], words, f"train {name}", f"{first_line(system)}\n\n{example}")
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
        overwrite=flags.overwrite,
        provenance={
            "command": shlex.join(["tinygen", "train", name, *words]),
            "source": {"data": lasting(flags.data), **options},
        },
    )


def lasting(name_or_path: str) -> str:
    """A path that still holds in another working directory; a name stays as it is."""
    path = Path(name_or_path)
    is_bare = len(path.parts) == 1 and not path.suffix
    if not path.exists() or (is_bare and name_or_path.replace("_", "-") in dict(data.names())):
        return name_or_path
    return str(path.resolve())


def _model_first(words: Sequence[str]) -> list[str]:
    """The words with the value of --model before all others, which may name the model too."""
    for i, word in enumerate(words):
        if word == "--model" and i + 1 < len(words):
            return [words[i + 1], *words[:i], *words[i + 2 :]]
        if word.startswith("--model="):
            return [word.partition("=")[2], *words[:i], *words[i + 1 :]]
    return list(words)
