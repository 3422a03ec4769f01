"""Doing again what was recorded (`recording.py`): launches that follow one another are one call of compiled code."""

from collections.abc import Callable
from itertools import groupby

from .pool import Launches
from .recording import Recording


class Replay:
    """A function that does the steps of a recording again, on the same memory."""

    def __init__(self, recording: Recording):
        self.functions, self.kept = joined(recording.steps), recording.kept

    def __call__(self) -> None:
        for function in self.functions:
            function()


def joined(steps: list) -> list[Callable[[], object]]:
    """The steps of a recording as functions, with all launches between two of them in one."""
    functions: list[Callable[[], object]] = []
    for are_launches, group in groupby(steps, lambda step: isinstance(step, tuple)):
        some = list(group)
        functions += [Launches(some)] if are_launches else some
    return functions
