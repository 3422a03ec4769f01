"""Notes for the user about data that can be used as they are: one line on stderr each, once in a process."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_printed: set[str] = set()


class _Silence(threading.local):
    """Whether this thread prints nothing."""

    on = False


_silence = _Silence()


def say_once(text: str, about: str = "") -> None:
    """Print a line on stderr, unless it, or one `about` the same, has been printed, or the context is `silent`."""
    if (about or text) not in _printed and not _silence.on:
        _printed.add(about or text)
        say(text)


def say(text: str) -> None:
    """Print a line on stderr; a terminal that was closed ends nothing."""
    with suppress(OSError):
        print(f"tinygen: {printable(text)}", file=sys.stderr)


@contextmanager
def silent() -> Iterator[None]:
    """A context in which `say_once` prints nothing, since the notes on these data were printed when the run began."""
    before, _silence.on = _silence.on, True
    try:
        yield
    finally:
        _silence.on = before


def printable(name: str) -> str:
    """The text with the bytes of a file name that are not UTF-8 written as \\xff."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
