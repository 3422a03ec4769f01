"""Points in a space of few or many dimensions."""

from dataclasses import dataclass

import numpy as np

from tinygen.data.fields.base import Field, note
from tinygen.errors import DataError


@dataclass(frozen=True)
class Points(Field):
    """Vectors of real numbers: (N, dimensions), or (N,) for one dimension; float32 (N, dimensions) in a batch."""

    dimensions: int | None = None
    limits: tuple[float, float] | None = note()
    """The range of coordinates that pictures show."""
    samples_shown = 2500
    is_picture = False  # a single point is drawn as text; `tinygen.train.images` draws many

    def __post_init__(self):
        if self.limits is not None:
            low, high = self.limits
            self._set(limits=(float(low), float(high)))

    @property
    def shape(self):
        return (self.dimensions,)

    def fit(self, arrays):
        stored = [self.store(where, array) for where, array in arrays.items()]
        if not stored:
            return self
        limits = min(float(x.min(initial=0)) for x in stored), max(float(x.max(initial=0)) for x in stored)
        return self._with(dimensions=stored[0].shape[1], limits=limits)

    def store(self, where, array):
        x = np.asarray(array)
        x = x[:, None] if x.ndim == 1 else x
        if x.ndim != 2 or x.dtype.kind not in "iuf" or self.dimensions not in (None, x.shape[1]):
            expected = f"(N, {self.dimensions or 'dimensions'})"
            raise DataError(f"{where} has shape {x.shape} and dtype {x.dtype}; points are numbers of shape {expected}")
        if not np.isfinite(x).all():
            raise DataError(f"{where} holds NaN or infinite values; points are finite")
        return x.astype(np.float32)

    def value(self, stored):
        return np.array(stored)

    def draw(self, value):
        return f"({', '.join(f'{number:.3g}' for number in np.asarray(value))})"

    def in_words(self):
        return "points" if self.dimensions is None else f"{self.dimensions}-dimensional points"
