"""Operations on truth values, and tests of single elements; their results are bools and have no gradient."""

from tinygen.errors import DtypeError
from tinygen.primitive import primitive


def _conditions(name: str, *arrays) -> None:
    for a in arrays:
        kind = a.dtype if hasattr(a, "dtype") else type(a).__name__
        if kind != "bool":
            raise DtypeError(f"{name}: takes bools, such as x > 0, not {kind}")


@primitive(elementwise=True, indices="all")
def logical_and(xp, a, b):
    """Whether both bools hold."""
    _conditions("logical_and", a, b)
    return a & b


@primitive(elementwise=True, indices="all")
def logical_or(xp, a, b):
    """Whether one of the bools holds, or both."""
    _conditions("logical_or", a, b)
    return a | b


@primitive(elementwise=True, indices="all")
def logical_xor(xp, a, b):
    """Whether exactly one of the bools holds."""
    _conditions("logical_xor", a, b)
    return a ^ b


@primitive(elementwise=True, indices="all")
def logical_not(xp, x):
    """Whether the bool does not hold."""
    _conditions("logical_not", x)
    return x ^ True


@primitive(elementwise=True)
def isnan(xp, x):
    """Whether each element is NaN."""
    return xp.isnan(x)


@primitive(elementwise=True)
def isinf(xp, x):
    """Whether each element is infinite, of either sign."""
    return xp.isinf(x)


@primitive(elementwise=True)
def isfinite(xp, x):
    """Whether each element is neither NaN nor infinite."""
    return xp.isfinite(x)


@primitive(indices="all")
def any(xp, x, *, axis=None, keepdims=False):
    """Whether any element is not zero, over axes."""
    return xp.any(x, axis=axis, keepdims=keepdims)


@primitive(indices="all")
def all(xp, x, *, axis=None, keepdims=False):
    """Whether no element is zero, over axes."""
    return xp.all(x, axis=axis, keepdims=keepdims)
