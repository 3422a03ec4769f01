"""Notes for the user about data that can be used as they are: one line on stderr each, once in a process."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

_printed: set[str] = set()
_silent = False


def say_once(text: str, about: str = "") -> None:
    """Print a line on stderr, unless it, or one `about` the same, has been printed, or the context is `silent`."""
    if (about or text) not in _printed and not _silent:
        _printed.add(about or text)
        print(f"tinygen: {printable(text)}", file=sys.stderr)


@contextmanager
def silent() -> Iterator[None]:
    """A context in which `say_once` prints nothing, since the notes on these data were printed when the run began."""
    global _silent
    before, _silent = _silent, True
    try:
        yield
    finally:
        _silent = before


def printable(name: str) -> str:
    """The text with the bytes of a file name that are not UTF-8 written as \\xff."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
