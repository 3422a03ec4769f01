"""Elementwise operations. Arguments broadcast as NumPy's do."""

import math

import numpy as np

from tinygen.backend import device_of, kernel
from tinygen.errors import UsageError
from tinygen.primitive import primitive


def _kernel(name, xp):
    """The CPU kernel if xp is NumPy, as it is for Python numbers, too; else the CUDA kernel."""
    return kernel(name, "cpu" if xp is np else "cuda")


@primitive(elementwise=True)
def add(xp, a, b):
    """a + b"""
    return kernel("add", "cpu" if xp is np else "cuda")(a, b)


add.vjp(lambda g, y, a, b: g, lambda g, y, a, b: g)


@primitive(elementwise=True)
def subtract(xp, a, b):
    """a - b"""
    return kernel("subtract", "cpu" if xp is np else "cuda")(a, b)


subtract.vjp(lambda g, y, a, b: g, lambda g, y, a, b: -g)


@primitive(saves="a b", elementwise=True)
def multiply(xp, a, b):
    """a * b"""
    return kernel("multiply", "cpu" if xp is np else "cuda")(a, b)


multiply.vjp(lambda g, y, a, b: g * b, lambda g, y, a, b: g * a)


@primitive(saves="b y", elementwise=True)
def divide(xp, a, b):
    """a / b"""
    return kernel("divide", "cpu" if xp is np else "cuda")(a, b)


divide.vjp(lambda g, y, a, b: g / b, lambda g, y, a, b: -g * y / b)


@primitive(elementwise=True)
def negative(xp, x):
    """-x"""
    return -x


negative.vjp(lambda g, y, x: -g)


@primitive(saves="a b y", elementwise=True)
def power(xp, a, b):
    """a ** b; a must be positive where b is not a whole number, and where b is differentiated."""
    if isinstance(b, int | float) and b in WHOLE and hasattr(a, "dtype"):
        return kernel("whole_power", device_of(a))(a, int(b))
    return a**b


WHOLE = frozenset({*range(3, 33), *range(-32, -1)})  # exponents for which multiplications are faster than logarithms


def _nonzero_base(a, b):
    """a, but 1 where a and b are both 0: a ** -1 and log(a) would be infinite there, beside factors of 0."""
    return where(equal(b, 0), where(equal(a, 0), 1.0, a), a)


def _base_vjp(g, y, a, b):
    if isinstance(b, int | float):
        lowered = a if b == 2 else power(a, b - 1)
        return g * b * lowered if b else zeros_like(g)
    return weighted(b, g) * (a if isinstance(a, int | float) else _nonzero_base(a, b)) ** (b - 1)


def _exponent_vjp(g, y, a, b):
    if isinstance(a, int | float):
        return weighted(y, g) * (log(a) if a else 0.0)
    return weighted(y, g) * log(where(equal(y, 0), 1.0, _nonzero_base(a, b)))


power.vjp(_base_vjp, _exponent_vjp)


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


abs.vjp(lambda g, y, x: abs_grad(g, x))


@primitive(saves="x", elementwise=True)
def abs_grad(xp, g, x):
    """The gradient of |x|: g where x > 0, -g where x < 0, and 0 at 0, whatever g is."""
    return kernel("abs_grad", device_of(g))(g, x)


abs_grad.vjp(lambda h, y, g, x: abs_grad(h, x), None)


@primitive(elementwise=True)
def sign(xp, x):
    """-1, 0 or 1; its gradient is zero."""
    return _kernel("sign", xp)(x)


sign.vjp(lambda g, y, x: zeros_like(g))


@primitive(elementwise=True)
def zeros_like(xp, x):
    """Zeros of the shape and dtype of x."""
    return xp.zeros_like(x)


zeros_like.vjp(lambda g, y, x: zeros_like(g))


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


def prelu(x, slope):
    """x where x > 0, else slope * x, with a learnt slope: a number for each channel, or one (He et al. 2015)."""
    return where(greater(x, 0), x, slope * x)


@primitive(saves="x y", elementwise=True)
def elu(xp, x, *, alpha=1.0):
    """x where x > 0, else alpha * (exp(x) - 1) (Clevert et al. 2016)."""
    return _kernel("elu", xp)(x, alpha)


elu.vjp(lambda g, y, x, *, alpha=1.0: where(x > 0, g, g * (y + alpha)))


@primitive(saves="a b", elementwise=True)
def maximum(xp, a, b):
    """The larger of a and b; a tie shares the gradient equally."""
    return xp.maximum(a, b)


maximum.vjp(
    lambda g, y, a, b: where(equal(a, b), 0.5 * g, where(a > b, g, 0.0)),
    lambda g, y, a, b: where(equal(a, b), 0.5 * g, where(a < b, g, 0.0)),
)


@primitive(saves="a b", elementwise=True)
def minimum(xp, a, b):
    """The smaller of a and b; a tie shares the gradient equally."""
    return xp.minimum(a, b)


minimum.vjp(
    lambda g, y, a, b: where(equal(a, b), 0.5 * g, where(a < b, g, 0.0)),
    lambda g, y, a, b: where(equal(a, b), 0.5 * g, where(a > b, g, 0.0)),
)


@primitive(saves="condition", elementwise=True, indices="condition")
def where(xp, condition, a, b):
    """a where the condition (bool) holds, else b; what is not chosen has gradient 0, whatever the gradient of y is."""
    y = _kernel("where", xp)(condition, a, b)
    return y if hasattr(a, "dtype") or hasattr(b, "dtype") else y.astype("float32")


where.vjp(
    None,
    lambda g, y, condition, a, b: where(condition, g, 0.0),
    lambda g, y, condition, a, b: where(condition, 0.0, g),
)


@primitive(saves="x", elementwise=True)
def clip(xp, x, *, low=None, high=None):
    """x limited to [low, high], where one bound may be None; the gradient passes at the bounds too."""
    if low is None and high is None:
        raise UsageError("clip: give a lower or an upper bound, or both")
    return xp.clip(x, low, high)


def _clip_vjp(g, y, x, *, low=None, high=None):
    g = g if low is None else where(x >= low, g, 0.0)
    return g if high is None else where(x <= high, g, 0.0)


clip.vjp(_clip_vjp)


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


def weighted(weight, x):
    """weight * x, and 0 where the weight is 0 and x is infinite: the convention 0 log 0 = 0."""
    return weight * where(equal(weight, 0), where(less(abs(x), math.inf), x, 0.0), x)
