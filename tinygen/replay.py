"""Whole updates that are repeated without Python in between: as one CUDA graph, or recorded on the CPU."""

import sys
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

from tinygen.autograd import array_of, is_finite
from tinygen.backend import gpu_problem, is_array
from tinygen.backend.capture import Capture, captured_by
from tinygen.backend.device import cupy, device_of
from tinygen.errors import CaptureError, NonFiniteError, ShapeError, UsageError
from tinygen.kernels.choice import has_compiled_kernels
from tinygen.kernels.cuda import runtime
from tinygen.recorded import RecordedUpdate
from tinygen.tensor import Tensor

WARM_UPS = 2  # an eager update, then a dry run of the capture: both compile kernels and fill caches


def capture(update: Callable[..., Any], *, check_every: int = 100) -> "CapturedUpdate":
    """Make a function whose calls replay `update` (forward, backward, optimiser, random numbers) without Python.

    Call it with Tensors or arrays of one device, of the same shapes and dtypes each time. Later calls copy their
    arguments into fixed arrays and repeat on these what was captured: with arrays on "cuda" as one CUDA graph, from
    the third call on; on "cpu" as compiled launches of kernels, from the fourth on. From then on they return the same
    objects, overwritten each time: copy what you want to keep. Learning rates and other schedules, random streams and
    the counters of optimisers advance as in eager updates, so checkpoints are the same.

    The update must do the same with arrays each time: no control flow on values, and nothing that reads them (`item`,
    `float`, `numpy`) or rewinds streams (`checkpoint`); on a GPU also nothing that moves values between host and
    device, or draws random words or numbers in float64. If it does so, or after an error of CUDA, every call runs
    eagerly, and one line on stderr says why. On the CPU the third call runs eagerly and as a replay, and compares them
    to the bit; what changes only later (a weight that a Python number anneals, a step for every tenth call) it cannot
    find. On a GPU losses and gradients are checked only in every `check_every`-th replay, so that NonFiniteError comes
    after the parameters have changed; on the CPU each is checked before anything changes.

    Measured: `benchmarks/results/gpu.md`, and `python -m benchmarks captured` for the CPU.
    """
    if check_every < 1:
        raise UsageError(f"capture: check_every is {check_every}; it must be at least 1")
    return CapturedUpdate(update, check_every)


class CapturedUpdate:
    """An update made by `capture`; `why_eager` says why calls run eagerly, None if the update is captured."""

    def __init__(self, update: Callable[..., Any], check_every: int):
        self.update, self.check_every = update, check_every
        self.why_eager: str | None = None
        self.calls = 0
        self._graph: Any = None
        self._recorded: RecordedUpdate | None = None
        self._call: Callable[[tuple], Any] | None = None

    def __call__(self, *arguments):
        if self.why_eager is None and self.calls == 0:
            try:
                self._call = self._prepare(arguments)
            except CaptureError as error:
                self._give_up(str(error))
        if self.why_eager is not None:
            return self.update(*arguments)
        self._check(arguments)
        self.calls += 1
        return self._call(arguments)

    def _prepare(self, arguments: tuple) -> Callable[[tuple], Any]:
        """Choose how to capture, and make what that needs; CaptureError if it cannot be done."""
        self._signature = _signature(arguments)
        places = {device_of(array_of(a)) for a in arguments if isinstance(a, Tensor) or is_array(a)}
        if len(places) > 1 or not all(isinstance(a, Tensor) or is_array(a) for a in arguments):
            raise CaptureError("its arguments are not all arrays of one device")
        if "cpu" in places or (not places and gpu_problem()):
            if not has_compiled_kernels():
                raise CaptureError("there are no compiled kernels")
            return self._on_cpu
        if problem := gpu_problem():
            raise CaptureError(problem)
        self._xp = cupy()
        try:
            self._stream = self._xp.cuda.Stream(non_blocking=True)
            self._pool = self._xp.cuda.MemoryPool()  # of its own: no other computation may use the graph's memory
            with self._on_stream():
                self._arguments = [
                    Tensor(a.data.copy(), a.requires_grad) if isinstance(a, Tensor) else a.copy() for a in arguments
                ]
        except Exception as error:
            raise CaptureError(_in_one_line(error)) from None
        return self._on_gpu

    def _check(self, arguments: tuple) -> None:
        if (signature := _signature(arguments)) != self._signature:
            raise ShapeError(f"capture: the update was made for arguments {self._signature}, not {signature}")

    def _on_cpu(self, arguments: tuple) -> Any:
        """A call on the CPU: an eager one that compiles kernels, one that is recorded, one that is checked, replays."""
        if self._recorded is None:
            if self.calls == 1:
                return self.update(*arguments)
            self._recorded = RecordedUpdate(self.update, arguments)
            outputs = self._recorded.record(arguments)
            if why := self._recorded.why_not:
                self._give_up(why)
            return outputs
        if self.calls > 3:
            return self._recorded.replay(arguments)
        outputs, why = self._recorded.check(arguments)
        if why:
            self._give_up(why)
        return outputs

    def _on_gpu(self, arguments: tuple) -> Any:
        """A call on a GPU: an eager one, one that finds what cannot be captured, the capture, then launches."""
        with self._on_stream():
            for mine, passed in zip(self._arguments, arguments, strict=True):
                array_of(mine)[...] = array_of(passed)
            if self.calls <= WARM_UPS:
                return self._warm_up()
            if self._graph is not None:
                self._captured.advance_host()
                self._captured.upload()
            elif not self._capture():
                return self.update(*self._arguments)
            self._graph.launch(self._stream)
            self._check_finite()
        return self._outputs

    @contextmanager
    def _on_stream(self):
        """A context in which work is queued on the graph's stream, after all earlier and before all later work."""
        outside = self._xp.cuda.get_current_stream()
        self._stream.wait_event(outside.record())
        with self._stream, self._xp.cuda.using_allocator(self._pool.malloc):
            try:
                yield
            finally:
                outside.wait_event(self._stream.record())

    def _warm_up(self):
        if self.calls < WARM_UPS:
            return self.update(*self._arguments)
        dry_run = Capture(self._xp, dry_run=True)
        with captured_by(dry_run):
            outputs = self.update(*self._arguments)
        if dry_run.forbidden:
            self._give_up(f"{dry_run.forbidden[0]} cannot be captured")
        return outputs

    def _capture(self) -> bool:
        """Capture the update as a graph, without executing it; if that fails, undo what the host did, and give up."""
        self._captured = Capture(self._xp)
        try:
            self._stream.begin_capture()
            try:
                with captured_by(self._captured), runtime.retaining() as self._plans:
                    self._outputs = self.update(*self._arguments)
            finally:
                graph = self._stream.end_capture()
        except Exception as error:
            self._captured.undo_host()
            self._give_up(_in_one_line(error))
            return False
        self._captured.upload()
        self._graph = graph
        return True

    def _check_finite(self) -> None:
        if self.calls % self.check_every == 0:
            for name, array in self._captured.watched.items():
                if not is_finite(array):
                    raise NonFiniteError(f"{name} is not finite, at replay {self.calls} or since the last check")

    def _give_up(self, why: str) -> None:
        self.why_eager, self._recorded = why, None
        print(f"tinygen: the update is not captured, since {why}", file=sys.stderr)


def _signature(arguments: tuple) -> list:
    """Shapes and dtypes."""
    return [(a.shape, a.dtype) for a in map(array_of, arguments) if hasattr(a, "dtype")]


def _in_one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]
