"""Modules: trees of named parameters, buffers and whatever else has a state."""

from collections import deque
from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

import numpy as np

from tinygen import words
from tinygen.backend import array_module, is_array, to_device, to_numpy
from tinygen.errors import CheckpointError, DtypeError, GradientError, UsageError
from tinygen.primitive import FLOATS
from tinygen.tensor import Tensor, tensor


class Parameter(Tensor):
    """A leaf that a module owns and an optimiser updates."""

    __slots__ = ()
    replaced = False
    """Whether an attribute of a module that held it, or the module around it, was given another value."""

    def __init__(self, data, requires_grad: bool = True):
        values = tensor(data, getattr(data, "dtype", None)).data
        if values.dtype not in FLOATS:
            raise DtypeError(f"Parameter: parameters are float32 or float64, not {values.dtype}")
        super().__init__(values, requires_grad)

    def _rebound(self, other):
        raise GradientError("p += x would rebind the name and leave the parameter as it is: write p.assign(p + x)")

    __iadd__ = __isub__ = __imul__ = __itruediv__ = __ipow__ = _rebound


@runtime_checkable
class Stateful(Protocol):
    """An object whose arrays can be saved: a module, an optimiser, a moving average."""

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class Module(words.Explained):
    """A network, or a part of one. Its state is found in its attributes, by their names.

    A Parameter is trained; a NumPy or CuPy array is a buffer (running statistics, counters as 0-d int64 arrays):
    saved, not trained. Anything else with `state_dict` (an optimiser, a moving average) is saved with the module.
    In lists, tuples, deques and dicts, also inside each other, all of these but arrays are found too, by index or key.
    """

    training = True
    other_words = words.MODULE

    def __setattr__(self, name: str, value: Any) -> None:
        before = vars(self).get(name)
        if isinstance(before, Parameter) and not isinstance(value, Parameter | None):
            raise UsageError(
                f"{type(self).__name__}: {name} is a Parameter; {name}.assign(values) changes its values, "
                f"{name} = nn.Parameter(values) replaces it"
            )
        if before is not None and before is not value:
            for parameter in parameters_in(before):
                parameter.replaced = True
        object.__setattr__(self, name, value)

    def __call__(self, *args, **kwargs):
        return self.forward(*args, **kwargs)

    def forward(self, *args, **kwargs):
        """Compute the module's output; called by `module(...)`."""
        raise NotImplementedError(f"{type(self).__name__} defines no forward")

    def _items(self) -> Iterator[tuple[str, Any]]:
        for name, value in vars(self).items():
            if isinstance(value, CONTAINERS):
                yield from _items_in(type(self).__name__, name, value)
            else:
                yield name, value

    def children(self) -> list[tuple[str, "Module"]]:
        """Modules directly below, with their names."""
        return [(name, value) for name, value in self._items() if isinstance(value, Module)]

    def modules(self) -> Iterator["Module"]:
        """This module and all below it."""
        yield self
        for _, child in self.children():
            yield from child.modules()

    def named_parameters(self, prefix: str = "") -> dict[str, Parameter]:
        """Parameters by dotted name, in the order of assignment; a shared one has one name."""
        named: dict[str, Parameter] = {}
        for name, value in self._items():
            if isinstance(value, Parameter):
                named[prefix + name] = value
            elif isinstance(value, Module):
                named |= value.named_parameters(f"{prefix}{name}.")
        unique: dict[int, str] = {}
        return {name: p for name, p in named.items() if unique.setdefault(id(p), name) == name}

    def parameters(self) -> list[Parameter]:
        """Parameters in the order of assignment."""
        return list(self.named_parameters().values())

    def train(self, mode: bool = True) -> "Module":
        """Set training mode (dropout draws, batch norm uses the batch) here and below."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> "Module":
        """Set evaluation mode here and below."""
        return self.train(False)

    def requires_grad(self, value: bool = True) -> "Module":
        """Set whether gradients of the parameters here and below are computed."""
        for parameter in self.parameters():
            parameter.requires_grad = value
        return self

    def state_dict(self) -> dict[str, Any]:
        """Every array of the state by dotted name, not copied: of parameters, buffers and other `Stateful` objects."""
        state: dict[str, Any] = {}
        for name, value in self._items():
            if isinstance(value, Parameter):
                state[name] = value.data
            elif is_array(value):
                state[name] = value
            elif isinstance(value, Stateful):
                state |= {f"{name}.{key}": array for key, array in value.state_dict().items()}
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Copy a state into this module; CheckpointError if a name or a shape does not match."""
        check_state(type(self).__name__, self.state_dict(), state)
        for name, value in self._items():
            if isinstance(value, Parameter):
                value.assign(state[name])
            elif is_array(value):
                value[...] = like(state[name], value)
            elif isinstance(value, Stateful):
                start = f"{name}."
                value.load_state_dict({key[len(start) :]: a for key, a in state.items() if key.startswith(start)})

    def _convert(self, change) -> "Module":
        for module in self.modules():
            for name, value in list(module._items()):
                if isinstance(value, Parameter):
                    value.data = change(value.data)
                    value.version += 1
                elif is_array(value):
                    setattr(module, name, change(value))
        return self

    def to(self, device: str) -> "Module":
        """Move parameters and buffers to `"cpu"` or `"cuda"`; optimisers follow."""
        return self._convert(lambda array: to_device(array, device))

    def astype(self, dtype) -> "Module":
        """Convert floating-point parameters and buffers; optimisers follow."""
        if np.dtype(dtype).kind != "f":
            raise DtypeError(f"astype: parameters are floats, not {dtype}")
        return self._convert(lambda array: array.astype(dtype) if array.dtype.kind == "f" else array)

    def summary(self) -> str:
        """A table of the parameters, and their number."""
        rows = [(name, str(p.shape), f"{p.size:,}") for name, p in self.named_parameters().items()]
        rows.append(("total", "", f"{sum(p.size for p in self.parameters()):,}"))
        widths = [max(len(row[i]) for row in rows) for i in range(3)]
        return "\n".join(f"{n:<{widths[0]}}  {s:<{widths[1]}}  {c:>{widths[2]}}" for n, s, c in rows)

    def __repr__(self) -> str:
        size = sum(p.size for p in self.parameters())
        lines = [f"{type(self).__name__}({size:,} parameters)"]
        lines += [f"  {name}: {child!r}".replace("\n", "\n  ") for name, child in self.children()]
        return "\n".join(lines)


