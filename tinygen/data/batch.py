"""One minibatch of named arrays."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygen import backend


class Batch(Mapping[str, Any]):
    """The fields of some examples, as a mapping: `batch["x"]`, or `batch.x`; `len(batch)` is the number of examples.

    Images are float32 in [0, 1], (N, H, W, C); labels int64 (N,); for other fields see their docstrings. An array
    alone is the field x: `Batch(images, y=labels)`.
    """

    __slots__ = ("_values",)
    __hash__ = object.__hash__
    __eq__ = object.__eq__

    def __init__(self, values: Any = (), /, **more: Any):
        self._values = (dict(values) if isinstance(values, Mapping | tuple) else {"x": values}) | more

    def __getitem__(self, name: str) -> Any:
        try:
            return self._values[name]
        except KeyError:
            raise KeyError(self._no_field(name)) from None

    def __getattr__(self, name: str) -> Any:
        if name in Batch.__slots__:  # an object that is being copied has no values yet
            raise AttributeError(name)
        try:
            return self._values[name]
        except KeyError:
            raise AttributeError(self._no_field(name)) from None

    def _no_field(self, name: str) -> str:
        return f"the batch has no field {name!r}; it has {', '.join(self._values) or 'none'}"

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def __len__(self) -> int:
        return len(next(iter(self._values.values()), ()))

    def __repr__(self) -> str:
        shapes = (f"{name} {getattr(value, 'shape', '')}" for name, value in self.items())
        return f"Batch({', '.join(shapes)})"

    def to(self, device: str) -> "Batch":
        """The same batch on a device, "cpu" or "cuda"."""
        return Batch({name: moved(value, device) for name, value in self.items()})


@dataclass(frozen=True, eq=False)
class Padded:
    """Sequences of different lengths in one array, padded at their ends."""

    values: Any
    """(N, T); 0 after the end of a sequence."""
    length: Any
    """Number of valid steps of each sequence: int64 (N,)."""

    @property
    def shape(self) -> tuple[int, ...]:
        return self.values.shape

    @property
    def mask(self) -> Any:
        """Which steps are valid: bool (N, T)."""
        steps = backend.array_module(self.values).arange(self.values.shape[1])
        return steps < self.length[:, None]

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, which: Any) -> Any:
        """The valid steps of one sequence; for a slice, or an array of positions, a `Padded` of those sequences."""
        if isinstance(which, slice) or np.ndim(which):
            return Padded(self.values[which], self.length[which])
        return self.values[which, : int(self.length[which])]

    def __iter__(self) -> Iterator[Any]:
        return (self[example] for example in range(len(self)))

    @classmethod
    def of(cls, ids: Any) -> "Padded":
        """From sequences of integers (N, T) that end before their first -1, as systems return them."""
        length = np.logical_and.accumulate(np.asarray(ids) >= 0, axis=1).sum(axis=1)
        return cls(np.where(np.arange(ids.shape[1]) < length[:, None], ids, 0).astype(np.int64), length)

    def trimmed(self) -> "Padded":
        """The same sequences without the last steps if these are padding in all of them; at least one step stays."""
        return Padded(self.values[:, : max(1, int(self.length.max()))], self.length)

    def to(self, device: str) -> "Padded":
        return Padded(backend.to_device(self.values, device), backend.to_device(self.length, device))


def moved(value: Any, device: str) -> Any:
    """An array or a `Padded` on a device, "cpu" or "cuda"."""
    return value.to(device) if isinstance(value, Padded) else backend.to_device(value, device)
