"""The command line: `tinygen train vae`, `resume`, `sample`, `eval`, `score`, `report`, `models`,
`data`, `verify`.

Every error that a user can make is one line on stderr and an exit code: 2, or 3 for training that diverged.
"""

import contextlib
import io
import json
import os
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tyro
from tyro.constructors import PrimitiveConstructorSpec

from tinygen import __version__, backend, data, models, random, train
from tinygen.data.needs import in_words
from tinygen.errors import RunError, TinygenError, UsageError
from tinygen.models import GenerativeModel
from tinygen.runs import data_of, model_of
from tinygen.score import Scorer, readable
from tinygen.train import Interrupted, Run, images
from tinygen.train.length import parse_time
from tinygen.train.record import load_state
from tinygen.train.report import format_number, write_report
from tinygen.train.run import plain
from tinygen.verify import trials_of, verify

# Flags


def _whole_number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a whole number") from None


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(_whole_number(part) for part in text.split(","))


def _written(metavar: str, parse: Callable[[str], Any]) -> PrimitiveConstructorSpec[Any]:
    """How the value of a flag that may be left out is written, and read."""
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=metavar,
        instance_from_str=lambda words: parse(words[0]),
        is_instance=lambda value: True,
        str_from_instance=lambda value: [str(value)],
    )


def _default(text: str) -> Any:
    """What help says where a flag that is left out has no single value."""
    return tyro.conf.arg(help_behavior_hint=f"(default: {text})")


Count = Annotated[int | None, _written("N", _whole_number)]
Duration = Annotated[float | None, _written("TIME", parse_time)]
File = Annotated[str | None, _written("PATH", str)]
Switch = Annotated[bool, tyro.conf.FlagCreatePairsOff]
RunFolder = Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RUN", help="The folder of the run.")]
Device = Annotated[
    Literal["auto", "cpu", "cuda"],
    tyro.conf.arg(help="Where to compute; auto takes the GPU where one can be used, or the device of the run."),
]
Debug = Annotated[Switch, tyro.conf.arg(help="Show the traceback of an error.")]


@dataclass(frozen=True)
class TrainFlags:
    data: str = "fashion-mnist-7k"
    """A data set's name (`tinygen data` lists them), an .npz file, or a folder of images."""
    binarise: Annotated[
        Literal["dynamic", "threshold"] | None, _default("dynamic, for a model that takes no grey images")
    ] = None
    """Make grey images black and white: a pixel is 1 with the probability that its grey gives, or from one half up."""
    epochs: Annotated[Count, _default("10, where neither steps nor budget is given")] = None
    """Passes over the training data."""
    steps: Annotated[Count, _default("none")] = None
    """Minibatches, instead of epochs."""
    budget: Annotated[Duration, _default("none")] = None
    """Time, such as 30s, 2m or 1h30m, instead of epochs."""
    seed: int = 0
    """Decides the first parameters, the order of examples and all noise."""
    out: Annotated[File, _default("runs/<model>-<n>, the next free number")] = None
    """Folder that records the run."""
    save_every: Annotated[Count, _default("every 30 seconds")] = None
    """Steps from one checkpoint to the next."""
    overwrite: Switch = False
    """Replace the run that --out holds."""
    skip_broken: Switch = False
    """Leave out image files that cannot be read."""
    device: Device = "auto"
    debug: Debug = False


@dataclass(frozen=True)
class ResumeFlags:
    """Continue an interrupted run, to the same weights that it would have had without the interruption."""

    run: RunFolder
    epochs: Annotated[Count, _default("the run's own end")] = None
    """A new end, counted from the beginning of the run."""
    steps: Annotated[Count, _default("the run's own end")] = None
    """A new end in minibatches."""
    budget: Annotated[Duration, _default("the run's own end")] = None
    """A new end in time, over all parts of the run."""
    save_every: Annotated[Count, _default("the run's own")] = None
    """Steps from one checkpoint to the next."""
    device: Device = "auto"
    debug: Debug = False


@dataclass(frozen=True)
class SampleFlags:
    """Draw a picture of new examples from the model of a run."""

    run: RunFolder
    n: Annotated[Count, _default("64 images, or 2500 points")] = None
    """How many examples."""
    seed: int = 0
    """Decides the noise."""
    labels: Annotated[tuple[int, ...] | None, _written("A,B,...", _numbers), _default("every class")] = None
    """Classes to draw, in turn, from a model that takes labels."""
    out: Annotated[File, _default("samples-<seed>.png in the run's folder")] = None
    """File of the picture."""
    device: Device = "auto"
    debug: Debug = False


@dataclass(frozen=True)
class EvalFlags:
    """Measure the model of a run on data that it was not trained on."""

    run: RunFolder
    split: Literal["test", "valid"] = "test"
    """Which part of the data."""
    seed: Annotated[Count, _default("the run's own")] = None
    """Decides the noise of estimates."""
    json: Switch = False
    """Print one JSON object."""
    device: Device = "auto"
    debug: Debug = False


