"""The base of every field."""

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from tinygen.arguments import plain
from tinygen.errors import DataError, RunError


def note(default: Any = None) -> Any:
    """Declare an attribute that describes the data, but that no computation of a model depends on.

    `Field.accepts` does not compare it.
    """
    return dataclasses.field(default=default, metadata={"note": True})


@dataclass(frozen=True)
class Field:
    """What the numbers of one named array mean.

    An array has three forms: as the user gives it, as a split stores it (`store`), and as a batch holds it (`value`).
    Every attribute may be None. In a requirement None means "any" (`accepts`); when a data set is made, an attribute
    that is None is set from the arrays (`fit`). Attributes are plain values or tuples, which can be compared, and
    written to config.json (`describe`).
    """

    is_picture: ClassVar[bool] = True
    """Whether `draw` returns a picture, not a text."""
    is_sound: ClassVar[bool] = False
    """Whether examples can be heard: then `play` returns one."""
    is_moving: ClassVar[bool] = False
    """Whether an example is a sequence of pictures (T, H, W, C): then figures move, or show them one after another."""
    samples_shown: ClassVar[int] = 64
    """Examples in a picture of samples."""
    has_class_columns: ClassVar[bool] = False
    """Whether samples of a few classes are shown in a column for each."""
    completions_shown: ClassVar[int] = 10
    """Examples whose completions are shown."""
    _classes: ClassVar[dict[str, type["Field"]]] = {}

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        Field._classes[cls.__name__] = cls

    # What a subclass defines

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one example in a batch, without the axis of the examples."""
        raise NotImplementedError

    def fit(self, arrays: Mapping[str, Any]) -> Self:
        """This field, whose attributes that are None are set as far as the user's arrays determine them.

        The keys name the arrays in messages, such as "x_train". Raises DataError for an array of the wrong shape.
        """
        return self

    def store(self, where: str, array: Any) -> np.ndarray:
        """The user's array as a split stores it; DataError, naming `where` and the remedy, if it does not fit."""
        raise NotImplementedError

    def value(self, stored: np.ndarray) -> Any:
        """Stored examples (N, ...) in the form that a batch has: a new array, or a `Padded`."""
        raise NotImplementedError

    def draw(self, value: Any) -> np.ndarray | str:
        """One example of a batch in a form for people: a picture, uint8 (H, W, 3), or a text."""
        raise NotImplementedError

    def play(self, value: Any) -> bytes:
        """One example of a batch as the content of a `.wav` file; of fields of sound alone."""
        raise NotImplementedError

    def kept(self, values: Any, keep: int) -> Any:
        """Examples of a batch of which only the first `keep` rows, frames, samples or tokens are known, for `draw`.

        Only fields whose examples models complete have it.
        """
        raise NotImplementedError

    def in_words(self) -> str:
        """A plural noun with the attributes that are set, such as "28×28 grey images"; "images" if none is."""
        raise NotImplementedError

    def renumbering_in_words(self) -> str | None:
        """A sentence on how integers were numbered anew, and on those that do not occur; None if they were not."""
        return None

    # What every field can do

    def accepts(self, other: "Field") -> bool:
        """Whether another field meets this one as a requirement: it has the class and all attributes set here."""
        if not isinstance(other, type(self)):
            return False
        required = {each.name: getattr(self, each.name) for each in dataclasses.fields(self) if _is_compared(each)}
        return all(value is None or getattr(other, name) == value for name, value in required.items())

    def refusal(self, other: "Field") -> str | None:
        """Why the other field is not accepted, as text; None if it is."""
        return None if self.accepts(other) else f"takes {self.in_words()}, not {other.in_words()}"

    def describe(self) -> dict[str, Any]:
        """The entry of config.json: the name of the class and the attributes that are set."""
        known = {each.name: getattr(self, each.name) for each in dataclasses.fields(self) if each.compare}
        return {"field": type(self).__name__} | {name: plain(v) for name, v in known.items() if v is not None}

    @staticmethod
    def from_description(description: Mapping[str, Any]) -> "Field":
        """The field that was described; RunError for a class that this version does not have."""
        attributes = dict(description)
        name = attributes.pop("field")
        if name not in Field._classes:
            raise RunError(f"unknown field {name!r}: import the file that defines it, or use a newer tinygen")
        return Field._classes[name](**attributes)

    def _set(self, **attributes: Any) -> None:
        """Set attributes of this frozen dataclass, in `__post_init__`."""
        for name, value in attributes.items():
            object.__setattr__(self, name, value)

    def _with(self, **values: Any) -> Self:
        """This field with the given values for those of the named attributes that are None."""
        return dataclasses.replace(self, **{name: v for name, v in values.items() if getattr(self, name) is None})


def _is_compared(attribute: dataclasses.Field) -> bool:
    return attribute.compare and not attribute.metadata.get("note")


def with_rest(values: np.ndarray, keep: int, rest: Any) -> np.ndarray:
    """A copy of values (N, T, ...) with `rest` in place of those after the first `keep` along their second axis."""
    changed = values.copy()
    changed[:, keep:] = rest
    return changed


def as_strings(names: Any) -> tuple[str, ...] | None:
    """Names as a tuple; DataError if they are not a list of strings."""
    if names is None:
        return None
    listed = names.tolist() if isinstance(names, np.ndarray) else names
    if isinstance(listed, str) or not all(isinstance(name, str) for name in listed):
        array = np.asarray(names)
        raise DataError(f"the names have shape {array.shape} and dtype {array.dtype}; give a list of strings")
    return tuple(listed)


def natural_order(name: str) -> list:
    """A sorting key that orders numbers in names by their value: a2 before a10."""
    return [int(piece) if i % 2 else piece for i, piece in enumerate(re.split(r"(\d+)", name))]


def smallest_unsigned(count: int) -> np.dtype:
    """The smallest unsigned dtype that holds the numbers below `count`."""
    return np.min_scalar_type(max(count - 1, 0))
