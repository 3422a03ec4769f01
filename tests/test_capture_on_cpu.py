"""Updates that are recorded on the CPU: replays against eager updates to the bit, and what is refused."""

import itertools
import threading

import numpy as np
import pytest

import tinygen as tg
from tests.test_devices import OPTIMIZERS, normal
from tinygen import functional as F
from tinygen import nn, optim
from tinygen.errors import CaptureError, NonFiniteError, ShapeError, UsageError
from tinygen.kernels.cpu.recording import Recording

STEPS = 8


class Training:
    """A small network with its whole state, and an update that draws random numbers."""

    def __init__(self, optimizer="adam"):
        tg.seed(5)
        self.norm = nn.BatchNorm(3)
        self.network = nn.Sequential(nn.Linear(4, 3), F.relu, nn.Dropout(0.3), self.norm, nn.Linear(3, 2))
        self.optimizer = OPTIMIZERS[optimizer](self.network)
        self.average = optim.EMA(self.network, optim.linear(0.5, 0.9, STEPS))

    def update(self, x):
        """Make one step and return its loss."""
        noise = tg.random.stream("train").normal(x.shape)
        mask = tg.random.stream("train").bernoulli(abs(x.data).clip(0, 1))
        loss = (self.network(x + noise) * mask[:, :2]).sum(axis=1).exp().mean()
        self.optimizer.step(loss)
        self.average.update()
        return loss

    def state(self) -> dict:
        arrays = {**self.network.state_dict(), **self.optimizer.state_dict(), **self.average.averages}
        versions = [p.version for p in self.network.parameters()]
        return {name: np.array(a).tobytes() for name, a in arrays.items()} | {
            "host": (versions, tg.random.get_state(), int(self.average.count))
        }


def inputs(steps=STEPS):
    return [tg.tensor(normal(6, 4) + 0.1 * i) for i in range(steps)]


def run(training, step):
    tg.seed(1)
    return [float(step(x)) for x in inputs()], training.state()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_replays_give_the_bits_of_eager_updates(name, capsys):
    eager, captured = Training(name), Training(name)
    step = tg.capture(captured.update)
    assert run(captured, step) == run(eager, eager.update)
    assert (step.why_eager, capsys.readouterr().err) == (None, "")


def test_outputs_are_overwritten_and_shapes_may_not_change():
    step = tg.capture(Training().update)
    outputs = [step(x) for x in inputs()]
    assert all(y is outputs[3] for y in outputs[4:])
    assert type(outputs[3].data) is np.ndarray
    with pytest.raises(ShapeError, match=r"made for arguments .*\(6, 4\)"):
        step(inputs()[0][:3])


def times_its_call():
    """A function that multiplies by the number of its call."""
    calls = itertools.count(1)
    return lambda x: x * next(calls)


REFUSED = {
    "reading a value (item, float, int, bool) cannot be captured": lambda: lambda x: float(x.sum()),
    "reading a value (__bool__) cannot be captured": lambda: lambda x: x + 1 if (x.data > 0).all() else x,
    "rewinding the random streams (checkpoint) cannot be captured": lambda: (
        lambda x: tg.random.set_state(tg.random.get_state())
    ),
    "a replay gives other values than the update": times_its_call,
}


@pytest.mark.parametrize("why", REFUSED)
def test_what_cannot_be_replayed_is_named_once_and_runs_eagerly(why, capsys):
    def update_of(training):
        more, taken = REFUSED[why](), []

        def update(x):
            taken.append(more(x))
            return training.update(x if taken[-1] is None or isinstance(taken[-1], float) else taken[-1])

        return update

    eager, captured = Training(), Training()
    step = tg.capture(update_of(captured))
    assert run(captured, step) == run(eager, update_of(eager))
    message = capsys.readouterr().err
    assert message.startswith(f"tinygen: the update is not captured, since {why}")
    assert message.count("\n") == 1


def test_a_replay_whose_loss_is_not_finite_changes_nothing():
    training = Training()

    def update(x):
        loss = (training.network(x) * x[:, :2]).sum()
        training.optimizer.step(loss)
        return loss

    step = tg.capture(update)
    for x in inputs(5):
        step(x)
    before = {name: p.data.copy() for name, p in training.network.named_parameters().items()}
    bad = inputs(1)[0]
    bad.data[0, 0] = np.nan
    with pytest.raises(NonFiniteError, match="the loss is nan"):
        step(bad)
    for name, p in training.network.named_parameters().items():
        np.testing.assert_array_equal(p.data, before[name])
    assert int(training.optimizer.count) == 5


def test_checks_of_arguments_are_repeated():
    def update(x):
        return F.binary_cross_entropy_with_logits(x, x).sum()

    step = tg.capture(update)
    for _ in range(5):
        step(np.full((3, 4), 0.5, np.float32))
    with pytest.raises(UsageError, match="targets reach from 2 to 2"):
        step(np.full((3, 4), 2, np.float32))


def test_a_replay_after_the_parameters_were_moved_is_refused():
    training = Training()
    step = tg.capture(training.update)
    for x in inputs(5):
        step(x)
    training.network.astype("float64").astype("float32")
    with pytest.raises(CaptureError, match="Adam: parameters were moved after the update was captured"):
        step(inputs(1)[0])


def test_assigned_values_are_assigned_in_replays_too():
    w = tg.tensor(np.ones((3, 4), np.float32), requires_grad=True)

    @tg.capture
    def double(x):
        with tg.no_grad():
            w.assign(2 * w + x)
        return w.sum()

    for _ in range(6):
        total = float(double(np.ones((3, 4), np.float32)))
    np.testing.assert_array_equal(w.data, np.full((3, 4), 127, np.float32))
    assert (total, w.version) == (12 * 127, 6)


def test_what_another_thread_computes_is_not_recorded():
    go, done = threading.Event(), threading.Event()

    def other():
        go.wait()
        F.exp(tg.tensor(normal(300, 400)))
        done.set()

    thread = threading.Thread(target=other)
    thread.start()

    def update(x):
        go.set()
        done.wait()
        return F.exp(x).sum()

    step = tg.capture(update)
    alone = tg.capture(lambda x: F.exp(x).sum())
    for _ in range(4):
        assert float(step(normal(30, 40))) == float(alone(normal(30, 40)))
    thread.join()
    assert len(step._recorded.recording.steps) == len(alone._recorded.recording.steps)


def test_memory_that_is_no_longer_used_is_used_again():
    def update(x):
        for _ in range(20):
            x = F.exp(x * 0.1)
        return x.sum()

    step = tg.capture(update)
    for _ in range(5):
        step(normal(256, 256))
    recording = step._recorded.recording
    assert isinstance(recording, Recording)
    large = [size for size, memory in recording.free.items() for _ in memory if size >= 4 * 256 * 256]
    assert len(large) <= 3
