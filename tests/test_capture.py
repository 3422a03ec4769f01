"""Captured updates: replays against eager updates, what cannot be captured, and the notices about it.

They run on a stub of CuPy. A replay of its graphs runs the update again with the host's state of the capture,
so that what changes between replays comes from arrays of the device, as on a GPU. No real CUDA graph is launched.
"""

import contextlib
import gc
import sys
import weakref
from types import SimpleNamespace

import numpy as np
import pytest

import tinygen as tg
from tests.cupy_stub.array import Library
from tests.cupy_stub.module import installed
from tests.test_devices import OPTIMIZERS, assert_same, normal
from tinygen import functional as F
from tinygen import nn, optim
from tinygen.backend import dispatch
from tinygen.backend.capture import Capture, captured_by
from tinygen.kernels.cuda.runtime import plan
from tinygen.random import Stream

STEPS = 7


class Training:
    """A small network on "cuda" with its whole state, and an update that draws random numbers."""

    def __init__(self, optimizer="adam"):
        tg.seed(5)
        layers = nn.Linear(4, 3), F.relu, nn.Dropout(0.3), nn.BatchNorm(3), nn.Linear(3, 2)
        self.network = nn.Sequential(*layers).to("cuda")
        self.optimizer = OPTIMIZERS[optimizer](self.network)
        self.average = optim.EMA(self.network, optim.linear(0.5, 0.9, STEPS))
        self.stream = Stream(3, "noise", (2 << 64) + 2**64 - 3)

    def update(self, x):
        """Make one step and return its loss."""
        noise = self.stream.normal(x.shape, device="cuda")
        mask = self.stream.bernoulli(0.5 * abs(x.data))
        loss = (self.network(x + noise) * mask[:, :2]).sum(axis=1).exp().mean()
        self.optimizer.step(loss)
        self.average.update()
        return loss

    def arrays(self) -> list:
        """All state on the device."""
        running = [self.network.layers[3].running_mean, self.network.layers[3].running_var]
        return [
            *(p.data for p in self.network.parameters()),
            *self.optimizer.state.values(),
            *self.average.averages.values(),
            *running,
        ]

    def host(self) -> dict:
        """All state on the host."""
        return {
            "counts": [self.optimizer.count.item(), self.average.count.item()],
            "updates": self.optimizer.updates.tolist(),
            "versions": [p.version for p in self.network.parameters()],
            "streams": (tg.random.get_state(), self.stream.counter),
        }

    def set_host(self, state: dict) -> None:
        self.optimizer.count[...], self.average.count[...] = state["counts"]
        self.optimizer.updates[...] = state["updates"]
        for p, version in zip(self.network.parameters(), state["versions"], strict=True):
            p.version = version
        process, self.stream.counter = state["streams"]
        tg.random.set_state(process)


class Playback(Capture):
    """A capture that gives the arrays of an earlier one in their order, and lets the host fill and count nothing."""

    def __init__(self, arrays):
        self.dry_run, self.watched, self.arrays = False, {}, iter(arrays)

    def step_numbers(self, numbers, dtype):
        return next(self.arrays)

    def before_each_replay(self, step):
        pass


class Cuda:
    """Streams and graphs for the stub; `failure` is raised when a capture ends."""

    def __init__(self, training, patch):
        self.training, self.launches, self.failure, self.step = training, 0, None, None
        self.arrays = []
        step_numbers = Capture.step_numbers

        def step_numbers_with_record(capture, numbers, dtype):
            array = step_numbers(capture, numbers, dtype)
            if not capture.dry_run:
                self.arrays.append(array)
            return array

        patch.setattr(Capture, "step_numbers", step_numbers_with_record)
        cuda = sys.modules["cupy"].cuda
        cuda.Stream = lambda non_blocking: self
        cuda.MemoryPool = lambda: SimpleNamespace(malloc=None)
        cuda.using_allocator = lambda malloc: contextlib.nullcontext()
        cuda.get_current_stream = lambda: self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def record(self):
        return "event"

    def wait_event(self, event):
        assert event == "event"

    def begin_capture(self):
        Library.capturing = True
        self.host = self.training.host()
        self.before = [array.copy() for array in self.training.arrays()]
        self.errors = np.seterr(all="ignore")  # results during the capture are discarded

    def end_capture(self):
        Library.capturing = False
        for array, before in zip(self.training.arrays(), self.before, strict=True):
            array[...] = before  # a capture changes no array
        np.seterr(**self.errors)
        if self.failure:
            raise self.failure
        return self

    def launch(self, stream):
        self.launches += 1
        now = self.training.host()
        self.training.set_host(self.host)
        with captured_by(Playback(self.arrays)):
            loss = self.step.update(*self.step._arguments)
        self.step._outputs.data[...] = loss.data
        self.training.set_host(now)


