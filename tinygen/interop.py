"""What NumPy's functions do with Tensors: its operators are those of Tensors, the others say what to write."""

from typing import NoReturn

from tinygen.errors import DtypeError

OPERATORS = {
    "add": ("__add__", "__radd__"),
    "subtract": ("__sub__", "__rsub__"),
    "multiply": ("__mul__", "__rmul__"),
    "divide": ("__truediv__", "__rtruediv__"),
    "floor_divide": ("__floordiv__", "__rfloordiv__"),
    "remainder": ("__mod__", "__rmod__"),
    "power": ("__pow__", "__rpow__"),
    "matmul": ("__matmul__", "__rmatmul__"),
    "equal": ("__eq__", "__eq__"),
    "not_equal": ("__ne__", "__ne__"),
    "less": ("__lt__", "__gt__"),
    "less_equal": ("__le__", "__ge__"),
    "greater": ("__gt__", "__lt__"),
    "greater_equal": ("__ge__", "__le__"),
    "bitwise_and": ("__and__", "__rand__"),
    "bitwise_or": ("__or__", "__ror__"),
    "bitwise_xor": ("__xor__", "__rxor__"),
}
"""NumPy's functions that Python calls for an operator: the methods of a Tensor on its left, and on its right."""

ABOUT_SHAPES = ("shape", "ndim", "size")
"""NumPy's functions that read no value."""

OTHER_NAMES = {
    "absolute": "abs",
    "add.accumulate": "cumsum",
    "add.reduce": "sum",
    "amax": "max",
    "amin": "min",
    "array": "tensor",
    "concat": "concatenate",
    "fabs": "abs",
    "float_power": "x ** y",
    "hstack": "concatenate",
    "invert": "~x",
    "dot": "matmul",
    "linalg.norm": "norm",
    "maximum.reduce": "max",
    "minimum.reduce": "min",
    "negative": "-x",
    "ravel": "x.reshape(-1)",
    "take": "x[...]",
    "vstack": "concatenate",
}
"""What tinygen calls NumPy's functions of another name."""


FUNCTIONS: set[str] = set()
"""The names in `tinygen.functional`, which adds them when it is imported."""


def _word_for(name: str, tensor) -> str | None:
    """What to write in place of NumPy's function: one of `tinygen.functional`, a method or an operator."""
    own = OTHER_NAMES.get(name, name)
    if own in FUNCTIONS:
        return f"tinygen.functional.{own}"
    return f"x.{own}()" if hasattr(tensor, own) else OTHER_NAMES.get(name)


def _refuse(name: str, tensor) -> NoReturn:
    """Refuse a function of NumPy's, whose result would have no gradient, and name what to write."""
    own = _word_for(name, tensor)
    instead = f"write {own}, or " if own else ""
    raise DtypeError(f"np.{name} does not take Tensors: {instead}give it their values, x.detach().numpy()")


def array_ufunc(tensor, ufunc, method: str, *inputs, **options):
    """NumPy's protocol for operators and functions of each element."""
    if method == "__call__" and options.get("out") is not None:
        raise DtypeError("an array cannot be changed in place by a Tensor: write a = a + x, not a += x")
    if ufunc.__name__ not in OPERATORS or method != "__call__" or options:
        _refuse(ufunc.__name__ if method == "__call__" else f"{ufunc.__name__}.{method}", tensor)
    on_left, on_right = OPERATORS[ufunc.__name__]
    left, right = inputs
    return getattr(left, on_left)(right) if hasattr(left, "requires_grad") else getattr(right, on_right)(left)


def array_function(tensor, function, types, arguments, options):
    """NumPy's protocol for all other functions."""
    if function.__name__ in ABOUT_SHAPES:
        return function._implementation(*arguments, **options)
    _refuse(f"{function.__module__}.{function.__name__}".removeprefix("numpy."), tensor)


class Ufuncs:
    """The attribute `__array_ufunc__` of Tensors: a function for NumPy, which asks the class.

    CuPy asks the Tensor itself, for which it is None: so an operator between a CuPy array and a Tensor is the Tensor's.
    """

    def __get__(self, tensor, kind):
        return array_ufunc if tensor is None else None
