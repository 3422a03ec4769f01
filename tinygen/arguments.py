"""Numbers that a user gives: NumPy's become Python's, and those out of range are refused in one line."""

import dataclasses
import functools
import math
import os
from collections.abc import Mapping
from types import NoneType
from typing import Any, get_args

import numpy as np

from tinygen.errors import UsageError


def plain(value: Any) -> Any:
    """A scalar of NumPy, or an array without axes, as a Python number; in tuples, lists and dicts too."""
    if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and value.ndim == 0):
        return value.item()
    if isinstance(value, tuple | list) and type(value) in (tuple, list):
        return type(value)(map(plain, value))
    return {plain(key): plain(each) for key, each in value.items()} if isinstance(value, Mapping) else value


def whole(name: str, value: Any, least: int | None = 1) -> int:
    """A whole number, as an int; UsageError, with the name, for anything else, and for one below `least`."""
    number = plain(value)
    if not isinstance(number, int) or isinstance(number, bool) or (least is not None and number < least):
        limit = "" if least is None else f" of at least {least}"
        raise UsageError(f"{name} is {value!r}; it must be a whole number{limit}")
    return number


def is_in_range(value: Any, below: float = math.inf) -> bool:
    """Whether a value is a real number of at least 0 and below a bound; NaN is not."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < below


def fraction(name: str, value: Any, *, one: bool = False) -> float:
    """A number of at least 0 and below 1, or up to 1 with `one`; UsageError, with the name, for anything else."""
    number = plain(value)
    if not (is_in_range(number, 1.0) or (one and number == 1)):
        raise UsageError(
            f"{name} is {value!r}; it must be a number of at least 0 and {'at most' if one else 'below'} 1"
        )
    return number


KINDS: dict[Any, tuple[tuple[type, ...], str]] = {
    int: ((int,), "a whole number"),
    float: ((int, float), "a number"),
    bool: ((bool, int), "True or False"),
}
"""For each type of a field of a Config the types that its values may have, and what they are called."""


def take_plain_numbers(config: Any) -> None:
    """Have a dataclass take NumPy's numbers, as Python's, and refuse what is no number where one must be."""
    make = config.__init__
    names = [each.name for each in dataclasses.fields(config) if each.init]
    kinds = {each.name: KINDS[kind] for each in dataclasses.fields(config) if (kind := _required(each.type)) in KINDS}

    @functools.wraps(make)
    def __init__(self: Any, *args: Any, **named: Any) -> None:
        given = {**dict(zip(names, args, strict=False)), **named}
        make(self, **{name: _checked(name, value, *kinds.get(name, ((), ""))) for name, value in given.items()})

    config.__init__ = __init__


def _checked(name: str, value: Any, types: tuple[type, ...], words: str) -> Any:
    """A value with plain numbers; UsageError for one that must be of some types, if there are any, and is not."""
    number = plain(value)
    if number is None or not types:
        return number
    if not isinstance(number, types) or (isinstance(number, bool) and bool not in types):
        raise UsageError(f"{name} is {value!r}; it must be {words}")
    if not math.isfinite(number):  # type: ignore[arg-type]
        raise UsageError(f"{name} is {number}; it must be a finite number")
    return number


def _required(kind: Any) -> Any:
    """The type T of a field `T | None`, or the type itself."""
    kinds = [each for each in get_args(kind) if each is not NoneType]
    return kinds[0] if len(kinds) == 1 and NoneType in get_args(kind) else kind


def as_json(name: str, value: Any, *, paths: bool = False) -> Any:
    """The value as JSON can hold it and give it back: tuples as lists, NumPy's numbers as Python's.

    UsageError, with the name of the value, for anything else; with `paths`, a path becomes a text.
    """
    value = plain(value) if not isinstance(value, Mapping) else value
    if isinstance(value, Mapping):
        if odd := [key for key in value if not isinstance(key, str)]:
            raise UsageError(f"{name} has the key {odd[0]!r}; keys are texts")
        return {key: as_json(f"{name}[{key!r}]", each, paths=paths) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(f"{name}[{i}]", each, paths=paths) for i, each in enumerate(value)]
    if value is None or isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if paths and isinstance(value, os.PathLike):
        return str(value)
    kind = str(value) if isinstance(value, float) else f"of type {type(value).__name__}"
    raise UsageError(f"{name} is {kind}; give texts, finite numbers, booleans, None, and lists and dicts of them")
