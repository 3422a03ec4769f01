"""The base of all optimisers: parameters in one flat buffer, gradients, clipping, state."""

import math
from collections.abc import Callable, Sequence
from itertools import compress, groupby
from typing import Any, NamedTuple

import numpy as np

from tinygen.arguments import is_in_range, plain
from tinygen.autograd import edge_of, gradients, is_finite
from tinygen.backend import array_module, device_of, kernel
from tinygen.backend.capture import advance, capturing, step_numbers, watch_finite
from tinygen.errors import GradientError, NonFiniteError, UsageError
from tinygen.nn.module import Module, check_state, like
from tinygen.optim.schedules import Number, value_at
from tinygen.tensor import Tensor

FRACTIONS = ("momentum", "decay", "beta1", "beta2")  # hyper-parameters that must be below 1
OF_SOME = {*FRACTIONS, "lr", "eps", "weight_decay", "betas", "learning_rate", "rate", "alpha", "param_groups"}
"""Names of hyper-parameters, here or elsewhere, that are refused where an optimiser does not have them."""
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


def _checked(owner: str, name: str, value: Any) -> Any:
    """A hyper-parameter; UsageError unless it is None, a schedule, or a number in its range."""
    number = plain(value)
    if number is None or callable(number) or is_in_range(number, _bound(name)):
        return number
    limit = "" if _bound(name) == math.inf else f" and below {_bound(name):g}"
    raise UsageError(f"{owner}: {name} is {value!r}; it must be a schedule or a number of at least 0{limit}")


def _bound(name: str) -> float:
    return 1.0 if name in FRACTIONS else math.inf


