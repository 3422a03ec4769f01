"""Notes for the user about data that can be used as they are: one line on stderr each, once in a process."""

import sys

_said: set[str] = set()


def say_once(text: str) -> None:
    """Print the line, unless it has been printed before."""
    if text not in _said:
        _said.add(text)
        print(f"tinygen: {printable(text)}", file=sys.stderr)


def printable(name: str) -> str:
    """The text with the bytes of a file name that are not UTF-8 written as \\xff."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
