"""Update rules over one flat buffer, schedules, and moving averages.

Any hyper-parameter may be a number or a schedule: a function `step -> value`, with steps counted from 0.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import compress, groupby
from typing import Any

import numpy as np

from tinygen.autograd import edge_of, gradients, is_finite
from tinygen.backend import array_module, device_of, kernel
from tinygen.backend.recording import advance, changing, recording, watch
from tinygen.errors import GradientError, NonFiniteError, UsageError
from tinygen.nn.module import Module, check_state, like
from tinygen.tensor import Tensor

Schedule = Callable[[int], float]
Number = float | Schedule
Parameters = Module | dict[str, Any] | Sequence[Tensor]


def _named(owner: str, parameters: Parameters) -> dict[str, Tensor]:
    if isinstance(parameters, Module):
        named: dict[str, Any] = dict(parameters.named_parameters())
    elif isinstance(parameters, dict):
        named = dict(parameters)
    elif isinstance(parameters, Tensor):
        raise UsageError(f"{owner}: takes a Module, a dict or a list of parameters; write [parameter] for one")
    else:
        named = {str(i): p for i, p in enumerate(parameters)}
    if not named:
        raise UsageError(f"{owner}: there are no parameters to optimise")
    for name, p in named.items():
        if not isinstance(p, Tensor) or p.edge is not None or p.owner is not None:
            raise UsageError(f"{owner}: {name!r} is not a leaf Tensor")
    if not any(p.requires_grad for p in named.values()):
        raise UsageError(f"{owner}: none of the parameters requires a gradient")
    if len(set(named.values())) < len(named):
        raise UsageError(f"{owner}: a parameter is given twice")
    return named


def _checked(owner: str, name: str, value: Number | None, below: float = math.inf) -> Number | None:
    """A hyper-parameter: a schedule, or a number from 0 to below a bound."""
    if value is None or callable(value):
        return value
    if not isinstance(value, int | float) or not 0 <= value < below:
        limit = "" if below == math.inf else f" and below {below:g}"
        raise UsageError(f"{owner}: {name} is {value!r}; it must be a schedule or a number of at least 0{limit}")
    return value


class Optimizer:
    """Base of the update rules.

    `parameters` is a Module, a dict of named parameters, or a list. Their values move into one flat buffer, of which
    each parameter becomes a view. `clip_norm` bounds the Euclidean norm of the whole gradient (Pascanu et al. 2013),
    `clip_value` each element. A subclass names its kernel (`rule`), its state (`buffers`), and says
    what else reaches the kernel (`_scalars`).
    """

    rule = ""
    buffers: tuple[str, ...] = ()

    def __init__(
        self, parameters: Parameters, *, clip_norm: Number | None = None, clip_value: Number | None = None, **hyper
    ):
        owner = type(self).__name__
        self.parameters = _named(owner, parameters)
        self.clip_norm = _checked(owner, "clip_norm", clip_norm)
        self.clip_value = _checked(owner, "clip_value", clip_value)
        shares = ("momentum", "decay", "beta1", "beta2")
        self.hyper: dict[str, Any] = {
            k: _checked(owner, k, v, 1.0 if k in shares else math.inf) for k, v in hyper.items()
        }
        places = {(p.device, p.dtype) for p in self.parameters.values()}
        if len(places) > 1:
            raise UsageError(f"{owner}: parameters differ in device or dtype: {sorted(map(str, places))}")
        sizes = [p.size for p in self.parameters.values()]
        ends = np.cumsum(sizes).tolist()
        self.slices = [slice(end - n, end) for end, n in zip(ends, sizes, strict=True)]
        xp = array_module(next(iter(self.parameters.values())).data)
        self.flat = xp.concatenate([p.data.reshape(-1) for p in self.parameters.values()])
        self.state = {name: xp.zeros_like(self.flat) for name in self.buffers}
        self.updates = np.zeros(len(sizes), np.int64)
        self.count = np.zeros((), np.int64)
        for p, part in zip(self.parameters.values(), self.slices, strict=True):
            p.data = self.flat[part].reshape(p.shape)
        self.views = [p.data for p in self.parameters.values()]

    def value(self, name: str) -> float:
        """The present value of a hyper-parameter."""
        return _at(self.hyper[name], int(self.count))

    def step(self, loss: Tensor | None = None, *, retain_graph: bool = False) -> None:
        """Update the parameters down the gradient of `loss`, or down their `.grad`, which is then cleared.

        With a loss no `.grad` is touched, and only this optimiser's parameters get a gradient. One that gets none is
        left alone, its state included. NonFiniteError comes before anything has changed: for that a GPU is waited for
        twice, to look at the loss and at the norm of the gradient. A captured step waits for nothing,
        see `tinygen.capture`.
        """
        parameters = list(self.parameters.values())
        for (name, p), view in zip(self.parameters.items(), self.views, strict=True):
            if p.data is not view:
                raise GradientError(
                    f"{type(self).__name__}: {name!r} was moved or converted; make the optimiser after that"
                )
        if loss is None:
            grads = [None if p.grad is None else p.grad.data for p in parameters]
            for (name, p), g in zip(self.parameters.items(), grads, strict=True):
                if g is not None and g.shape != p.shape:
                    raise GradientError(f"{type(self).__name__}: {name!r} {p.shape} has a gradient {g.shape}")
        else:
            if not isinstance(loss, Tensor) or loss.size != 1:
                raise GradientError(f"{type(self).__name__}: the loss must be a Tensor of one number")
            watch("the loss", loss.data)
            if not recording() and not is_finite(loss):
                raise NonFiniteError(f"the loss is {loss.item()}")
            if not loss.requires_grad:
                raise GradientError(f"{type(self).__name__}: the loss depends on nothing that requires a gradient")
            grads = gradients(loss, [edge_of(p) for p in parameters], retain_graph=retain_graph)
        norm = self._norm(grads)
        given = [g is not None for g in grads]
        runs = groupby(range(len(parameters)), key=lambda i: (given[i], self.updates[i]))
        for (present, _), run in runs:
            if present:
                self._update(list(run), grads, norm)

        def count(sign: int) -> None:
            self.count += sign
            self.updates[given] += sign
            for p in compress(parameters, given):
                p.version += sign

        advance(count)
        if loss is None:
            for p in parameters:
                p.grad = None

    def _clipping(self) -> list[float]:
        """What the norm of the gradient is held to, and, before that, the magnitude of each element."""
        clipping = self.clip_norm, self.clip_value
        return [math.inf if value is None else _at(value, int(self.count)) for value in clipping]

    def _norm(self, grads):
        """The norm of the gradient once its elements are clipped; a recorded one stays on the device.

        NonFiniteError for a gradient that is not finite, unless it is recorded.
        """
        given = [g for g in grads if g is not None]
        if not given:
            return 0.0
        measure = kernel("norm", device_of(self.flat))
        if recording():
            bound = changing(lambda: self._clipping()[1:], array_module(self.flat), self.flat.dtype)
            norm = measure(given, bound[0])
            watch("the norm of the gradient", norm)
            return norm
        norm = float(measure(given, self._clipping()[1]))
        if not math.isfinite(norm):
            bad = [n for n, g in zip(self.parameters, grads, strict=True) if g is not None and not is_finite(g)]
            raise NonFiniteError(f"the gradient of {bad[0]!r} is not finite")
        return norm

    def _update(self, run: list[int], grads, norm) -> None:
        part, xp = slice(self.slices[run[0]].start, self.slices[run[-1]].stop), array_module(self.flat)

        def numbers() -> list[float]:
            limit, bound = self._clipping()
            factor = limit if recorded else limit / norm if norm > limit else 1.0
            return [factor, bound, *self._scalars(int(self.updates[run[0]]) + 1)]

        recorded = recording()
        scalars = changing(numbers, xp, self.flat.dtype)
        if recorded:  # the factor is formed where the norm is
            limit = scalars[0]
            scalars[0] = xp.where(norm > limit, limit / norm, xp.ones_like(limit))
        states = [self.state[name][part] for name in self.buffers]
        rule = kernel(self.rule, device_of(self.flat))
        rule(self.flat[part], grads[run[0] : run[-1] + 1], *states, scalars)

    def _scalars(self, updates: int) -> list[float]:
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """State by parameter name, whatever the layout of the flat buffer: views and 0-d counters."""
        state: dict[str, Any] = {"count": self.count}
        for i, (name, p) in enumerate(self.parameters.items()):
            state[f"{name}.updates"] = self.updates[i : i + 1].reshape(())
            for buffer in self.buffers:
                state[f"{name}.{buffer}"] = self.state[buffer][self.slices[i]].reshape(p.shape)
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Copy a state into this optimiser; names and shapes must match."""
        own = self.state_dict()
        check_state(type(self).__name__, own, state)
        for name, array in own.items():
            array[...] = like(state[name], array)