class Optimizer:
    """The base of the optimisers.

    `parameters` is a Module, a dict of named parameters, or a list. Their values move into one flat buffer, of which
    each parameter becomes a view. `clip_norm` bounds the Euclidean norm of the whole gradient (Pascanu et al. 2013),
    `clip_value` each element.

    A subclass has a `rule`, the function of `tinygen.kernels.rules` whose kernel runs; `buffers`, the names of the
    state arrays of each parameter, in the order of the rule's arguments; and `numbers`, the rule's other arguments.
    """

    rule: Callable
    buffers: tuple[str, ...] = ()

    def __init__(
        self, parameters: Parameters, *, clip_norm: Number | None = None, clip_value: Number | None = None, **hyper
    ):
        owner = type(self).__name__
        self.parameters = _named(owner, parameters)
        self.clip_norm, self.clip_value = clip_norm, clip_value
        self.hyper: dict[str, Any] = {name: _checked(owner, name, value) for name, value in hyper.items()}
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

    def __getattr__(self, name: str) -> Any:
        """A hyper-parameter, as it was set: a number or a schedule."""
        if name in (hyper := self.__dict__.get("hyper", {})):
            return hyper[name]
        raise AttributeError(f"{type(self).__name__} has no {name}")

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute. A hyper-parameter applies from the next step; UsageError for one that it does not have."""
        hyper = self.__dict__.get("hyper", {})
        if name in hyper:
            hyper[name] = _checked(type(self).__name__, name, value)
        elif name in OF_SOME and not hasattr(type(self), name):
            raise UsageError(f"{type(self).__name__} has no {name}; it has {', '.join(hyper)}, which can be set")
        else:
            checked = _checked(type(self).__name__, name, value) if name in ("clip_norm", "clip_value") else value
            super().__setattr__(name, checked)

    def value(self, name: str) -> float:
        """The present value of a hyper-parameter; UsageError for one out of range, which a schedule may return."""
        hyper = self.hyper[name] if name in self.hyper else getattr(self, name)
        value = value_at(hyper, int(self.count))
        if not 0 <= value < _bound(name):
            owner, limit = type(self).__name__, " and below 1" if name in FRACTIONS else ""
            raise UsageError(f"{owner}: {name} is {value} at step {self.count}; it must be at least 0{limit}")
        return value

    def numbers(self, t: int, **clipping: float) -> NamedTuple:
        """The numbers of the rule for update t = 1, 2, ... of a parameter; `clipping` are its `factor` and `bound`."""
        raise NotImplementedError

    def step(self, loss: Tensor | None = None, *, retain_graph: bool = False) -> None:
        """Update the parameters down the gradient of `loss`, or down their `.grad`, which is then cleared.

        With a loss no `.grad` changes, and gradients of only this optimiser's parameters are computed. A parameter
        without a gradient keeps its value and its state. NonFiniteError is raised before anything has changed; the
        check synchronises a GPU twice, for the loss and for the norm of the gradient. A captured step does not check,
        see `tinygen.capture`.
        """
        parameters = list(self.parameters.values())
        for (name, p), view in zip(self.parameters.items(), self.views, strict=True):
            if p.data is not view:
                raise GradientError(
                    f"{type(self).__name__}: {name!r} was moved or converted; make the optimiser after that"
                )
        grads = self._given_gradients() if loss is None else self._gradients_of(loss, retain_graph)
        norm = self._norm(grads)
        present = [g is not None for g in grads]
        for (has_gradient, _), members in groupby(range(len(grads)), lambda i: (present[i], self.updates[i])):
            if has_gradient:
                self._update(list(members), grads, norm)

        def count(sign: int) -> None:
            self.count += sign
            self.updates[present] += sign
            for p in compress(parameters, present):
                p.version += sign

        advance(count)
        if loss is None:
            for p in parameters:
                p.grad = None

    def _given_gradients(self) -> list[Any]:
        """The `.grad` of each parameter, or None."""
        grads = [None if p.grad is None else p.grad.data for p in self.parameters.values()]
        for (name, p), g in zip(self.parameters.items(), grads, strict=True):
            if g is not None and g.shape != p.shape:
                raise GradientError(f"{type(self).__name__}: {name!r} {p.shape} has a gradient {g.shape}")
        return grads

    def _gradients_of(self, loss: Tensor, retain_graph: bool) -> list[Any]:
        """The gradient of a loss with respect to each parameter, None if it does not depend on one."""
        owner = type(self).__name__
        if not isinstance(loss, Tensor) or loss.size != 1:
            raise GradientError(f"{owner}: the loss must be a Tensor of one number")
        watch_finite("the loss", loss.data)
        if not capturing() and not is_finite(loss):
            raise NonFiniteError(f"the loss is {loss.item()}")
        if not loss.requires_grad:
            raise GradientError(f"{owner}: the loss depends on nothing that requires a gradient")
        return gradients(loss, [edge_of(p) for p in self.parameters.values()], retain_graph=retain_graph)

    def _limits(self) -> list[float]:
        """The present limits of the norm of the gradient and, before that, of the magnitude of each element."""
        return [math.inf if getattr(self, name) is None else self.value(name) for name in ("clip_norm", "clip_value")]

    def _norm(self, grads):
        """The norm of the gradient after its elements are clipped; in a captured step an array on the device.

        NonFiniteError for a gradient that is not finite, except in a captured step.
        """
        present = [g for g in grads if g is not None]
        if not present:
            return 0.0
        measure = kernel("norm", device_of(self.flat))
        if capturing():
            bound = step_numbers(lambda: self._limits()[1:], array_module(self.flat), self.flat.dtype)
            norm = measure(present, bound[0])
            watch_finite("the norm of the gradient", norm)
            return norm
        norm = float(measure(present, self._limits()[1]))
        if not math.isfinite(norm):
            bad = [n for n, g in zip(self.parameters, grads, strict=True) if g is not None and not is_finite(g)]
            raise NonFiniteError(f"the gradient of {bad[0]!r} is not finite")
        return norm

    def _update(self, members: list[int], grads, norm) -> None:
        """Apply the rule to parameters that lie side by side in the flat buffer and were updated equally often."""
        part, xp = slice(self.slices[members[0]].start, self.slices[members[-1]].stop), array_module(self.flat)
        captured = capturing()

        def numbers() -> list[float]:
            limit, bound = self._limits()
            factor = limit if captured else limit / norm if norm > limit else 1.0
            return list(self.numbers(int(self.updates[members[0]]) + 1, factor=factor, bound=bound))

        array = step_numbers(numbers, xp, self.flat.dtype)
        if captured:  # compute the factor, the first number of each rule, on the device, where the norm is
            limit = array[0]
            array[0] = xp.where(norm > limit, limit / norm, xp.ones_like(limit))
        states = [self.state[name][part] for name in self.buffers]
        update = kernel(self.rule.__name__, device_of(self.flat))
        update(self.flat[part], grads[members[0] : members[-1] + 1], *states, array)

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
