"""The base of all optimisers: parameters side by side in memory, gradients, clipping, state."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import compress, groupby, pairwise
from typing import Any, NamedTuple

import numpy as np

from tinygen import words
from tinygen.arguments import is_in_range, plain
from tinygen.autograd import edge_of, gradients, is_finite
from tinygen.backend import array_module, device_of, kernel, to_device, to_numpy
from tinygen.backend.capture import (
    advance,
    before_each_replay,
    capturing,
    forbid_in_capture,
    replayed,
    step_numbers,
    watch_finite,
)
from tinygen.errors import CaptureError, GradientError, NonFiniteError, UsageError
from tinygen.nn.module import Module, check_state, like
from tinygen.optim.schedules import Number, value_at
from tinygen.tensor import Tensor

FRACTIONS = ("momentum", "decay", "beta1", "beta2")  # hyper-parameters that must be below 1
OF_SOME = {*FRACTIONS, "lr", "eps", "weight_decay", "betas", "learning_rate", "rate", "alpha", "param_groups"}
"""Names of hyper-parameters, here or elsewhere, that are refused where an optimiser does not have them."""
Parameters = Module | dict[str, Any] | Sequence[Any]
"""A Module, parameters by name, a list of them, or a list of groups with hyper-parameters of their own."""


class Group(NamedTuple):
    """Parameters by name, and the hyper-parameters that are their own."""

    named: dict[str, Tensor]
    hyper: dict[str, Any]


def groups_of(owner: str, parameters: Parameters) -> list[Group]:
    """The groups of the parameters: one with the optimiser's hyper-parameters, or those of a list of dicts."""
    if not isinstance(parameters, list | tuple) or not any(isinstance(part, dict) for part in parameters):
        return [Group(_by_name(owner, parameters), {})]
    groups = []
    for i, part in enumerate(parameters):
        if not isinstance(part, dict) or "parameters" not in part:
            raise UsageError(f'{owner}: a group is a dict such as {{"parameters": [...], "weight_decay": 0.0}}')
        named = {f"{i}.{name}": p for name, p in _by_name(owner, part["parameters"]).items()}
        groups.append(Group(named, {name: value for name, value in part.items() if name != "parameters"}))
    return groups


def _by_name(owner: str, parameters: Parameters) -> dict[str, Any]:
    if isinstance(parameters, Module):
        return dict(parameters.named_parameters())
    if isinstance(parameters, dict):
        return dict(parameters)
    if isinstance(parameters, Tensor):
        raise UsageError(f"{owner}: takes a Module, a dict or a list of parameters; write [parameter] for one")
    return {str(i): p for i, p in enumerate(parameters)}


def checked_parameters(owner: str, groups: Sequence[Group]) -> dict[str, Tensor]:
    """The parameters of all groups by name; UsageError for what cannot be optimised."""
    named = {name: p for group in groups for name, p in group.named.items()}
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


def _check_loss(loss: float) -> None:
    if not math.isfinite(loss):
        raise NonFiniteError(f"the loss is {loss}")


class Place(NamedTuple):
    """Where the values of a parameter lie in a flat buffer: `view` is `buffer[part]` in the parameter's shape."""

    buffer: Any
    part: slice
    view: Any


def move_into_one_buffer(parameters: Sequence[Tensor]) -> None:
    """Move the values of parameters of one device and dtype into a new flat buffer, side by side."""
    xp = array_module(parameters[0].data)
    buffer = xp.concatenate([p.data.reshape(-1) for p in parameters])
    start = 0
    for p in parameters:
        part = slice(start, start + p.size)
        p.data = buffer[part].reshape(p.shape)
        p.place = Place(buffer, part, p.data)
        start = part.stop


