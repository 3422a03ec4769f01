"""Elementwise operations. Arguments broadcast as NumPy's do."""

import numpy as np

from tinygen.backend import device_of, kernel
from tinygen.primitive import primitive


def _kernel(name, xp):
    """The CPU kernel if xp is NumPy, as it is for Python numbers, too; else the CUDA kernel."""
    return kernel(name, "cpu" if xp is np else "cuda")


@primitive(elementwise=True)
def add(xp, a, b):
    """a + b"""
    return _kernel("add", xp)(a, b)


add.vjp(lambda g, y, a, b: g, lambda g, y, a, b: g)


@primitive(elementwise=True)
def subtract(xp, a, b):
    """a - b"""
    return a - b


subtract.vjp(lambda g, y, a, b: g, lambda g, y, a, b: -g)


@primitive(saves="a b", elementwise=True)
def multiply(xp, a, b):
    """a * b"""
    return a * b


multiply.vjp(lambda g, y, a, b: g * b, lambda g, y, a, b: g * a)


@primitive(saves="b y", elementwise=True)
def divide(xp, a, b):
    """a / b"""
    return a / b


divide.vjp(lambda g, y, a, b: g / b, lambda g, y, a, b: -g * y / b)


@primitive(elementwise=True)
def negative(xp, x):
    """-x"""
    return -x


negative.vjp(lambda g, y, x: -g)


@primitive(saves="a b y", elementwise=True)
def power(xp, a, b):
    """a ** b; a must be positive where b is not a whole number, and where b is differentiated."""
    return a**b


def _lowered_exponent(b):
    """b - 1, but 1 where b is 0: there the factor b makes the gradient zero, and a ** -1 could be infinite."""
    return (b - 1 if b != 0 else 1) if isinstance(b, int | float) else where(equal(b, 0), 1.0, b - 1)


power.vjp(lambda g, y, a, b: g * b * a ** _lowered_exponent(b), lambda g, y, a, b: g * y * log(a))


@primitive(saves="y", elementwise=True)
def exp(xp, x):
    """e ** x"""
    return _kernel("exp", xp)(x)


exp.vjp(lambda g, y, x: g * y)


@primitive(saves="y", elementwise=True)
def expm1(xp, x):
    """e ** x - 1, accurate for small x."""
    return xp.expm1(x)


expm1.vjp(lambda g, y, x: g * (y + 1))


@primitive(saves="x", elementwise=True)
def log(xp, x):
    """Natural logarithm."""
    return xp.log(x)


log.vjp(lambda g, y, x: g / x)


@primitive(saves="x", elementwise=True)
def log1p(xp, x):
    """log(1 + x), accurate for small x."""
    return xp.log1p(x)


log1p.vjp(lambda g, y, x: g / (1 + x))


@primitive(saves="y", elementwise=True)
def sqrt(xp, x):
    """Square root."""
    return xp.sqrt(x)


sqrt.vjp(lambda g, y, x: g * 0.5 / y)


@primitive(saves="x", elementwise=True)
def abs(xp, x):
    """Absolute value; its gradient at 0 is 0."""
    return xp.abs(x)


abs.vjp(lambda g, y, x: g * sign(x))


@primitive(elementwise=True)
def sign(xp, x):
    """-1, 0 or 1; its gradient is zero."""
    return xp.sign(x)


sign.vjp(lambda g, y, x: g * 0.0)


@primitive(saves="x", elementwise=True)
def sin(xp, x):
    """Sine, x in radians."""
    return xp.sin(x)


sin.vjp(lambda g, y, x: g * cos(x))


@primitive(saves="x", elementwise=True)
def cos(xp, x):
    """Cosine, x in radians."""
    return xp.cos(x)


cos.vjp(lambda g, y, x: -g * sin(x))


@primitive(saves="y", elementwise=True)
def tanh(xp, x):
    """Hyperbolic tangent."""
    return xp.tanh(x)


tanh.vjp(lambda g, y, x: g * (1 - y * y))


@primitive(saves="y", elementwise=True)
def sigmoid(xp, x):
    """Logistic function 1 / (1 + exp(-x))."""
    return _kernel("sigmoid", xp)(x)


sigmoid.vjp(lambda g, y, x: g * y * (1 - y))


@primitive(saves="x", elementwise=True)
def softplus(xp, x):
    """log(1 + exp(x))"""
    return _kernel("softplus", xp)(x)


softplus.vjp(lambda g, y, x: g * sigmoid(x))


@primitive(saves="x", elementwise=True)
def erf(xp, x):
    """Error function 2 / sqrt(pi) * integral of exp(-t^2) from 0 to x."""
    return _kernel("erf", xp)(x)


