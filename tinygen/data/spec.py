"""What a data set holds, so that a model can refuse it before the first step."""

from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["binary", "grey", "rgb", "index", "sequence"]


@dataclass(frozen=True)
class Spec:
    """The description that a `Dataset` carries."""

    name: str
    shape: tuple[int, ...]
    """Of one example: (height, width, channels) for images."""
    kind: Kind
    """binary: 0 or 1; grey, rgb: values in [0, 1]; index: positions in a palette; sequence: tokens."""
    classes: int | None = None
    """Number of classes, None where there are no labels."""
    class_names: tuple[str, ...] | None = None
    binarisation: Literal["dynamic", "threshold"] | None = None
    """How grey images were made binary, which a likelihood must be quoted with; None where they were not."""
    palette: Any | None = field(default=None, compare=False)
    """Colours of kind "index", uint8 of shape (colours, 3)."""
