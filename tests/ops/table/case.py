"""The rows of the op table, and random arguments for them."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tinygen import functional as F
from tinygen.backend import device_of, to_device
from tinygen.errors import DtypeError, ShapeError
from tinygen.primitive import REGISTRY
from tinygen.tensor import Tensor

SMOOTH, PIECEWISE, NON_DIFFERENTIABLE = "smooth", "piecewise", "non-differentiable"


@dataclass(frozen=True)
class Case:
    """One call of an operation with its reference, and calls that must raise: (arguments, static, error, message)."""

    function: Callable
    arguments: list[Any]
    reference: Callable[..., Any]
    static: dict[str, Any] = field(default_factory=dict)
    kind: str = SMOOTH
    errors: tuple[tuple[list[Any], dict[str, Any], type[Exception], str], ...] = ()

    def __call__(self, *arguments):
        return self.function(*arguments, **self.static)


TABLE: dict[str, list[Case]] = {}


def add(name: str, arguments, reference, category=SMOOTH, errors=(), **static) -> None:
    """Add a case for the operation `name`, or for the function `functional.name`, to the table."""
    function = getattr(F, name.removeprefix("functional.")) if name.startswith("functional.") else REGISTRY[name]
    TABLE.setdefault(name, []).append(Case(function, list(arguments), reference, static, category, tuple(errors)))


def beside(x, constant):
    """A constant in the dtype and on the device of an argument."""
    data = x.data if isinstance(x, Tensor) else x
    return to_device(constant.astype(data.dtype), device_of(data))


_rng = np.random.default_rng(0)


def real(*shape):
    return _rng.standard_normal(shape)


def positive(*shape):
    return _rng.uniform(0.5, 2.0, shape)


def apart(*shape):
    """Values of random sign, with magnitudes of at least 0.15 that differ from each other."""
    n = math.prod(shape)
    values = 0.15 + 0.2 * np.arange(n) / max(1, n / 12)
    return (_rng.permutation(values) * _rng.choice([-1, 1], n)).reshape(shape)


def distinct(*shape):
    return _rng.permutation(np.arange(math.prod(shape), dtype=np.float64)).reshape(shape) * 0.3


def whole(high, *shape):
    return _rng.integers(0, high, shape)


def share(*shape):
    return _rng.uniform(0.1, 0.9, shape)


MIXED = ([real(3), real(3).astype(np.float32)], {}, DtypeError, "float64.*float32")
UNFIT = ([real(3), real(4)], {}, ShapeError, r"\(3,\).*\(4,\)")
WHOLE = ([np.arange(3)], {}, DtypeError, "int64")
