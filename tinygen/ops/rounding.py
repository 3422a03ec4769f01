"""Rounding, and the remainder of a division. The gradient of what is rounded is zero."""

from tinygen.ops.arithmetic import zeros_like
from tinygen.primitive import primitive


@primitive(elementwise=True)
def floor(xp, x):
    """The largest whole number that is not above x."""
    return xp.floor(x)


@primitive(elementwise=True)
def ceil(xp, x):
    """The smallest whole number that is not below x."""
    return xp.ceil(x)


@primitive(elementwise=True)
def trunc(xp, x):
    """x without its fraction: the nearest whole number towards zero."""
    return xp.trunc(x)


@primitive(elementwise=True)
def round(xp, x):
    """The nearest whole number; of two equally near, the even one."""
    return xp.rint(x)


for _operation in (floor, ceil, trunc, round):
    _operation.vjp(lambda g, y, x: zeros_like(g))


@primitive(elementwise=True)
def floor_divide(xp, a, b):
    """floor(a / b), as a // b."""
    return a // b


floor_divide.vjp(lambda g, y, a, b: zeros_like(g), lambda g, y, a, b: zeros_like(g))


@primitive(saves="a b", elementwise=True)
def remainder(xp, a, b):
    """a - b * floor(a / b), as a % b: it has the sign of b."""
    return a % b


remainder.vjp(lambda g, y, a, b: g, lambda g, y, a, b: -g * floor_divide(a, b))
