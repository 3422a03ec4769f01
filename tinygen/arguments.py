"""Numbers that a user gives: NumPy's become Python's, and those out of range are refused in one line."""

import math
from collections.abc import Mapping
from typing import Any

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
