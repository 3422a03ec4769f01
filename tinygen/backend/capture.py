"""The parts of an update that differ while `tinygen.capture` turns it into a CUDA graph.

A replay of the graph repeats what the device did, and nothing that the host did. So numbers that change from step to
step reach the device through `step_numbers`, counters on the host are moved by `advance`, and what a replay could not
repeat calls `forbid_in_capture`. Outside of a capture these add nothing to an ordinary update.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from tinygen.errors import CaptureError

CAPACITY, ALIGNMENT = 1 << 16, 16  # bytes for all step numbers, and the alignment of each array of them


class Capture:
    """The host's part of one update: counters to move before each replay, and a device array of numbers to refill.

    A dry run executes the update as a capture does, but at once, and notes in `forbidden` what cannot be captured.
    """

    def __init__(self, xp: Any, *, dry_run: bool = False):
        self.xp, self.dry_run = xp, dry_run
        self.forbidden: list[str] = []
        self.watched: dict[str, Any] = {}
        self._host_steps: list[Callable[[int], None]] = []
        self._host, self._device, self._used = np.zeros(CAPACITY, np.uint8), xp.zeros(CAPACITY, "uint8"), 0

    def step_numbers(self, numbers: Callable[[], list], dtype: Any) -> Any:
        """A part of the device array that is filled with `numbers()`, now and before each replay."""
        begin, size = self._used, len(numbers()) * np.dtype(dtype).itemsize
        if begin + size > CAPACITY:
            raise CaptureError(f"capture: the update has more than {CAPACITY} bytes of numbers that change")
        self._used += -(-size // ALIGNMENT) * ALIGNMENT
        on_host = self._host[begin : begin + size].view(dtype)

        def fill(sign: int = 1) -> None:
            on_host[...] = np.asarray(numbers(), dtype)

        fill()
        self._host_steps.append(fill)
        if self.dry_run:
            self.upload()
        return self._device[begin : begin + size].view(dtype)

    def before_each_replay(self, step: Callable[[int], None]) -> None:
        """Have `step(1)` called before each replay, in the order of the update."""
        self._host_steps.append(step)

    def advance_host(self) -> None:
        """Do the host's part of one update."""
        for step in self._host_steps:
            step(1)

    def undo_host(self) -> None:
        """Undo the host's part of the captured update."""
        for step in reversed(self._host_steps):
            step(-1)

    def upload(self) -> None:
        """Copy the step numbers to the device."""
        self._device[: self._used] = self.xp.asarray(self._host[: self._used])


_active: Capture | None = None


@contextmanager
def captured_by(capture: Capture) -> Iterator[None]:
    """A context in which an update is being captured."""
    global _active
    if _active is not None:
        raise CaptureError("capture: one captured update cannot call another")
    _active = capture
    try:
        yield
    finally:
        _active = None


def capturing() -> bool:
    """Whether an update is being captured: then nothing may synchronise the device."""
    return _active is not None


def step_numbers(numbers: Callable[[], list], xp: Any, dtype: Any) -> Any:
    """An array of `numbers()`, which a capture calls again before each replay."""
    if _active is None:
        return xp.asarray(numbers(), dtype)
    if xp is np:
        forbid_in_capture("an update of arrays on the CPU")
    return _active.step_numbers(numbers, dtype)


def advance(step: Callable[[int], None]) -> None:
    """Move a counter on the host by `step(1)`, now and before each replay; `step(-1)` moves it back."""
    step(1)
    if _active is not None:
        _active.before_each_replay(step)


def watch_finite(name: str, array: Any) -> None:
    """In a captured update, let some of the replays check that an array is finite."""
    if _active is not None:
        _active.watched[name] = array


def forbid_in_capture(what: str) -> None:
    """Raise CaptureError, which names `what`, if an update is being captured; a dry run only records `what`."""
    if _active is None:
        return
    if not _active.dry_run:
        raise CaptureError(f"capture: {what} cannot be captured")
    _active.forbidden.append(what)
