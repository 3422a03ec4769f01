"""The command line: finds the command of `tinygen.commands`, runs it, and prints errors.

Every error that a user can make is one line on stderr and an exit code: 2, or 3 for training that diverged.
"""

import io
import os
import sys
from collections.abc import Sequence

import numpy as np

from tinygen import __version__, backend, commands
from tinygen.commands.flags import parse
from tinygen.data.notices import say
from tinygen.errors import TinygenError, UsageError
from tinygen.train import Interrupted


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="replace")  # a terminal that has no × shows ? instead
    try:
        with np.errstate(all="ignore"):  # values that are not finite raise NonFiniteError instead
            _dispatch(words)
        return 0
    except SystemExit as stop:
        return int(stop.code or 0)
    except Interrupted as interrupt:
        return _fail(str(interrupt), interrupt.exit_code)
    except KeyboardInterrupt:
        return _fail("aborted", 130)
    except BrokenPipeError:  # the reader of a pipe, such as `head`, has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (TinygenError, OSError, MemoryError) as error:
        if "--debug" in words:
            raise
        return _fail(_one_line(error), getattr(error, "exit_code", 2))


def _dispatch(words: list[str]) -> None:
    backend.tune_process()
    name, rest = (words[0], words[1:]) if words else ("--help", [])
    if name in ("-h", "--help"):
        print(_usage())
    elif name == "--version":
        print(f"tinygen {__version__}")
    elif name in commands.NAMES:
        command = commands.load(name)
        command.run(parse(command.Flags, rest, name) if hasattr(command, "Flags") else rest)
    else:
        raise UsageError(f"unknown command {name!r}: use one of {', '.join(commands.NAMES)}")


def _usage() -> str:
    lines = ["usage: tinygen COMMAND ..."]
    for group, names in commands.GROUPS.items():
        lines += ["", f"{group}:", *(f"  {name:<12}{commands.about(name)}" for name in names)]
    return "\n".join([*lines, "", "tinygen COMMAND --help lists its flags; tinygen models lists the models."])


def _one_line(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return f"not enough memory: {error or 'make the batch or the model smaller'}"
    if isinstance(error, OSError) and not isinstance(error, TinygenError):
        return f"{error.filename or 'input or output'}: {(error.strerror or str(error)).lower()}"
    return " ".join(str(error).split())


def _fail(message: str, code: int) -> int:
    say(message)
    return code
