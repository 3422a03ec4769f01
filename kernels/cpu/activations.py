"""Elementwise functions and activations, and the gradients of what has kinks.

There is no kernel for log alone, nor for tanh: NumPy's are as fast (measured).
"""

from . import double_math, vector_math
from .elementwise import backward, forward, function
from .jit import inlined
from .vector_math import ONE, ZERO, erf, exp, expm1_negative, leaky, sigmoid, softplus

LEAST_SIZE = 4096  # elements below which NumPy is faster (measured)


@inlined
def elu(x, alpha):
    """x where x > 0, else alpha (e^x - 1)."""
    below = alpha * expm1_negative(ZERO if x > ZERO else x)
    return x if x > ZERO else below


@inlined
def sign(x):
    """-1, 0 or 1; 0 and NaN stay what they are."""
    positive = ONE if x > ZERO else x
    return -ONE if x < ZERO else positive


@inlined
def abs_grad(g, x):
    """g where x > 0, -g where x < 0, and 0 at 0."""
    signed = -g if x < ZERO else g
    return ZERO if x == ZERO else signed


@inlined
def silu_slope(x):
    """The derivative of x s(x), s the logistic function."""
    s = sigmoid(x)
    return s * (ONE + x * (ONE - s))


def gelu(phi, density):
    """The formulas of x Phi(x) and of its gradient, from the functions of the normal distribution in some precision."""
    return (lambda x: x * phi(x)), (lambda g, x: g * (phi(x) + x * density(x)))


GELU, GELU_BACKWARD = gelu(vector_math.normal_cdf, vector_math.normal_density)
GELU_DOUBLE, GELU_BACKWARD_DOUBLE = gelu(double_math.normal_cdf, double_math.normal_density)

function("exp", exp)
function("sigmoid", sigmoid)
function("softplus", softplus)
function("erf", erf, doubles=(double_math.erf,))
forward("silu", lambda x: x * sigmoid(x), ulp=1.3)
backward("silu_backward", lambda g, x: g * silu_slope(x), ulp=8.5)
forward("gelu", GELU, ulp=1.6, doubles=(GELU_DOUBLE,))
backward("gelu_backward", GELU_BACKWARD, ulp=1.5, doubles=(GELU_BACKWARD_DOUBLE,))
function("elu", elu, ulp=1, number=True)
function("leaky_relu", lambda x, slope: leaky(x, x, slope), ulp=0.5, number=True, least=LEAST_SIZE)
function("leaky_relu_grad", leaky, ulp=0.5, number=True, least=LEAST_SIZE)
function("sign", sign, ulp=0)
function("abs_grad", abs_grad, ulp=0, least=LEAST_SIZE)
