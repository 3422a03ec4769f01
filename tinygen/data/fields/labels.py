"""Fields of one or a few numbers for each example: a class, or attributes."""

import dataclasses
from dataclasses import dataclass

import numpy as np

from tinygen.data.fields.base import Field, as_strings, natural_order, note
from tinygen.data.fields.numbering import in_words, is_one_hot, positions
from tinygen.errors import DataError


@dataclass(frozen=True)
class Labels(Field):
    """A class for each example.

    Given as whole numbers, as strings, which are numbered in natural order ("2" before "10"), or as one-hot rows;
    stored, and in a batch, as int64 (N,). Numbers that are not 0, 1, 2, ... without a gap, such as 1 to 26, are
    renumbered in their order.
    """

    classes: int | None = None
    names: tuple[str, ...] | None = note()
    ids: tuple[int, ...] | None = note()
    """The integers that were given for the classes, in order, if these were not 0, 1, 2, ..."""
    is_picture = False

    def __post_init__(self):
        self._set(names=as_strings(self.names))
        if self.ids is not None:
            self._set(ids=tuple(map(int, self.ids)), classes=len(self.ids))
        if self.names is not None and self.classes is None:
            self._set(classes=len(self.names))

    @property
    def shape(self):
        return ()

    def fit(self, arrays):
        arrays_by_name = {where: _as_given(array) for where, array in arrays.items()}
        if not arrays_by_name or self.ids is not None:
            return self
        if all(array.dtype.kind == "U" for array in arrays_by_name.values()):
            distinct = np.unique(np.concatenate([array.ravel() for array in arrays_by_name.values()]))
            _refuse_identifiers(arrays_by_name, distinct)
            return self._with(names=sorted(distinct.tolist(), key=natural_order))
        if all(map(is_one_hot, arrays_by_name.values())):
            return self._with(classes=next(iter(arrays_by_name.values())).shape[1])
        checked = [self._integers(where, array) for where, array in arrays_by_name.items()]
        distinct = np.unique(np.concatenate(checked))
        if self.classes is not None and (distinct.max(initial=0) < self.classes or len(distinct) != self.classes):
            return self
        _refuse_identifiers(arrays_by_name, distinct)
        if distinct.max(initial=-1) == len(distinct) - 1:
            return self._with(classes=len(distinct))
        return dataclasses.replace(self, ids=distinct.tolist(), names=self.names or [str(label) for label in distinct])

    def store(self, where, array):
        y = _as_given(array)
        if y.dtype.kind == "U" and self.names is not None:
            y = self._numbers_of_names(where, y)
        y = self._integers(where, y)
        if self.ids is not None:
            return positions(where, y, self.ids)
        if self.classes is not None and y.max(initial=0) >= self.classes:
            what = f"has no name: there are only {len(self.names)} names" if self.names else "is unknown"
            raise DataError(f"{where}: label {y.max()} {what}; the {self.classes} classes are 0 to {self.classes - 1}")
        return y

    def renumbering_in_words(self):
        return None if self.ids is None else in_words(self.ids)

    def _integers(self, where, array):
        if is_one_hot(array):
            return array.argmax(axis=1)
        if array.ndim != 1 or array.dtype.kind not in "iubf":
            form = f"shape {array.shape} and dtype {array.dtype}"
            raise DataError(f"{where} has {form}; labels are integers of shape (N,), or one-hot rows (N, classes)")
        if array.dtype.kind == "f" and len(odd := array[array != np.rint(array)]):
            remedy = "give whole numbers, or take them as numbers (KEY:attributes)"
            raise DataError(f"{where} holds {odd[0]:g}; labels are classes: {remedy}")
        y = array.astype(np.int64)
        if y.min(initial=0) < 0:
            remedy = "leave out examples without a label, or number the classes from 0"
            raise DataError(f"{where} holds the label {y.min()}; labels count from 0: {remedy}")
        return y

    def _numbers_of_names(self, where, words):
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


def _as_given(array):
    """Labels as an array: bytes and objects of text as strings, a single column (N, 1) flat."""
    y = np.asarray(array)
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.dtype.kind == "S":
        return np.char.decode(y, "utf-8", "replace")
    if y.dtype.kind == "O" and all(isinstance(each, str) for each in y.ravel()):
        return y.astype(str)
    return y


MOST_CLASSES = 100
"""More different labels than this, with few examples each, are taken to be identifiers of examples."""


def _refuse_identifiers(arrays, labels):
    """DataError if there are so many different labels that they identify examples, and are not classes."""
    where, n = next(iter(arrays)), sum(map(len, arrays.values()))
    if len(labels) > max(MOST_CLASSES, n / 2):
        what = f"{where} holds {len(labels)} different labels in {n} examples: these are ids, not classes"
        key = where.rpartition("_")[0] or where
        raise DataError(f"{what}; name other labels with fields ({key}=KEY), or take them as numbers (KEY:attributes)")


@dataclass(frozen=True)
class Attributes(Field):
    """Several properties of each example, each with a name: (N, attributes), float32 in a batch.

    If `binary`, they are 0 or 1, given as such, as booleans, or as -1 and 1; else they are real numbers.
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
        checked = [self._checked(where, array) for where, array in arrays.items()]
        if not checked:
            return self
        binary = all(np.isin(array, (0, 1)).all() or np.isin(array, (-1, 1)).all() for array in checked)
        return self._with(names=[f"attribute {i}" for i in range(checked[0].shape[1])], binary=binary)

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
