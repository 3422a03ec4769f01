"""One minibatch of named arrays."""

from dataclasses import dataclass, fields
from typing import Any

from tinygen import backend


@dataclass(frozen=True, eq=False)
class Batch:
    """Arrays that agree in their first axis, the examples; what a data set does not have is None."""

    x: Any
    """Images: float32 in [0, 1], shape (N, H, W, C); points: float32, shape (N, D)."""
    y: Any | None = None
    """Class labels: int64, shape (N,)."""
    target: Any | None = None
    """What x should become, for paired data: as x."""
    length: Any | None = None
    """Valid steps of each sequence: int64, shape (N,)."""

    def __len__(self) -> int:
        return len(self.x)

    def to(self, device: str) -> "Batch":
        """The same batch on a device, "cpu" or "cuda"."""
        return Batch(
            **{
                each.name: backend.to_device(array, device)
                for each in fields(self)
                if (array := getattr(self, each.name)) is not None
            }
        )