erf.vjp(lambda g, y, x: g * 1.1283791670955126 * exp(-x * x))


@primitive(saves="y", elementwise=True)
def relu(xp, x):
    """max(x, 0); its gradient at 0 is 0."""
    return _kernel("leaky_relu", xp)(x, 0.0)


relu.vjp(lambda g, y, x: leaky_relu_grad(g, y, slope=0.0))


@primitive(saves="x", elementwise=True)
def leaky_relu(xp, x, *, slope=0.01):
    """x where x > 0, else slope * x."""
    return _kernel("leaky_relu", xp)(x, slope)


leaky_relu.vjp(lambda g, y, x, *, slope=0.01: leaky_relu_grad(g, x, slope=slope))


@primitive(saves="x", elementwise=True)
def leaky_relu_grad(xp, g, x, *, slope):
    """The gradient of a leaky ReLU at x, or at its output, which has the same signs: g where x > 0, else slope * g."""
    return kernel("leaky_relu_grad", device_of(g))(g, x, slope)


leaky_relu_grad.vjp(lambda h, y, g, x, *, slope: leaky_relu_grad(h, x, slope=slope), None)


@primitive(saves="x y", elementwise=True)
def elu(xp, x, *, alpha=1.0):
    """x where x > 0, else alpha * (exp(x) - 1) (Clevert et al. 2016)."""
    return xp.where(x > 0, x, alpha * xp.expm1(xp.minimum(x, 0)))


elu.vjp(lambda g, y, x, *, alpha=1.0: where(x > 0, g, g * (y + alpha)))


@primitive(saves="a b", elementwise=True)
def maximum(xp, a, b):
    """The larger of a and b; a tie shares the gradient equally."""
    return xp.maximum(a, b)


maximum.vjp(
    lambda g, y, a, b: where(equal(a, b), 0.5 * g, masked(g, a > b)),
    lambda g, y, a, b: where(equal(a, b), 0.5 * g, masked(g, a < b)),
)


@primitive(saves="a b", elementwise=True)
def minimum(xp, a, b):
    """The smaller of a and b; a tie shares the gradient equally."""
    return xp.minimum(a, b)


minimum.vjp(
    lambda g, y, a, b: where(equal(a, b), 0.5 * g, masked(g, a < b)),
    lambda g, y, a, b: where(equal(a, b), 0.5 * g, masked(g, a > b)),
)


@primitive(saves="condition", elementwise=True, indices="condition")
def where(xp, condition, a, b):
    """a where the condition (bool) holds, else b."""
    y = xp.where(condition, a, b)
    return y if hasattr(a, "dtype") or hasattr(b, "dtype") else y.astype("float32")


where.vjp(
    None,
    lambda g, y, condition, a, b: where(condition, g, 0.0),
    lambda g, y, condition, a, b: where(condition, 0.0, g),
)


@primitive(saves="mask", elementwise=True, indices="mask")
def masked(xp, x, mask):
    """x where the mask (bool) holds, else 0: x * mask, faster than `where`, but NaN for a masked infinity."""
    return x * mask


masked.vjp(lambda g, y, x, mask: masked(g, mask), None)


@primitive(saves="x", elementwise=True)
def clip(xp, x, *, low, high):
    """x limited to [low, high]; the gradient passes at the bounds too."""
    return xp.clip(x, low, high)


clip.vjp(lambda g, y, x, *, low, high: masked(masked(g, x >= low), x <= high))


@primitive(elementwise=True, indices="all")
def equal(xp, a, b):
    """a == b, as bools."""
    return a == b


@primitive(elementwise=True, indices="all")
def not_equal(xp, a, b):
    """a != b, as bools."""
    return a != b


@primitive(elementwise=True, indices="all")
def less(xp, a, b):
    """a < b, as bools."""
    return a < b


@primitive(elementwise=True, indices="all")
def less_equal(xp, a, b):
    """a <= b, as bools."""
    return a <= b


@primitive(elementwise=True, indices="all")
def greater(xp, a, b):
    """a > b, as bools."""
    return a > b


@primitive(elementwise=True, indices="all")
def greater_equal(xp, a, b):
    """a >= b, as bools."""
    return a >= b


@primitive(indices="all")
def astype(xp, x, *, dtype):
    """x converted to a dtype, such as "float32"."""
    return x.astype(dtype)


astype.vjp(lambda g, y, x, *, dtype: astype(g, dtype=x.dtype))


def square(x):
    """x ** 2"""
    return x * x