KERNELS_WITH_RESULTS_ON_DEVICE = "norm", "uniform", "normal", "bernoulli", "integers"


def on_device(name, function):
    """Wrap a reference so that its results are on the device where those of CUDA kernels are."""
    if name not in KERNELS_WITH_RESULTS_ON_DEVICE:
        return function
    return lambda *arguments, **static: sys.modules["cupy"].asarray(function(*arguments, **static))


@pytest.fixture
def graphs(monkeypatch):
    """A function that captures the update of a training and returns its graphs and the captured update."""
    with installed(), dispatch.wrapped(on_device):

        def make(training, update=None, **keywords):
            cuda = Cuda(training, monkeypatch)
            cuda.step = tg.capture(update or training.update, **keywords)
            return cuda, cuda.step

        yield make


def inputs():
    return [tg.tensor(normal(6, 4) + 0.1 * i, device="cuda") for i in range(STEPS)]


def run(training, step):
    """Losses of all steps, and the state on the device and on the host after them."""
    losses = [float(step(x)) for x in inputs()]
    return losses, training.arrays(), training.host()


def assert_same_run(actual, expected):
    assert actual[0] == pytest.approx(expected[0], rel=1e-6)
    assert_same(actual[1], expected[1], 1e-6)
    assert actual[2] == expected[2]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_replays_give_the_losses_and_states_of_eager_updates(name, graphs, capsys):
    eager, captured = Training(name), Training(name)
    cuda, step = graphs(captured)
    tg.seed(1)
    expected = run(eager, eager.update)
    tg.seed(1)
    assert_same_run(run(captured, step), expected)
    assert (cuda.launches, step.why_eager) == (STEPS - 2, None)
    assert not capsys.readouterr().err


def test_outputs_are_the_same_objects_and_shapes_may_not_change(graphs):
    training = Training()
    _, step = graphs(training)
    outputs = [step(x) for x in inputs()]
    assert all(y is outputs[2] for y in outputs[3:])
    with pytest.raises(tg.errors.ShapeError, match=r"made for arguments .*\(6, 4\)"):
        step(inputs()[0][:3])


