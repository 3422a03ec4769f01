"""The parts of an update that differ while `tinygen.capture` turns it into a CUDA graph, or records it on the CPU.

A replay repeats what was done with arrays, and nothing else that Python did. So numbers that change from step to step
come from `step_numbers`, counters are moved by `advance`, and what a replay could not repeat calls `forbid_in_capture`.
On a GPU the host does its part before the replay; on the CPU everything is repeated in its order, so that `replayed`
can also compute something anew, or check a value. Outside of a capture these add nothing to an ordinary update.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, TypeVar

import numpy as np

from tinygen.errors import CaptureError

T = TypeVar("T")

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


class CaptureOnCpu(Capture):
    """The update's part that is not done by kernels, in the order of its `recording` (`kernels.cpu.recording`).

    The update is executed as it is recorded, so what cannot be captured is noted in `forbidden`, as in a dry run.
    """

    def __init__(self, recording: Any):
        self.recording, self.dry_run = recording, True
        self.forbidden, self.watched, self._host_steps = [], {}, []

    def step_numbers(self, numbers, dtype):
        return self.recording.call(lambda: np.asarray(numbers(), dtype))

    def before_each_replay(self, step):
        self._host_steps.append(step)
        self.recording.steps.append(partial(step, 1))


_active: Capture | None = None
_thread = 0  # the thread whose update is being captured


@contextmanager
def captured_by(capture: Capture) -> Iterator[None]:
    """A context in which an update of this thread is being captured."""
    global _active, _thread
    if _active is not None:
        raise CaptureError("capture: one captured update cannot call another")
    _active, _thread = capture, threading.get_ident()
    try:
        yield
    finally:
        _active = None


def _current() -> Capture | None:
    """The capture in progress in this thread."""
    return _active if _active is not None and _thread == threading.get_ident() else None


def capturing() -> bool:
    """Whether an update is being captured as a CUDA graph: then nothing may synchronise the device."""
    return _active is not None and isinstance(capture := _current(), Capture) and not isinstance(capture, CaptureOnCpu)


def step_numbers(numbers: Callable[[], list], xp: Any, dtype: Any) -> Any:
    """An array of `numbers()`, which a capture calls again in each replay."""
    if _active is None or (capture := _current()) is None:
        return xp.asarray(numbers(), dtype)
    if (xp is np) != isinstance(capture, CaptureOnCpu):
        forbid_in_capture("an update of arrays on the CPU and on a GPU")
    return capture.step_numbers(numbers, dtype)


def replayed(function: Callable[[], T]) -> T:
    """What a function returns, called now, and on the CPU in each replay; it may read values and raise errors."""
    if _active is not None and isinstance(capture := _current(), CaptureOnCpu):
        return capture.recording.call(function)
    return function()


def advance(step: Callable[[int], None]) -> None:
    """Move a counter on the host by `step(1)`, now and in each replay; `step(-1)` moves it back."""
    step(1)
    before_each_replay(step)


def before_each_replay(step: Callable[[int], None]) -> None:
    """Have `step(1)` called in each replay of the update that is being captured, if one is."""
    if _active is not None and (capture := _current()) is not None:
        capture.before_each_replay(step)


@contextmanager
def restored_on_error(
    remember: Callable[[], T], restore: Callable[[T], None], error: type[Exception]
) -> Iterator[None]:
    """A context that undoes by `restore(before)`, with `before = remember()`, what it did until an `error`.

    A replay on the CPU does the same.
    """

    def guarded(steps: list) -> Callable[[], None]:
        from tinygen.kernels.cpu.replay import joined

        functions = joined(steps)

        def run() -> None:
            with restored_on_error(remember, restore, error):
                for function in functions:
                    function()

        return run

    with ExitStack() as stack:
        if _active is not None and isinstance(capture := _current(), CaptureOnCpu):
            stack.enter_context(capture.recording.part(guarded))
        before = remember()
        try:
            yield
        except error:
            restore(before)
            raise


def watch_finite(name: str, array: Any) -> None:
    """In a captured update, let some of the replays check that an array is finite."""
    if _active is not None and (capture := _current()) is not None:
        capture.watched[name] = array


def forbid_in_capture(what: str) -> None:
    """Raise CaptureError, which names `what`, if an update is being captured; a dry run only records `what`."""
    if _active is None or (capture := _current()) is None:
        return
    if not capture.dry_run:
        raise CaptureError(f"capture: {what} cannot be captured")
    capture.forbidden.append(what)
