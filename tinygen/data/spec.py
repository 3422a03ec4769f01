"""What a data set holds, so that a model can refuse it before the first step."""

from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["binary", "grey", "rgb", "index", "sequence", "points"]


@dataclass(frozen=True)
class Spec:
    """The description that a `Dataset` carries."""

    name: str
    shape: tuple[int, ...]
    """Of one example: (height, width, channels) for images, (coordinates,) for points."""
    kind: Kind
    """binary: 0 or 1; grey, rgb: values in [0, 1]; index: positions in a palette; sequence: tokens; points: any."""
    classes: int | None = None
    """Number of classes, None where there are no labels."""
    class_names: tuple[str, ...] | None = None
    binarisation: Literal["dynamic", "threshold"] | None = None
    """How grey images were made binary, which a likelihood must be quoted with; None where they were not."""
    limits: tuple[float, float] | None = None
    """Of kind "points": where nearly all coordinates lie, which is what pictures show."""
    palette: Any | None = field(default=None, compare=False)
    """Colours of kind "index", uint8 of shape (colours, 3)."""
