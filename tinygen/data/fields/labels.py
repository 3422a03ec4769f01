"""Fields of one or a few numbers for each example: a class, or attributes."""

from dataclasses import dataclass

import numpy as np

from tinygen.data.fields.base import Field, as_strings, note
from tinygen.errors import DataError


@dataclass(frozen=True)
class Labels(Field):
    """A class for each example.

    Given as integers from 0, or as strings, which are numbered in their sorted order; stored and in a batch int64 (N,).
    """

    classes: int | None = None
    names: tuple[str, ...] | None = note()
    is_picture = False

    def __post_init__(self):
        self._set(names=as_strings(self.names))
        if self.names is not None and self.classes is None:
            self._set(classes=len(self.names))

    @property
    def shape(self):
        return ()

    def fit(self, arrays):
        given = {where: np.asarray(array) for where, array in arrays.items()}
        if given and all(array.dtype.kind == "U" for array in given.values()):
            return self._with(names=sorted(set(np.concatenate([a.ravel() for a in given.values()]).tolist())))
        if self.classes is not None or not given:
            return self
        largest = max(int(self.store(where, array).max(initial=-1)) for where, array in given.items())
        return self._with(classes=largest + 1)

    def store(self, where, array):
        y = np.asarray(array)
        if y.dtype.kind == "U" and self.names is not None:
            y = self._numbered(where, y)
        if y.ndim != 1 or y.dtype.kind not in "iub":
            raise DataError(f"{where} has shape {y.shape} and dtype {y.dtype}; labels are integers of shape (N,)")
        y = y.astype(np.int64)
        if y.min(initial=0) < 0:
            raise DataError(f"{where} holds the label {y.min()}; labels count from 0")
        if self.classes is not None and y.max(initial=0) >= self.classes:
            what = f"has no name: there are only {len(self.names)} names" if self.names else "is unknown"
            raise DataError(f"{where}: label {y.max()} {what}; the {self.classes} classes are 0 to {self.classes - 1}")
        return y

    def _numbered(self, where, words):
        numbers = {name: number for number, name in enumerate(self.names or ())}
        if unknown := sorted(set(words.ravel().tolist()) - numbers.keys()):
            raise DataError(f"{where} holds {unknown[0]!r}, which is no class: add it to the names")
        return np.array([numbers[word] for word in words.ravel().tolist()], np.int64).reshape(words.shape)

    def value(self, stored):
        return np.array(stored, np.int64)

    def draw(self, value):
        return self.names[int(value)] if self.names else str(int(value))

    def in_words(self):
        return "labels" if self.classes is None else f"labels of {self.classes} classes"


@dataclass(frozen=True)
class Attributes(Field):
    """Several properties of each example, each with a name: (N, attributes), float32 in a batch.

    `binary` ones are 0 or 1, given as such, as booleans, or as -1 and 1; the others are real numbers.
    """

    names: tuple[str, ...] | None = None
    binary: bool | None = None
    is_picture = False

    def __post_init__(self):
        self._set(names=as_strings(self.names))

    @property
    def shape(self):
        return (len(self.names or ()),)

    def fit(self, arrays):
        given = [self._checked(where, array) for where, array in arrays.items()]
        if not given:
            return self
        binary = all(np.isin(array, (0, 1)).all() or np.isin(array, (-1, 1)).all() for array in given)
        return self._with(names=[f"attribute {i}" for i in range(given[0].shape[1])], binary=binary)

    def store(self, where, array):
        a = self._checked(where, array)
        if not self.binary:
            return a.astype(np.float32)
        if not (np.isin(a, (0, 1)).all() or np.isin(a, (-1, 1)).all()):
            raise DataError(f"{where} holds other values than 0 and 1, or -1 and 1; use Attributes(binary=False)")
        return (a > 0).astype(np.uint8)

    def _checked(self, where, array):
        a = np.asarray(array)
        expected = f"(N, {len(self.names)})" if self.names else "(N, attributes)"
        if a.ndim != 2 or a.dtype.kind not in "iubf" or (self.names and a.shape[1] != len(self.names)):
            raise DataError(f"{where} has shape {a.shape} and dtype {a.dtype}; attributes are numbers {expected}")
        if not np.isfinite(a).all():
            raise DataError(f"{where} holds NaN or infinite values; attributes are finite")
        return a

    def value(self, stored):
        return np.array(stored, np.float32)

    def draw(self, value):
        pairs = list(zip(self.names or (), np.asarray(value), strict=True))
        if self.binary:
            return ", ".join(name for name, on in pairs if on > 0.5)
        return ", ".join(f"{name} {number:.3g}" for name, number in pairs)

    def in_words(self):
        kind = {None: "", True: "binary ", False: "real "}[self.binary]
        return f"{len(self.names)} {kind}attributes" if self.names else f"{kind}attributes"
