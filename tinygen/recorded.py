"""Whole updates on the CPU, recorded once and then done again without Python's bookkeeping."""

from collections.abc import Callable
from contextlib import ExitStack
from functools import cached_property
from typing import Any

import numpy as np

from tinygen.autograd import Variable, array_of
from tinygen.backend.capture import CaptureOnCpu, captured_by
from tinygen.backend.dispatch import wrapped
from tinygen.primitive import arrays_converted
from tinygen.tensor import Tensor


class RecordedUpdate:
    """An update on the CPU: `record` does it and records it, `check` compares a replay with it, `replay` repeats it."""

    def __init__(self, update: Callable[..., Any], arguments: tuple):
        from tinygen.kernels.cpu.recording import Recording

        self.update, self.recording = update, Recording()
        self.arguments = [self._own(argument) for argument in arguments]
        self.capture = CaptureOnCpu(self.recording)

    def _own(self, argument: Any) -> Any:
        """A copy of an argument in memory of the recording."""
        array = array_of(argument)
        own = self.recording.empty(array.shape, array.dtype)
        return Tensor(own, argument.requires_grad) if isinstance(argument, Tensor) else own

    def take(self, arguments: tuple) -> None:
        """Copy the arguments of a call into the memory that the update reads."""
        for own, argument in zip(self.arguments, arguments, strict=True):
            array_of(own).view(np.ndarray)[...] = array_of(argument)

    def record(self, arguments: tuple) -> Any:
        """Do the update, and record it."""
        self.take(arguments)
        recording = self.recording

        def recorded(name: str, function: Callable) -> Callable:
            def kernel(*arrays, **static):
                return function(*map(recording.outside, arrays), **{k: recording.outside(v) for k, v in static.items()})

            return kernel

        with ExitStack() as stack:
            for context in (
                recording.recording(),
                captured_by(self.capture),
                wrapped(recorded),
                arrays_converted(recording.outside),
            ):
                stack.enter_context(context)
            self.outputs = _plain(self.update(*self.arguments))
        return self.outputs

    @property
    def why_not(self) -> str | None:
        """Why the update cannot be replayed, None if nothing is known against it."""
        reasons = [*self.capture.forbidden, *(f"reading a value ({name})" for name in self.recording.reads)]
        return f"{reasons[0]} cannot be captured" if reasons else None

    @cached_property
    def _replay(self) -> Callable[[], None]:
        from tinygen.kernels.cpu.replay import Replay

        return Replay(self.recording)

    def replay(self, arguments: tuple) -> Any:
        """Do the recorded update again; returns the objects that `record` returned, overwritten."""
        self.take(arguments)
        self._replay()
        return self.outputs

    def check(self, arguments: tuple) -> tuple[Any, str | None]:
        """Do the update as a replay and eagerly, from the same state: its outputs, and the reason if both differ."""
        arrays = [array for array in self.recording.persistent.values() if array.flags.writeable]
        before = [array.copy() for array in arrays]
        outputs = [array.copy() for array in _arrays(self.replay(arguments))]
        replayed = [array.copy() for array in arrays]
        self.capture.undo_host()
        for array, values in zip(arrays, before, strict=True):
            array[...] = values
        result = self.update(*arguments)
        same = all(map(_same_bits, [*outputs, *replayed], [*_arrays(result), *arrays]))
        return result, None if same else "a replay gives other values than the update: it depends on more than arrays"


def _plain(value: Any) -> Any:
    """Outputs with plain arrays in place of recorded ones, which they are in the same memory."""
    if isinstance(value, Variable):
        value.data = _plain(value.data)
        return value
    if isinstance(value, np.ndarray):
        return value.view(np.ndarray)
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if type(value) in (tuple, list):
        return type(value)(map(_plain, value))
    return value


def _arrays(value: Any) -> list[np.ndarray]:
    """The arrays in outputs."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, tuple | list):
        return [array for each in value for array in _arrays(each)]
    array = array_of(value)
    return [array] if isinstance(array, np.ndarray) else []


def _same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes()
