"""Types of flags that several commands share, their form in the help, and the parser of the command line."""

import contextlib
import io
import re
from collections.abc import Callable, Sequence
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from tinygen.errors import UsageError
from tinygen.registry import docstring
from tinygen.train.length import parse_time


def names(text: str) -> tuple[str, ...]:
    """The parts of a text between its commas."""
    return tuple(part.strip() for part in text.split(","))


def captions(text: str) -> tuple[str, ...]:
    """The parts of a text between its semicolons, without the empty ones: a caption may have commas."""
    return tuple(part.strip() for part in text.split(";") if part.strip())


def flag_type(metavar: str, parse: Callable[[str], Any], **more: Any) -> PrimitiveConstructorSpec[Any]:
    """Describe an optional flag: the name of its value in the help, and the function that parses it."""
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=metavar,
        instance_from_str=lambda words: parse(words[0]),
        is_instance=lambda value: True,
        str_from_instance=lambda value: [str(value)],
        **more,
    )


OPTIONAL = ConstructorRegistry()


@OPTIONAL.primitive_rule
def _optional(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    """Parse a flag of type `T | None` as one of type T; it is None if it is left out."""
    kinds = [each for each in get_args(info.type) if each is not NoneType]
    if NoneType not in get_args(info.type) or len(kinds) != 1:
        return None
    if get_origin(kinds[0]) is Literal:
        choices = get_args(kinds[0])
        return flag_type(f"{{{','.join(choices)}}}", str, choices=choices)
    return flag_type(kinds[0].__name__.upper(), kinds[0]) if kinds[0] in (int, float, str) else None


def default(text: str) -> Any:
    """The text of the help for a default that is not a single value."""
    return tyro.conf.arg(help_behavior_hint=f"(default: {text})")


OptionalInt = Annotated[int | None, tyro.conf.arg(metavar="N")]
Duration = Annotated[float | None, flag_type("TIME", parse_time)]
File = Annotated[str | None, tyro.conf.arg(metavar="PATH")]
Name = Annotated[str | None, tyro.conf.arg(metavar="NAME")]
PictureSize = Annotated[str | None, tyro.conf.arg(metavar="N|WxH")]
Labels = Annotated[tuple[str, ...] | None, flag_type("A,B,...", names)]
Captions = Annotated[tuple[str, ...] | None, flag_type("'A; B; ...'", captions)]
AttributeNames = Annotated[tuple[str, ...] | None, flag_type("A+B,C+D,...", names)]
Settings = Annotated[tuple[str, ...] | None, flag_type("NAME=VALUE,...", names)]
Place = Annotated[
    str | None,
    tyro.conf.arg(
        metavar="PATH",
        help="Where the data are now, if they have moved.",
        help_behavior_hint="(default: where they were)",
    ),
]
OptionalFloat = Annotated[float | None, tyro.conf.arg(metavar="X")]
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
    tyro.conf.arg(
        metavar="FOLDER",
        help="Pictures to use; they are resized and cropped to the size of the run's images.",
        help_behavior_hint="(default: test images of the run's data)",
    ),
]
Sounds = Annotated[
    str | None,
    tyro.conf.arg(
        metavar="PATH",
        help="A .wav file or a folder of them, at the rate of the run's sounds.",
        help_behavior_hint="(default: test sounds of the run's data)",
    ),
]
Debug = Annotated[Switch, tyro.conf.arg(help="Show the traceback of an error.")]


def parse(flags: Any, words: Sequence[str], command: str, description: str | None = None) -> Any:
    """Parse flags; UsageError in one line for those that cannot be used. For --help, print the help and exit."""
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors), OPTIONAL:
            about = docstring(flags) if description is None else description
            return tyro.cli(flags, args=list(words), prog=f"tinygen {command}", description=about)
    except SystemExit as stop:
        if not stop.code:
            raise
        raise UsageError(f"{_gist(errors.getvalue())} (tinygen {command} --help lists all flags)") from None


def _gist(box: str) -> str:
    """The gist of one of tyro's framed error messages: its first paragraph, and the flag that it suggests."""
    lines = [line.strip("│╭╰╮╯ ") for line in re.sub(r"\x1b\[[0-9;]*m", "", box).splitlines()[1:]]
    rules = [number for number, line in enumerate(lines) if number and not line.strip("─-")]
    gist = " ".join(lines[: rules[0]]).strip("─- ")
    for pattern, plain in PLAIN_MESSAGES.items():
        gist = re.sub(pattern, plain, gist)
    if "Perhaps you meant:" in lines:
        gist += f", did you mean {lines[lines.index('Perhaps you meant:') + 1].split()[0]}?"
    return gist


PLAIN_MESSAGES = {
    r"^Error parsing (model: )?": "",
    r"invalid literal for int\(\) with base 10: (.*)": r"\1 is not a whole number",
    r"could not convert string to float: (.*)": r"\1 is not a number",
    r"invalid choice (.*) for argument '(\S+)'\. Expected one of \((.*?),?\)\.": r"\2: \1 is not one of \3",
    r"^Missing value for argument '(\S+)'\. .*": r"\1 needs a value",
    r"^Missing from [^:]*: (\S+) .*": r"\1 is missing",
}
"""Patterns in the messages of Python and tyro, and what replaces them."""


def at_least_one(**counts: int | None) -> None:
    """UsageError for a count below 1."""
    for name, count in counts.items():
        if count is not None and count < 1:
            raise UsageError(f"--{name.replace('_', '-')} is {count}; it must be at least 1")