class Optimizer(words.Explained):
    """The base of the optimisers.

    `parameters` is a Module, a dict of named parameters, or a list; or a list of groups, dicts of `parameters` and of
    hyper-parameters that the group has of its own, which `groups` holds. Their values move into one flat buffer, of
    which each parameter becomes a view; those that lie in the buffer of another optimiser stay there. `clip_norm`
    bounds the Euclidean norm of the whole gradient (Pascanu et al. 2013), `clip_value` each element.

    A subclass has a `rule`, the function of `tinygen.kernels.rules` whose kernel runs; `buffers`, the names of the
    state arrays of each parameter, in the order of the rule's arguments; and `numbers`, the rule's other arguments.
    """

    rule: Callable
    buffers: tuple[str, ...] = ()
    other_words = words.OPTIMISER

    def __init__(
        self, parameters: Parameters, *, clip_norm: Number | None = None, clip_value: Number | None = None, **hyper
    ):
        owner = type(self).__name__
        groups = groups_of(owner, parameters)
        self.parameters = checked_parameters(owner, groups)
        self.clip_norm, self.clip_value = clip_norm, clip_value
        self.hyper: dict[str, Any] = {name: _checked(owner, name, value) for name, value in hyper.items()}
        self.groups = [self._own_hyper(group.hyper) for group in groups]
        self.group_of = [i for i, group in enumerate(groups) for _ in group.named]
        sizes = [p.size for p in self.parameters.values()]
        ends = np.cumsum(sizes).tolist()
        self.slices = [slice(end - n, end) for end, n in zip(ends, sizes, strict=True)]
        self.updates = np.zeros(len(sizes), np.int64)
        self.count = np.zeros((), np.int64)
        self.state = {name: np.zeros(ends[-1], next(iter(self.parameters.values())).dtype) for name in self.buffers}
        self._settle()

    def _own_hyper(self, hyper: dict[str, Any]) -> dict[str, Any]:
        """The hyper-parameters of a group; UsageError for one that the optimiser does not have."""
        owner = type(self).__name__
        if unknown := hyper.keys() - self.hyper.keys():
            raise UsageError(f"{owner}: a group has {min(unknown)!r}; it can have {', '.join(self.hyper)}")
        return {name: _checked(owner, name, value) for name, value in hyper.items()}

    def _settle(self) -> None:
        """Move the values of parameters that lie in no flat buffer into a new one, and the state to their device.

        Needed at first, after a copy of the optimiser was made, and after a module was moved or converted.
        """
        parameters = list(self.parameters.values())
        kinds = {(p.device, p.dtype) for p in parameters}
        if len(kinds) > 1:
            owner = type(self).__name__
            raise UsageError(f"{owner}: parameters differ in device or dtype: {sorted(map(str, kinds))}")
        elsewhere = [p for p in parameters if p.place is None or p.data is not p.place.view]
        if elsewhere:
            move_into_one_buffer(elsewhere)
        ((device, dtype),) = kinds
        self.state = {name: to_device(array, device).astype(dtype, copy=False) for name, array in self.state.items()}
        self.places = [p.place for p in parameters]
        gaps = [b.buffer is not a.buffer or b.part.start != a.part.stop for a, b in pairwise(self.places)]
        self.runs = [0, *np.cumsum(gaps).tolist()]  # parameters of one run lie side by side

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("places", "runs")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._settle()

    def __getattr__(self, name: str) -> Any:
        """A hyper-parameter, as it was set: a number or a schedule."""
        if name in (hyper := self.__dict__.get("hyper", {})):
            return hyper[name]
        raise words.missing(f"{type(self).__name__!r} object", name, self.other_words)

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

    def value(self, name: str, group: int | None = None) -> float:
        """The present value of a hyper-parameter, of a group where it has its own; UsageError for one out of range."""
        hyper = self.hyper[name] if name in self.hyper else getattr(self, name)
        hyper = hyper if group is None else self.groups[group].get(name, hyper)
        value = value_at(hyper, int(self.count))
        if not 0 <= value < _bound(name):
            owner, limit = type(self).__name__, " and below 1" if name in FRACTIONS else ""
            raise UsageError(f"{owner}: {name} is {value} at step {self.count}; it must be at least 0{limit}")
        return value

    def numbers(self, t: int, value: Callable[[str], float], **clipping: float) -> NamedTuple:
        """The numbers of the rule for update t = 1, 2, ... of parameters.

        `value` gives the present value of each hyper-parameter, `clipping` are the rule's `factor` and `bound`.
        """
        raise NotImplementedError

    def step(self, loss: Tensor | None = None, *, retain_graph: bool = False) -> None:
        """Update the parameters down the gradient of `loss`, or down their `.grad`, which is then cleared.

        With a loss no `.grad` changes, and gradients of only this optimiser's parameters are computed. A parameter
        without a gradient keeps its value and its state. NonFiniteError is raised before anything has changed; for the
        check the host waits once for a GPU. A captured step does not check, see `tinygen.capture`.
        """
        parameters = list(self.parameters.values())
        if self._has_moved():
            forbid_in_capture("a step of an optimiser whose parameters were moved or converted")
            self._settle()
        before_each_replay(self._check_replay)
        grads = self._given_gradients() if loss is None else self._gradients_of(loss, retain_graph)
        present = [g is not None for g in grads]
        self._check_not_replaced(present)
        norm = self._norm(grads, loss)
        kinds = list(zip(present, self.updates.tolist(), self.runs, self.group_of, strict=True))
        for (has_gradient, *_), members in groupby(range(len(grads)), kinds.__getitem__):
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

    def _has_moved(self) -> bool:
        """Whether a parameter's values lie elsewhere than at the last step."""
        return any(p.data is not at.view for p, at in zip(self.parameters.values(), self.places, strict=True))

    def _check_replay(self, sign: int) -> None:
        """CaptureError before a replay, which would update the memory where the parameters were."""
        if self._has_moved():
            owner = type(self).__name__
            raise CaptureError(f"{owner}: parameters were moved after the update was captured; capture it again")

    def _check_not_replaced(self, present: Sequence[bool]) -> None:
        """GradientError for a parameter without a gradient in whose place its module has another one."""
        for (name, p), has_gradient in zip(self.parameters.items(), present, strict=True):
            if not has_gradient and getattr(p, "replaced", False):
                owner = type(self).__name__
                raise GradientError(f"{owner}: {name!r} was replaced in its module; make the optimiser after that")

    def _given_gradients(self) -> list[Any]:
        """The `.grad` of each parameter, or None."""
        grads = [None if p.grad is None else p.grad.data for p in self.parameters.values()]
        for (name, p), g in zip(self.parameters.items(), grads, strict=True):
            if g is not None and (g.shape != p.shape or g.dtype != p.dtype):
                raise GradientError(
                    f"{type(self).__name__}: {name!r} {p.dtype} {p.shape} has a gradient {g.dtype} {g.shape}"
                )
        return grads

    def _gradients_of(self, loss: Tensor, retain_graph: bool) -> list[Any]:
        """The gradient of a loss with respect to each parameter, None if it does not depend on one."""
        owner = type(self).__name__
        if not isinstance(loss, Tensor) or loss.size != 1:
            raise GradientError(f"{owner}: the loss must be a Tensor of one number")
        watch_finite("the loss", loss.data)
        if loss.device == "cpu":  # on a GPU `_norm` checks it, and waits for both numbers at once
            value = loss.data
            replayed(lambda: _check_loss(value.item()))
        if not loss.requires_grad:
            raise GradientError(f"{owner}: the loss depends on nothing that requires a gradient")
        return gradients(loss, [edge_of(p) for p in self.parameters.values()], retain_graph=retain_graph)

    def _limits(self) -> list[float]:
        """The present limits of the norm of the gradient and, before that, of the magnitude of each element."""
        return [math.inf if getattr(self, name) is None else self.value(name) for name in ("clip_norm", "clip_value")]

    def _norm(self, grads, loss: Tensor | None):
        """The norm of the gradient after its elements are clipped; in a captured step an array on the device.

        NonFiniteError for a loss or a gradient that is not finite, except in a captured step.
        """
        present = [g for g in grads if g is not None]
        if not present:
            return 0.0
        measure = kernel("norm", device_of(present[0]))
        if capturing():
            bound = step_numbers(lambda: self._limits()[1:], array_module(present[0]), present[0].dtype)
            norm = measure(present, bound[0])
            watch_finite("the norm of the gradient", norm)
            return norm
        if loss is None or loss.device == "cpu":
            return replayed(lambda: self._checked_norm(float(measure(present, self._limits()[1])), grads))
        xp = array_module(loss.data)
        both = xp.stack([loss.data.reshape(()), xp.asarray(measure(present, self._limits()[1]), loss.dtype)])
        loss_value, norm = to_numpy(both).tolist()
        _check_loss(loss_value)
        return self._checked_norm(norm, grads)

    def _checked_norm(self, norm: float, grads) -> float:
        """The norm; NonFiniteError, which names a parameter, if it is not finite."""
        if not math.isfinite(norm):
            bad = [n for n, g in zip(self.parameters, grads, strict=True) if g is not None and not is_finite(g)]
            raise NonFiniteError(f"the gradient of {bad[0]!r} is not finite")
        return norm

    def _update(self, members: list[int], grads, norm) -> None:
        """Apply the rule to parameters that lie side by side in a flat buffer and were updated equally often."""
        first, last = members[0], members[-1]
        values = self.places[first].buffer[self.places[first].part.start : self.places[last].part.stop]
        part, xp = slice(self.slices[first].start, self.slices[last].stop), array_module(values)
        captured = capturing()

        def numbers() -> list[float]:
            limit, bound = self._limits()
            factor = limit if captured else limit / float(norm) if norm > limit else 1.0
            value = partial(self.value, group=self.group_of[first])
            return list(self.numbers(int(self.updates[first]) + 1, value, factor=factor, bound=bound))

        array = step_numbers(numbers, xp, values.dtype)
        if captured:  # compute the factor, the first number of each rule, on the device, where the norm is
            limit = array[0]
            array[0] = xp.where(norm > limit, limit / norm, xp.ones_like(limit))
        states = [self.state[name][part] for name in self.buffers]
        update = kernel(self.rule.__name__, device_of(values))
        update(values, grads[first : last + 1], *states, array)

    def state_dict(self) -> dict[str, Any]:
        """State by parameter name, whatever its order in memory: views and 0-d counters."""
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
