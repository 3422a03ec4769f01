"""Functions of float32 that vectorise: no branches, no tables, no calls.

Polynomials are minimax fits by Remez' algorithm, their coefficients rounded to float32 one after another. Error bounds
are in units in the last place of the result, and hold with and without fused multiply-add: the largest errors found
are a few per cent smaller. NaN gives NaN. A result below 2^-126, the smallest normal number, is zero. Nothing depends
on whether the processor treats denormal numbers as zero.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .ir import as_float
from .jit import inlined

float32, int32 = types.float32, types.int32


@intrinsic
def bits_of(context, x):
    """The bits of a float32."""
    return int32(float32), lambda context, builder, signature, arguments: builder.bitcast(arguments[0], ir.IntType(32))


def _multiply_add(builder, a, b, c):
    kind = ir.FunctionType(ir.FloatType(), [ir.FloatType()] * 3)
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, "llvm.fmuladd.f32"), [a, b, c])


@intrinsic
def multiply_add(context, a, b, c):
    """a b + c, rounded once where the processor can."""
    kind = float32(float32, float32, float32)
    return kind, lambda context, builder, signature, arguments: _multiply_add(builder, *arguments)


@intrinsic
def maximum(context, a, b):
    """The larger of two numbers; NaN if one is."""

    def emit(context, builder, signature, arguments):
        kind = ir.FunctionType(ir.FloatType(), [ir.FloatType()] * 2)
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, "llvm.maximum.f32"), arguments)

    return float32(float32, float32), emit


@intrinsic
def polynomial(context, x, coefficients):
    """c0 + c1 x + c2 x^2 + ... by Horner's rule."""

    def emit(context, builder, signature, arguments):
        *low, total = cgutils.unpack_tuple(builder, arguments[1])
        for coefficient in reversed(low):
            total = _multiply_add(builder, total, arguments[0], coefficient)
        return total

    return float32(float32, coefficients), emit


def _floats(*numbers):
    return tuple(map(np.float32, numbers))


ZERO, HALF, ONE, TWO, TINY, INFINITY, NAN = _floats(0, 0.5, 1, 2, 2**-126, np.inf, np.nan)


def within(ulp: float):
    """Decorate an inlined function whose error is at most `ulp` units in the last place of its result."""

    def decorate(function):
        function = inlined(function)
        function.ulp = ulp
        return function

    return decorate


@inlined
def weighted(weight, x):
    """weight * x, and 0 where the weight is 0, even if x is infinite."""
    return ZERO if weight == ZERO else weight * x


@inlined
def leaky(x, switch, slope):
    """x where a switch is positive (or NaN), else slope * x, which is 0 for a slope of 0 even if x is infinite."""
    rest = ZERO if slope == ZERO else slope * x
    return rest if switch <= ZERO else x


# Exponential functions

LOG2_E = np.float32(1.4426950408889634)
LN_2_HIGH, LN_2_LOW = _floats(355 / 512, -2.1219444005469057e-4)  # few bits: products with n are exact
ROUNDER = np.float32(1.5 * 2**23)  # x + ROUNDER has x, rounded to a whole number, in its lowest bits
EXP_MIN, EXP_MAX = _floats(-87.33654, 88.72283)  # logarithms of the smallest normal number and of the largest
ONE_BITS = 0x3F800000
# (e^r - 1 - r) / r^2
EXPM1 = _floats(0.49999994, 0.16666521, 0.041668266, 0.008368684, 0.0013820947)
EXP = _floats(1, 1, *EXPM1)


@inlined
def _split(x):
    """(r, bits) with x = n ln(2) + r, n whole and |r| < ln(2) / 2; n is the lowest of the bits."""
    shifted = multiply_add(x, LOG2_E, ROUNDER)
    n = shifted - ROUNDER
    return multiply_add(-n, LN_2_LOW, multiply_add(-n, LN_2_HIGH, x)), bits_of(shifted)


@inlined
def _exp(x):
    """e^x for x between EXP_MIN and EXP_MAX."""
    r, bits = _split(x)
    return as_float(bits_of(polynomial(r, EXP)) + (bits << 23))


@inlined
def _expm1(x):
    """e^x - 1 for |x| < 80: 2^n (e^r - 1) + (2^n - 1)."""
    r, bits = _split(x)
    power = as_float((bits << 23) + ONE_BITS)
    return multiply_add(power, multiply_add(r * r, polynomial(r, EXPM1), r), power - ONE)


