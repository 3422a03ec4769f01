"""Notices about the machine, not about what a command does: on stderr, as "tinygen: note: ...".

`note` tells what somebody gets otherwise than expected (slower kernels, no GPU), and always. `explain_wait` tells why
something takes a while, and only where a person watches: a program that reads stderr need not know.
"""

import sys


def explain_wait(text: str) -> None:
    """Say why it takes a while, at a terminal or in an interactive session."""
    if hasattr(sys, "ps1") or (sys.stderr and sys.stderr.isatty()):
        note(text)


_told: set[str] = set()


def note(text: str) -> None:
    """Say it, once in a process."""
    if text not in _told and sys.stderr:
        print(f"tinygen: note: {text}", file=sys.stderr, flush=True)
    _told.add(text)