CONTAINERS = list, tuple, dict, deque, set, frozenset


def _items_in(owner: str, name: str, container) -> Iterator[tuple[str, Any]]:
    """Parameters and objects with a state in a container, by dotted names."""
    inside = container.items() if isinstance(container, dict) else enumerate(container)
    for key, value in inside:
        if isinstance(value, CONTAINERS):
            yield from _items_in(owner, f"{name}.{key}", value)
        elif isinstance(value, Parameter | Stateful):
            if isinstance(container, set | frozenset):
                raise UsageError(
                    f"{owner}: {name} is a set, which has no order; keep a {type(value).__name__} in a list"
                )
            yield f"{name}.{key}", value


def parameters_in(value) -> list[Parameter]:
    """A Parameter itself, or those of a module or a container; an empty list for anything else."""
    if isinstance(value, Parameter):
        return [value]
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, CONTAINERS) else []
    return value.parameters() if isinstance(value, Module) else [p for each in inside for p in parameters_in(each)]


def like(array, other):
    """The values of an array, on the device of another one."""
    xp = array_module(other)
    return array if array_module(array) is xp else xp.asarray(to_numpy(array))


def check_state(owner: str, own: dict[str, Any], given: dict[str, Any]) -> None:
    """CheckpointError for a state whose names or shapes are not the owner's."""
    if missing := own.keys() - given.keys():
        raise CheckpointError(f"{owner}: the state lacks {min(missing)!r} ({len(missing)} missing)")
    if unknown := given.keys() - own.keys():
        raise CheckpointError(f"{owner}: the state has an unknown {min(unknown)!r} ({len(unknown)} unknown)")
    for name, array in own.items():
        if tuple(given[name].shape) != array.shape:
            raise CheckpointError(
                f"{owner}: {name!r} has shape {tuple(given[name].shape)} in the state, {array.shape} here"
            )


def check_positive(layer: Module, **sizes: int) -> None:
    """UsageError for a size that is not a whole number of at least 1."""
    for name, size in sizes.items():
        if not isinstance(size, int | np.integer) or size < 1:
            raise UsageError(f"{type(layer).__name__}: {name} is {size!r}; it must be a whole number of at least 1")