def _at(value: Number, step: int) -> float:
    return value(step) if callable(value) else value


class SGD(Optimizer):
    """Stochastic gradient descent with momentum; Nesterov's form on demand (Sutskever et al. 2013)."""

    buffers, rule = ("velocity",), "sgd"

    def __init__(
        self,
        parameters: Parameters,
        lr: Number,
        *,
        momentum: Number = 0.0,
        nesterov: bool = False,
        weight_decay: Number = 0.0,
        clip_norm: Number | None = None,
        clip_value: Number | None = None,
    ):
        super().__init__(
            parameters, lr=lr, momentum=momentum, weight_decay=weight_decay, clip_norm=clip_norm, clip_value=clip_value
        )
        self.nesterov = nesterov

    def _scalars(self, updates):
        return [self.value("lr"), self.value("momentum"), self.value("weight_decay"), float(self.nesterov)]


class RMSProp(Optimizer):
    """RMSProp (Tieleman & Hinton 2012): decay .99, eps outside the root."""

    buffers, rule = ("square",), "rmsprop"

    def __init__(
        self,
        parameters: Parameters,
        lr: Number = 1e-2,
        *,
        decay: Number = 0.99,
        eps: float = 1e-8,
        weight_decay: Number = 0.0,
        clip_norm: Number | None = None,
        clip_value: Number | None = None,
    ):
        super().__init__(
            parameters,
            lr=lr,
            decay=decay,
            eps=eps,
            weight_decay=weight_decay,
            clip_norm=clip_norm,
            clip_value=clip_value,
        )

    def _scalars(self, updates):
        return [self.value("lr"), self.value("decay"), self.value("eps"), self.value("weight_decay")]