REFUSED = {
    "reading a value": lambda x: x.sum().item(),
    "a check that values are finite": lambda x: tg.autograd.is_finite(x),
    "moving values between host and device": lambda x: tg.tensor(x.numpy()),
    "moving values between": lambda x: Stream(0, "host").uniform(x.shape) if x.to("cpu") is None else None,
    "a draw on the CPU, of words, or in float64": lambda x: Stream(0, "host").uniform(x.shape),
    "a draw on the CPU, of words": lambda x: Stream(0, "host").bits(4, device="cuda"),
    "a draw on the CPU": lambda x: Stream(0, "host").normal(4, dtype="float64", device="cuda"),
    "rewinding the random streams": lambda x: tg.random.set_state(tg.random.get_state()),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_captured_is_named_once_and_runs_eagerly(what, graphs, capsys):
    eager, captured = Training(), Training()

    def update(training):
        return lambda x: (REFUSED[what](x), training.update(x))[1]

    cuda, step = graphs(captured, update(captured))
    tg.seed(1)
    expected = run(eager, update(eager))
    tg.seed(1)
    assert_same_run(run(captured, step), expected)
    message = capsys.readouterr().err
    assert message.startswith(f"tinygen: the update is not captured, since {what}")
    assert (message.count("\n"), cuda.launches) == (1, 0)


def test_a_failed_capture_changes_nothing_and_updates_run_eagerly(graphs, capsys):
    eager, captured = Training(), Training()
    cuda, step = graphs(captured)
    cuda.failure = RuntimeError("cudaErrorStreamCaptureInvalidated: lost\nmore")
    tg.seed(1)
    expected = run(eager, eager.update)
    tg.seed(1)
    assert_same_run(run(captured, step), expected)
    assert capsys.readouterr().err == (
        "tinygen: the update is not captured, since RuntimeError: cudaErrorStreamCaptureInvalidated: lost\n"
    )


def test_a_refusal_during_a_capture_is_an_error_that_names_it(graphs):
    x = inputs()[0]
    with captured_by(Capture(sys.modules["cupy"])), pytest.raises(tg.errors.CaptureError, match="reading a value"):
        float(x.sum())


def test_a_loss_that_is_not_finite_is_found_every_check_every_replays(graphs):
    training = Training()
    _, step = graphs(training, check_every=5)
    for x in inputs()[:3]:
        step(x)
    training.network.parameters()[0].data[...] = np.nan
    step(x)
    with pytest.raises(tg.errors.NonFiniteError, match="the loss is not finite, at replay 5"):
        step(x)


def test_products_of_stacks_and_sums_over_named_axes_are_captured(graphs, capsys):
    """CuPy's own matmul and einsum call cuBLAS, which cannot be captured."""
    eager, captured = Training(), Training()

    def update(training):
        def step(x):
            stacks = F.stack([x, 2 * x]).reshape((2, 3, 2, 4))
            products = (stacks @ stacks.transpose(0, 1, 3, 2)).sum()
            named = F.einsum("ij,kj,im->mj", x, x, x).sum() + F.einsum("ij->j", x).sum()
            return training.update(x + 1e-3 * (products + named))

        return step

    cuda, step = graphs(captured, update(captured))
    tg.seed(1)
    expected = run(eager, update(eager))
    tg.seed(1)
    assert_same_run(run(captured, step), expected)
    assert (cuda.launches, step.why_eager) == (STEPS - 2, None), capsys.readouterr().err


def test_a_graph_keeps_the_plans_whose_tables_it_reads(graphs):
    made = []

    @plan(1)
    def table(size):
        made.append(size)
        return np.zeros(size)

    training = Training()

    def update(x):
        table(len(x))
        return training.update(x)

    _, step = graphs(training, update)
    for x in inputs()[:3]:
        step(x)
    alive = weakref.ref(table(6))
    table(7)  # the cache has room for one
    gc.collect()
    assert alive() is not None
    del step, update
    assert made == [6, 7]


def test_a_replay_after_the_parameters_were_moved_is_refused(graphs):
    """The graph would go on updating the memory where they were."""
    training = Training()
    _, step = graphs(training)
    x = inputs()[0]
    for _ in range(3):
        step(x)
    training.network.to("cpu")
    training.network.to("cuda")
    with pytest.raises(tg.errors.CaptureError, match="Adam: parameters were moved after the update was captured"):
        step(x)


def test_updates_that_cannot_be_captured_run_eagerly_with_a_notice(cuda, capsys):
    network = nn.Linear(4, 2).to(cuda)
    optimizer = optim.SGD(network, 0.1)

    @tg.capture
    def step(x):
        loss = network(x).sum()
        optimizer.step(loss)
        return loss

    for _ in range(4):
        step(tg.tensor(normal(3, 4), device=cuda))
    assert int(optimizer.count) == 4
    if step.why_eager is not None:  # on a real GPU the update is captured
        message = capsys.readouterr().err
        assert message.startswith("tinygen: the update is not captured, since AttributeError")
        assert message.count("\n") == 1
    with pytest.raises(tg.errors.UsageError, match="check_every is 0"):
        tg.capture(step, check_every=0)
