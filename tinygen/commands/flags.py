"""What the flags of several commands share: their types, how their values are written, and how words are parsed."""

import contextlib
import io
import re
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import tyro
from tyro.constructors import PrimitiveConstructorSpec

from tinygen.errors import UsageError
from tinygen.train.length import parse_time


def whole_number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a whole number") from None


def number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a number") from None


def names(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(","))


def one_of(*choices: str) -> Callable[[str], str]:
    """A parser of a word that must be one of a few."""

    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(f"{text!r} is not {' or '.join(choices)}")
        return text

    return parse


def written(metavar: str, parse: Callable[[str], Any]) -> PrimitiveConstructorSpec[Any]:
    """An optional flag: how help writes its value, and the function that parses it."""
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=metavar,
        instance_from_str=lambda words: parse(words[0]),
        is_instance=lambda value: True,
        str_from_instance=lambda value: [str(value)],
    )


def default(text: str) -> Any:
    """What help says of a default that is not a single value."""
    return tyro.conf.arg(help_behavior_hint=f"(default: {text})")


Count = Annotated[int | None, written("N", whole_number)]
Duration = Annotated[float | None, written("TIME", parse_time)]
File = Annotated[str | None, written("PATH", str)]
Labels = Annotated[tuple[str, ...] | None, written("A,B,...", names)]
Place = Annotated[
    str | None,
    written("PATH", str),
    tyro.conf.arg(help="Where the data are now, if they have moved.", help_behavior_hint="(default: where they were)"),
]
Rate = Annotated[float | None, written("X", number)]
Switch = Annotated[bool, tyro.conf.FlagCreatePairsOff]
RunFolder = Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RUN", help="The folder of the run.")]
Device = Annotated[
    Literal["auto", "cpu", "cuda"],
    tyro.conf.arg(help="Where to compute; auto: the GPU where one can be used, or the device of the run."),
]
Which = Annotated[
    Literal["last", "best"],
    tyro.conf.arg(help="The last weights, or those with the best value of the model's own metric on validation."),
]
Images = Annotated[
    str | None,
    written("FOLDER", str),
    tyro.conf.arg(
        help="Pictures to use; they are resized and cropped to the size of the run's images.",
        help_behavior_hint="(default: test images of the run's data)",
    ),
]
Debug = Annotated[Switch, tyro.conf.arg(help="Show the traceback of an error.")]


def parse(flags: Any, words: Sequence[str], command: str, description: str | None = None) -> Any:
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
    """The gist of one of tyro's framed error messages: its first paragraph, and the flag that it suggests."""
    lines = [line.strip("│╭╰╮╯ ") for line in re.sub(r"\x1b\[[0-9;]*m", "", box).splitlines()[1:]]
    rules = [number for number, line in enumerate(lines) if number and not line.strip("─-")]
    gist = " ".join(lines[: rules[0]]).strip("─- ")
    for pattern, plain in PLAIN.items():
        gist = re.sub(pattern, plain, gist)
    if "Perhaps you meant:" in lines:
        gist += f", did you mean {lines[lines.index('Perhaps you meant:') + 1].split()[0]}?"
    return gist


PLAIN = {
    r"^Error parsing (model: )?": "",
    r"invalid literal for int\(\) with base 10: (.*)": r"\1 is not a whole number",
    r"could not convert string to float: (.*)": r"\1 is not a number",
    r"no type matching \S+ could be instantiated from \[(.*)\]\.": r"\1 is none of its values",
    r"invalid choice (.*) for argument '(\S+)'\. Expected one of \((.*)\)\.": r"\2: \1 is not one of \3",
    r"^Missing value for argument '(\S+)'\. .*": r"\1 needs a value",
    r"^Missing from [^:]*: (\S+) .*": r"\1 is missing",
}
"""What Python and tyro say, and what is told in its place."""


def at_least_one(**counts: int | None) -> None:
    """UsageError for a count below 1."""
    for name, count in counts.items():
        if count is not None and count < 1:
            raise UsageError(f"--{name.replace('_', '-')} is {count}; it must be at least 1")