@within(ulp=1.2)
def exp(x):
    """e^x."""
    y = ZERO if x < EXP_MIN else _exp(x)
    return y if x <= EXP_MAX else x * INFINITY


@within(ulp=1.2)
def exp_minus_abs(x):
    """e^-|x|."""
    r, bits = _split(-abs(x))
    y = polynomial(r, EXP) * as_float((bits << 23) + ONE_BITS)
    return ZERO if -abs(x) < EXP_MIN else y


@inlined
def logistic(x, e):
    """1 / (1 + e^-x), given e^-|x|."""
    return (e if x < ZERO else ONE) / (ONE + e)


@within(ulp=2.5)
def sigmoid(x):
    """1 / (1 + e^-x)."""
    return logistic(x, exp_minus_abs(x))


@inlined
def _magnitude(x, limit):
    """|x|, up to a limit; zero if it is denormal, whatever the processor does with those."""
    a = abs(x)
    a = limit if a > limit else a
    return ZERO if a < TINY else a


@within(ulp=2.7)
def tanh(x):
    """Hyperbolic tangent: (e^2x - 1) / (e^2x + 1)."""
    y = _expm1(TWO * _magnitude(x, np.float32(10)))
    return np.copysign(y / (y + TWO), x)


@inlined
def expm1_negative(x):
    """e^x - 1 for x up to 0."""
    limit = np.float32(-80)
    return _expm1(limit if x < limit else x)


# log(erfc(x)) / x up to 3.95, where erf rounds to 1
ERFC = _floats(-1.1283792, -0.636615, -0.10283348, 0.019408712, -3.925539e-4, -0.001042066, 2.5517616e-4)
ERFC += _floats(-2.6650619e-6, -4.530983e-6)


@within(ulp=3.2)
def erf(x):
    """Error function: 1 - e^log(erfc(x)), the logarithm as a polynomial."""
    a = _magnitude(x, np.float32(3.95))
    return np.copysign(_expm1(a * polynomial(a, ERFC)), x)


SQRT_HALF, DENSITY = _floats(0.5**0.5, (2 * np.pi) ** -0.5)


@inlined
def normal_cdf(x):
    """The distribution function Phi of the standard normal distribution."""
    return HALF + HALF * erf(SQRT_HALF * x)


@inlined
def normal_density(x):
    """The density phi of the standard normal distribution."""
    return DENSITY * exp(-HALF * x * x)


# Logarithms

# The polynomial for log(1 + e) / e, e up to 1, its coefficients from the lowest power on.
LOG1P = _floats(1, -0.4999993, 0.33330464, -0.24958019, 0.19692102, -0.1534488, 0.10661128, -0.05745723)
LOG1P += _floats(0.020086242, -0.0032904686)


@inlined
def log1p_unit(e):
    """log(1 + e) for e between 0 and 1."""
    return e * polynomial(e, LOG1P)


@within(ulp=2.6)
def softplus(x):
    """log(1 + e^x): max(x, 0) + log(1 + e^-|x|)."""
    return (ZERO if x < ZERO else x) + log1p_unit(exp_minus_abs(x))


# (log(1 + f) - f + f^2 / 2) / f^3
LOG = _floats(0.3333333, -0.2500082, 0.20001242, -0.1662341, 0.14201586, -0.13159598, 0.12762141, -0.07636359)
ROOT_HALF, NORMAL = 0x3F3504F3, 1 << 23  # the bits of sqrt(1/2) and of 2^-126
MANTISSA, MAGNITUDE = (1 << 23) - 1, (1 << 31) - 1


@within(ulp=0.9)
def log(x):
    """Natural logarithm: of x = 2^n (1 + f) with 1 + f from sqrt(1/2) to sqrt(2).

    -inf for 0, NaN for negative numbers.
    """
    bits = bits_of(x)
    denormal = bits < NORMAL  # then x is bits 2^-149; the processor may be set to take it for zero
    bits = np.int32(np.int32(bits_of(np.float32(bits)) if denormal else bits) - ROOT_HALF)
    n = np.float32(np.int32(bits >> 23)) - (np.float32(149) if denormal else ZERO)
    f = as_float((bits & MANTISSA) + ROOT_HALF) - ONE
    square = f * f
    y = multiply_add(n, LN_2_LOW, f * square * polynomial(f, LOG))
    y = multiply_add(n, LN_2_HIGH, f + multiply_add(square, -HALF, y))
    y = y if x < INFINITY else x
    return y if bits_of(x) > 0 else (-INFINITY if bits_of(x) & MAGNITUDE == 0 else NAN)
