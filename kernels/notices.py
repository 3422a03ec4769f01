"""Notices about the machine, not about what a command does: on stderr, as "tinygen: note: ...".

`note` always prints what is not as a user may expect (slower kernels, no GPU). `explain_wait` prints why something
takes a while, and only where a person watches: a program that reads stderr need not know.
"""

import sys
from contextlib import suppress


def explain_wait(text: str) -> None:
    """Print why something takes a while, if at a terminal or in an interactive session."""
    if hasattr(sys, "ps1") or (sys.stderr and sys.stderr.isatty()):
        note(text)


_printed: set[str] = set()


def note(text: str) -> None:
    """Print a note, once in a process."""
    if text not in _printed and sys.stderr:
        with suppress(OSError):  # a terminal that was closed ends nothing
            print(f"tinygen: note: {text}", file=sys.stderr, flush=True)
    _printed.add(text)