class Adam(Optimizer):
    """Adam (Kingma & Ba 2015, algorithm 1); eps is added after the corrected root."""

    buffers, rule, decoupled = ("mean", "square"), "adam", False

    def __init__(
        self,
        parameters: Parameters,
        lr: Number = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: Number = 0.0,
        clip_norm: Number | None = None,
        clip_value: Number | None = None,
    ):
        super().__init__(
            parameters,
            lr=lr,
            beta1=betas[0],
            beta2=betas[1],
            eps=eps,
            weight_decay=weight_decay,
            clip_norm=clip_norm,
            clip_value=clip_value,
        )

    def _scalars(self, updates):
        rate, decay = self.value("lr"), self.value("weight_decay")
        beta1, beta2 = self.value("beta1"), self.value("beta2")
        shrink = 1 - rate * decay if self.decoupled else 1.0
        root = 1 / math.sqrt(1 - beta2**updates)
        added = 0.0 if self.decoupled else decay
        return [rate / (1 - beta1**updates), beta1, beta2, root, self.value("eps"), added, shrink]


class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019)."""

    decoupled = True

    def __init__(
        self,
        parameters: Parameters,
        lr: Number = 1e-3,
        *,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: Number = 1e-2,
        clip_norm: Number | None = None,
        clip_value: Number | None = None,
    ):
        super().__init__(
            parameters,
            lr,
            betas=betas,
            eps=eps,
            weight_decay=weight_decay,
            clip_norm=clip_norm,
            clip_value=clip_value,
        )


class EMA:
    """Exponential moving average of a module's parameters (Polyak & Juditsky 1992).

    `update()` after each step; `with average.applied():` puts the averages in the parameters' place.
    """

    def __init__(self, module: Module, decay: Number = 0.999):
        self.decay, self.count = decay, np.zeros((), np.int64)
        self.parameters = module.named_parameters()
        self.averages = {name: p.data.copy() for name, p in self.parameters.items()}

    def update(self) -> None:
        """Move the averages towards the parameters."""
        parameters = [p.data for p in self.parameters.values()]
        if parameters:
            kernel("ema", device_of(parameters[0]))(list(self.averages.values()), parameters, self._keep(parameters[0]))

        def count(sign: int) -> None:
            self.count += sign

        advance(count)

    def _keep(self, like):
        """The share that an average keeps of itself; a recorded one is on the device, as it may change."""
        if recording():
            return changing(lambda: [_at(self.decay, int(self.count))], array_module(like), like.dtype)[0]
        return _at(self.decay, int(self.count))

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Context in which the parameters have their averaged values."""
        before = {name: p.data.copy() for name, p in self.parameters.items()}
        for name, p in self.parameters.items():
            p.assign(self.averages[name])
        try:
            yield
        finally:
            for name, p in self.parameters.items():
                p.assign(before[name])

    def state_dict(self) -> dict[str, Any]:
        """The averages by parameter name, and the number of updates."""
        return {"count": self.count, **self.averages}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Copy a state into this average; names and shapes must match."""
        own = self.state_dict()
        check_state("EMA", own, state)
        for name, array in own.items():
            array[...] = like(state[name], array)


# Schedules


def _share(step: int, steps: int) -> float:
    """The share of `steps` that is over, at most 1."""
    return step / steps if step < steps else 1.0


def constant(value: float) -> Schedule:
    """Always the same value."""
    return lambda step: value


def linear(start: float, end: float, steps: int) -> Schedule:
    """A straight line from `start` to `end` over `steps`, then `end`."""
    return lambda step: start + (end - start) * _share(step, steps)


def cosine(start: float, end: float, steps: int) -> Schedule:
    """Half a cosine from `start` to `end` over `steps`, then `end` (Loshchilov & Hutter 2017)."""
    return lambda step: end + (start - end) * (1 + math.cos(math.pi * _share(step, steps))) / 2


def exponential(start: float, factor: float) -> Schedule:
    """start * factor ** step"""
    return lambda step: start * factor**step


def piecewise(*pieces: tuple[int, float]) -> Schedule:
    """The value of the last piece `(first step, value)` that has begun; the first piece holds before it too."""
    return lambda step: next((value for first, value in reversed(pieces) if first <= step), pieces[0][1])


def warmup(steps: int, schedule: Number) -> Schedule:
    """A rise in equal parts over the first `steps`, then the schedule, whose step 0 comes after it."""
    return lambda step: _at(schedule, 0) * (step + 1) / steps if step < steps else _at(schedule, step - steps)