@dataclass(frozen=True)
class ScoreFlags:
    """Score runs by the rules of the scoreboard: samples before two judges, likelihoods and bounds on test."""

    runs: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN...", help="Folders of runs.")]
    json: Switch = False
    """Print one JSON array with an object for each run."""
    device: Device = "auto"
    debug: Debug = False


@dataclass(frozen=True)
class ReportFlags:
    """Write a run's report again, for instance after an interruption."""

    run: RunFolder
    device: Device = "auto"
    debug: Debug = False


@dataclass(frozen=True)
class ModelsFlags:
    """List the models."""

    debug: Debug = False


@dataclass(frozen=True)
class DataFlags:
    """List the data sets that have names, and where each is."""

    debug: Debug = False


@dataclass(frozen=True)
class VerifyFlags:
    """Train every model small, in minutes, and hold it to what trivial rivals miss; exit code 1 where one fails."""

    models: Annotated[
        tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[MODEL...]", help="Their names; all if none.")
    ] = ()
    device: Device = "cpu"
    debug: Debug = False


# Commands


def train_model(name: str, words: Sequence[str]) -> None:
    """`tinygen train <name> ...`: its flags are those of a run and the fields of the model's Config."""
    model_class = models.get(name)

    @dataclass(frozen=True)
    class Flags:
        run: TrainFlags
        """How long, from what, and where to."""
        model: model_class.Config  # type: ignore[name-defined, valid-type]
        """Fields of the model's Config."""

    parsed = _parse(tyro.conf.OmitArgPrefixes[Flags], words, f"train {name}", _first_line(model_class))
    flags, config = parsed.run, parsed.model
    device = backend.select_device(flags.device)
    dataset = data.load(flags.data, skip_broken=flags.skip_broken)
    dataset = models.check_data(model_class, dataset.binarised(flags.binarise) if flags.binarise else dataset, config)
    random.seed(flags.seed)
    train.fit(
        model_class(config, dataset.spec, device),
        dataset,
        epochs=flags.epochs,
        steps=flags.steps,
        budget=flags.budget,
        out=flags.out or f"runs/{name}-{{n}}",
        seed=flags.seed,
        save_every=flags.save_every,
        overwrite=flags.overwrite,
        record={
            "command": shlex.join(["tinygen", "train", name, *words]),
            "source": {"data": _lasting(flags.data), "skip_broken": flags.skip_broken},
        },
    )


def resume_run(flags: ResumeFlags) -> None:
    run = Run.open(flags.run)
    if (summary := run.summary()) and flags.epochs is flags.steps is flags.budget is None:
        print(f"{run.folder} is complete, at step {summary['steps']}: --epochs, --steps or --budget sets a new end")
        return
    model, dataset = model_of(run, flags.device), data_of(run)
    train.resume(
        model,
        dataset,
        run.folder,
        epochs=flags.epochs,
        steps=flags.steps,
        budget=flags.budget,
        save_every=flags.save_every,
    )


def sample_run(flags: SampleFlags) -> None:
    if flags.n is not None and flags.n < 1:
        raise UsageError(f"--n is {flags.n}; it must be at least 1")
    run = Run.open(flags.run)
    model = model_of(run, flags.device)
    if flags.labels is not None and not model.conditional:
        raise UsageError(f"--labels: {model.name} does not take labels; leave them out")
    _load(run, model)
    enough, columns = images.arrangement(model)
    n = enough if flags.n is None else flags.n
    asked = {} if flags.labels is None else {"labels": np.resize(flags.labels, n)}
    out = flags.out or run.folder / f"samples-{flags.seed}.png"
    samples = model.sample(n, seed=flags.seed, **asked)
    images.save(images.picture(samples, model.spec.x, None if asked else columns), out)
    print(out)


def evaluate_run(flags: EvalFlags) -> None:
    run = Run.open(flags.run)
    model, dataset = model_of(run, flags.device), data_of(run)
    step = _load(run, model)["step"]
    seed = run.config["fit"]["seed"] if flags.seed is None else flags.seed
    metrics = model.evaluate(getattr(dataset, flags.split), seed=seed)
    if flags.json:
        about = {"run": str(run.folder), "model": model.name, "data": dataset.spec.name, "split": flags.split}
        print(json.dumps(plain({**about, "step": step, "metrics": metrics}), allow_nan=False))
    else:
        for name, value in metrics.items():
            print(f"{flags.split} {name} {format_number(value)}")


def score_runs(flags: ScoreFlags) -> None:
    if not flags.runs:
        raise UsageError("name the folders of the runs to score: tinygen score RUN...")
    scorer = Scorer()
    scores = [scorer.score(run, flags.device) for run in map(Run.open, flags.runs)]
    if flags.json:
        print(json.dumps([plain(vars(score)) for score in scores], allow_nan=False))
    else:
        print("\n\n".join(map(readable, scores)))


def report_run(flags: ReportFlags) -> None:
    run = Run.open(flags.run)
    model, dataset = model_of(run, flags.device), data_of(run)
    _load(run, model)
    write_report(run, model, dataset)
    print(run.report_file)


def list_models(flags: ModelsFlags) -> None:
    for name in models.names():
        model = models.get(name)
        print(f"{name:<16}{_first_line(model)} [{'; '.join(map(in_words, model.needs.values()))}]")


