"""Circular and hyperbolic functions beyond `sin`, `cos` and `tanh`, and their inverses; angles in radians."""

from tinygen.ops.arithmetic import equal, sqrt, where
from tinygen.primitive import primitive


@primitive(saves="y", elementwise=True)
def tan(xp, x):
    """Tangent."""
    return xp.tan(x)


tan.vjp(lambda g, y, x: g * (1 + y * y))


@primitive(saves="x", elementwise=True)
def asin(xp, x):
    """Inverse sine, from -pi / 2 to pi / 2."""
    return xp.arcsin(x)


asin.vjp(lambda g, y, x: g / sqrt(1 - x * x))


@primitive(saves="x", elementwise=True)
def acos(xp, x):
    """Inverse cosine, from 0 to pi."""
    return xp.arccos(x)


acos.vjp(lambda g, y, x: -g / sqrt(1 - x * x))


@primitive(saves="x", elementwise=True)
def atan(xp, x):
    """Inverse tangent, from -pi / 2 to pi / 2."""
    return xp.arctan(x)


atan.vjp(lambda g, y, x: g / (1 + x * x))


@primitive(saves="a b", elementwise=True)
def atan2(xp, a, b):
    """The angle of the point (b, a), from -pi to pi; its gradient at the origin is 0."""
    return xp.arctan2(a, b)


def _square_distance(a, b):
    """a^2 + b^2, but 1 at the origin, where the numerators of the gradients are 0."""
    square = a * a + b * b
    return where(equal(square, 0), 1.0, square)


atan2.vjp(
    lambda g, y, a, b: g * (b / _square_distance(a, b)),
    lambda g, y, a, b: -g * (a / _square_distance(a, b)),
)


@primitive(saves="x", elementwise=True)
def sinh(xp, x):
    """Hyperbolic sine."""
    return xp.sinh(x)


@primitive(saves="x", elementwise=True)
def cosh(xp, x):
    """Hyperbolic cosine."""
    return xp.cosh(x)


sinh.vjp(lambda g, y, x: g * cosh(x))
cosh.vjp(lambda g, y, x: g * sinh(x))


@primitive(saves="x", elementwise=True)
def asinh(xp, x):
    """Inverse hyperbolic sine."""
    return xp.arcsinh(x)


asinh.vjp(lambda g, y, x: g / sqrt(x * x + 1))


@primitive(saves="x", elementwise=True)
def acosh(xp, x):
    """Inverse hyperbolic cosine of x >= 1."""
    return xp.arccosh(x)


acosh.vjp(lambda g, y, x: g / (sqrt(x - 1) * sqrt(x + 1)))


@primitive(saves="x", elementwise=True)
def atanh(xp, x):
    """Inverse hyperbolic tangent of -1 < x < 1."""
    return xp.arctanh(x)


atanh.vjp(lambda g, y, x: g / (1 - x * x))
