"""Whole updates as CUDA graphs: the device repeats an update without the host's launching its kernels one by one."""

import sys
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

from tinygen.autograd import is_finite
from tinygen.backend import gpu_problem, is_array
from tinygen.backend.device import cupy, device_of
from tinygen.backend.recording import Recording, recorded
from tinygen.errors import NonFiniteError, ShapeError, UsageError
from tinygen.tensor import Tensor

WARM_UPS = 2  # eager, and then a rehearsal: both compile kernels and fill caches


def capture(update: Callable[..., Any], *, check_every: int = 100) -> "CapturedUpdate":
    """An update (forward, backward, optimiser, random numbers) that is captured as one CUDA graph, and replayed.

    Not yet run on a GPU: tested on a stub of CuPy.

    Call it with Tensors or arrays on "cuda", of the same shapes and dtypes each time. The first two calls run eagerly,
    the third captures; later ones copy their arguments into fixed arrays and launch the graph. They return the very
    objects that the third returned, overwritten each time: copy what you want to keep. Learning rates and other
    schedules, random streams and the counters of optimisers go on as in eager updates, so checkpoints stay right.

    The update must do the same on the device each time: no control flow on values; nothing that waits for the device
    (`item`, `float`, `numpy`), moves values between host and device, draws random words or numbers in float64, or
    rewinds streams (`checkpoint`). Where it does, and where there is no GPU or CUDA refuses, every call runs eagerly,
    and stderr says why, once. Losses and gradients are looked at in every `check_every`-th replay only, and
    NonFiniteError comes after the parameters have changed.
    """
    if check_every < 1:
        raise UsageError(f"capture: check_every is {check_every}; it must be at least 1")
    return CapturedUpdate(update, check_every)


class CapturedUpdate:
    """What `capture` returns; `why_eager` says why nothing is captured, None where all is well."""

    def __init__(self, update: Callable[..., Any], check_every: int):
        self.update, self.check_every = update, check_every
        self.why_eager: str | None = None
        self.calls = 0
        self._graph: Any = None

    def __call__(self, *arguments):
        if self.why_eager is None and self.calls == 0:
            self._prepare(arguments)
        if self.why_eager is not None:
            return self.update(*arguments)
        self._check(arguments)
        self.calls += 1
        with self._on_stream():
            for mine, given in zip(self._arguments, arguments, strict=True):
                _raw(mine)[...] = _raw(given)
            if self.calls <= WARM_UPS:
                return self._warm_up()
            if self._graph is not None:
                self._recording.repeat()
                self._recording.upload()
            elif not self._capture():
                return self.update(*self._arguments)
            self._graph.launch(self._stream)
            self._look()
        return self._outputs

    def _prepare(self, arguments) -> None:
        """Make the stream, the memory and the arguments of the graph."""
        places = {device_of(_raw(a)) for a in arguments if isinstance(a, Tensor) or is_array(a)}
        if "cpu" in places or not all(isinstance(a, Tensor) or is_array(a) for a in arguments):
            return self._give_up("its arguments are not all on a GPU")
        if problem := gpu_problem():
            return self._give_up(problem)
        self._xp = cupy()
        try:
            self._stream = self._xp.cuda.Stream(non_blocking=True)
            self._pool = self._xp.cuda.MemoryPool()  # of its own: what the graph uses is given to nobody else
            with self._on_stream():
                self._arguments = [
                    Tensor(a.data.copy(), a.requires_grad) if isinstance(a, Tensor) else a.copy() for a in arguments
                ]
        except Exception as error:
            self._give_up(_told(error))
        return None

    @contextmanager
    def _on_stream(self):
        """Context in which work is queued on the graph's stream, after what was queued before, and before the rest."""
        outside = self._xp.cuda.get_current_stream()
        self._stream.wait_event(outside.record())
        with self._stream, self._xp.cuda.using_allocator(self._pool.malloc):
            try:
                yield
            finally:
                outside.wait_event(self._stream.record())

    def _check(self, arguments) -> None:
        mine, given = ([(_raw(a).shape, _raw(a).dtype) for a in part] for part in (self._arguments, arguments))
        if mine != given:
            raise ShapeError(f"capture: the update was made for arguments {mine}, not {given}")

    def _warm_up(self):
        if self.calls < WARM_UPS:
            return self.update(*self._arguments)
        rehearsal = Recording(self._xp, rehearsal=True)
        with recorded(rehearsal):
            outputs = self.update(*self._arguments)
        if rehearsal.refused:
            self._give_up(f"{rehearsal.refused[0]} cannot be captured")
        return outputs

    def _capture(self) -> bool:
        """Capture the update, which then waits to be launched; or take back what the host did of it, and give up."""
        self._recording = Recording(self._xp)
        try:
            self._stream.begin_capture()
            try:
                with recorded(self._recording):
                    self._outputs = self.update(*self._arguments)
            finally:
                graph = self._stream.end_capture()
        except Exception as error:
            self._recording.undo()
            self._give_up(_told(error))
            return False
        self._recording.upload()
        self._graph = graph
        return True

    def _look(self) -> None:
        if self.calls % self.check_every == 0:
            for name, array in self._recording.watched.items():
                if not is_finite(array):
                    raise NonFiniteError(f"{name} is not finite, at replay {self.calls} or since the last look")

    def _give_up(self, why: str) -> None:
        self.why_eager = why
        print(f"tinygen: the update is not captured, since {why}", file=sys.stderr)


def _raw(argument) -> Any:
    return argument.data if isinstance(argument, Tensor) else argument


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]