def list_data(flags: DataFlags) -> None:
    for name, place in data.names():
        print(f"{name:<24}{place}")


def verify_models(flags: VerifyFlags) -> None:
    verify(trials_of(flags.models), backend.select_device(flags.device))


COMMANDS: dict[str, tuple[Any, Callable[[Any], None]]] = {
    "resume": (ResumeFlags, resume_run),
    "sample": (SampleFlags, sample_run),
    "eval": (EvalFlags, evaluate_run),
    "score": (ScoreFlags, score_runs),
    "report": (ReportFlags, report_run),
    "models": (ModelsFlags, list_models),
    "data": (DataFlags, list_data),
    "verify": (VerifyFlags, verify_models),
}


# What commands share


def _load(run: Run, model: GenerativeModel) -> dict[str, Any]:
    """Load the checkpoint of a run, and say so where its training has not ended; returns what else was saved."""
    go_on = f"tinygen resume {shlex.quote(str(run.folder))}"
    if not run.checkpoint_file.exists():
        raise RunError(f"{run.folder} has no checkpoint: make one with {go_on}")
    meta = load_state(run, model)
    if run.summary() is None:
        print(f"tinygen: {run.folder} is unfinished, at step {meta['step']}; go on with: {go_on}", file=sys.stderr)
    return meta


def _lasting(name_or_path: str) -> str:
    """A path that still holds in another working directory; a name stays as it is."""
    path = Path(name_or_path)
    is_bare = len(path.parts) == 1 and not path.suffix
    if not path.exists() or (is_bare and name_or_path.replace("_", "-") in dict(data.names())):
        return name_or_path
    return str(path.resolve())


def _first_line(model_class: type[GenerativeModel]) -> str:
    return (model_class.__doc__ or "").strip().partition("\n")[0]


def _parse(flags: Any, words: Sequence[str], command: str, description: str | None = None) -> Any:
    """The flags in the words; UsageError in one line for those that cannot be used. Help is printed, and exits."""
    told = io.StringIO()
    try:
        with contextlib.redirect_stderr(told):
            return tyro.cli(flags, args=list(words), prog=f"tinygen {command}", description=description)
    except SystemExit as stop:
        if not stop.code:
            raise
        raise UsageError(f"{_gist(told.getvalue())} (tinygen {command} --help lists what there is)") from None


def _gist(box: str) -> str:
    """What a framed message of tyro's says: its first paragraph, and the flag that it suggests."""
    lines = [line.strip("│╭╰╮╯ ") for line in re.sub(r"\x1b\[[0-9;]*m", "", box).splitlines()[1:]]
    rules = [number for number, line in enumerate(lines) if number and not line.strip("─-")]
    said = " ".join(lines[: rules[0]]).strip("─- ").removeprefix("Error parsing model: ")
    if "Perhaps you meant:" in lines:
        said += f", did you mean {lines[lines.index('Perhaps you meant:') + 1].split()[0]}?"
    return said


# The program


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        with np.errstate(all="ignore"):  # what is not finite is refused by name, not warned of
            _dispatch(words)
        return 0
    except SystemExit as stop:
        return int(stop.code or 0)
    except Interrupted as interrupt:
        return _fail(str(interrupt), interrupt.exit_code)
    except KeyboardInterrupt:
        return _fail("aborted", 130)
    except BrokenPipeError:  # the reader of a pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (TinygenError, OSError, MemoryError) as error:
        if "--debug" in words:
            raise
        return _fail(_one_line(error), getattr(error, "exit_code", 2))


def _dispatch(words: list[str]) -> None:
    backend.tune_process()
    command, rest = (words[0], words[1:]) if words else ("--help", [])
    if command in ("-h", "--help"):
        print(_usage())
    elif command == "--version":
        print(f"tinygen {__version__}")
    elif command == "train":
        if rest and rest[0] in ("-h", "--help"):
            print(_usage())
        elif not rest or rest[0].startswith("-"):
            raise UsageError(f"name the model first, then its flags: tinygen train {{{','.join(models.names())}}} ...")
        else:
            train_model(rest[0], rest[1:])
    elif command in COMMANDS:
        flags, function = COMMANDS[command]
        function(_parse(flags, rest, command))
    else:
        raise UsageError(f"unknown command {command!r}: use one of train, {', '.join(COMMANDS)}")


def _usage() -> str:
    lines = [f"  {f'train {name}':<22}{_first_line(models.get(name))}" for name in models.names()]
    lines += [f"  {name:<22}{(flags.__doc__ or '').strip()}" for name, (flags, _) in COMMANDS.items()]
    return "\n".join(["usage: tinygen COMMAND ...", "", *lines, "", "tinygen COMMAND --help lists its flags."])


def _one_line(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return f"not enough memory: {error or 'make the batch or the model smaller'}"
    if isinstance(error, OSError) and not isinstance(error, TinygenError):
        return f"{error.filename or 'input or output'}: {(error.strerror or str(error)).lower()}"
    return " ".join(str(error).split())


def _fail(message: str, code: int) -> int:
    print(f"tinygen: {message}", file=sys.stderr)
    return code
