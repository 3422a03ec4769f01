"""What an update tells of itself while `tinygen.capture` records it.

A replay repeats what the device did, and nothing of what the host did. So numbers that change from step to step reach
the device through `changing`, counters of the host are moved by `advance`, and what a replay could not repeat is
announced by `refuse`. Outside of a recording these do no more than their work.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from tinygen.errors import CaptureError

CAPACITY, ALIGNMENT = 1 << 16, 16  # bytes of changing numbers, and of the boundary that each of them begins at


class Recording:
    """Of one update: what the host repeats before a replay, and the device array that it refills.

    A rehearsal runs as a capture does, but on the device at once: it notes in `refused` what a capture cannot hold.
    """

    def __init__(self, xp: Any, *, rehearsal: bool = False):
        self.xp, self.rehearsal = xp, rehearsal
        self.refused: list[str] = []
        self.watched: dict[str, Any] = {}
        self._steps: list[Callable[[int], None]] = []
        self._host, self._device, self._used = np.zeros(CAPACITY, np.uint8), xp.zeros(CAPACITY, "uint8"), 0

    def slot(self, numbers: Callable[[], list], dtype: Any) -> Any:
        """A part of the device array that `numbers()` fills, now and before each replay."""
        begin, size = self._used, len(numbers()) * np.dtype(dtype).itemsize
        if begin + size > CAPACITY:
            raise CaptureError(f"capture: the update has more than {CAPACITY} bytes of changing numbers")
        self._used += -(-size // ALIGNMENT) * ALIGNMENT
        place = self._host[begin : begin + size].view(dtype)

        def fill(sign: int = 1) -> None:
            place[...] = np.asarray(numbers(), dtype)

        fill()
        self._steps.append(fill)
        if self.rehearsal:
            self.upload()
        return self._device[begin : begin + size].view(dtype)

    def add(self, step: Callable[[int], None]) -> None:
        """Have `step(1)` done before each replay, in the order of the update."""
        self._steps.append(step)

    def repeat(self) -> None:
        """Do what the host does in an update."""
        for step in self._steps:
            step(1)

    def undo(self) -> None:
        """Take back what the host did in the update that was recorded."""
        for step in reversed(self._steps):
            step(-1)

    def upload(self) -> None:
        """Bring the changing numbers to the device."""
        self._device[: self._used] = self.xp.asarray(self._host[: self._used])


_active: Recording | None = None


@contextmanager
def recorded(recording: Recording) -> Iterator[None]:
    """Context in which an update is recorded."""
    global _active
    if _active is not None:
        raise CaptureError("capture: one captured update cannot call another")
    _active = recording
    try:
        yield
    finally:
        _active = None


def recording() -> bool:
    """Whether an update is being recorded: then nothing may wait for the device."""
    return _active is not None


def changing(numbers: Callable[[], list], xp: Any, dtype: Any) -> Any:
    """An array of what `numbers()` gives, which is asked again before each replay."""
    if _active is None:
        return xp.asarray(numbers(), dtype)
    if xp is np:
        refuse("an update of arrays on the CPU")
    return _active.slot(numbers, dtype)


def advance(step: Callable[[int], None]) -> None:
    """Move a counter of the host, now and before each replay; `step(-1)` moves it back."""
    step(1)
    if _active is not None:
        _active.add(step)


def watch(name: str, array: Any) -> None:
    """Have an array of a recorded update looked at now and then: it must stay finite."""
    if _active is not None:
        _active.watched[name] = array


def refuse(what: str) -> None:
    """CaptureError, named by what cannot be captured, where an update is being captured; a rehearsal notes it."""
    if _active is None:
        return
    if not _active.rehearsal:
        raise CaptureError(f"capture: {what} cannot be captured")
    _active.refused.append(what)
