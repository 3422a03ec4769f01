"""Normal numbers by Box and Muller (1958), in float64 and without branches: the loop becomes vector instructions."""

import math

import numpy as np
from llvmlite import ir
from numba import carray, float32, float64, int64, types
from numba.core import cgutils
from numba.extending import intrinsic

from ..draws import draws, words
from . import memory, pool
from .ir import floats_at, pointer_to
from .jit import inlined, worker
from .memory import address
from .philox import philox
from .registry import registered

PAIRS = 1 << 12  # pairs of numbers of a task
ROOT_HALF, MANTISSA = 0x3FE6A09E667F3BCD, (1 << 52) - 1  # the bits of sqrt(1/2), and those behind the exponent
LN_2_HIGH = round(math.log(2) * 2**32) / 2**32  # few bits: products with whole numbers are exact
LN_2_LOW = 2.3190468138462996e-17 + (math.log(2) - LN_2_HIGH)  # log(2) is this much more than the nearest float64
# Power series up to where the next term is below 2^-60.
LOG = tuple(1 / n for n in range(3, 23, 2))  # atanh(s) / s = 1 + s^2 / 3 + ... for |s| up to 0.172
SINE = tuple((-1) ** n / math.factorial(2 * n + 1) for n in range(1, 9))
COSINE = tuple((-1) ** n / math.factorial(2 * n) for n in range(1, 10))

uniform, _plain_normal, bernoulli, integers = draws(philox)
for _made in (uniform, bernoulli, integers):
    registered(_made)
words_at = pointer_to(types.uint32)


def _same_bits(kind, llvm_kind):
    """An intrinsic that takes the bits of a number of 64 bits for those of another kind."""

    @intrinsic
    def reinterpreted(context, x):
        return kind(x), lambda context, builder, signature, values: builder.bitcast(values[0], llvm_kind)

    return reinterpreted


as_bits, as_double = _same_bits(int64, ir.IntType(64)), _same_bits(float64, ir.DoubleType())


@intrinsic
def series(context, z, coefficients):
    """The sum of coefficients[n] z^n, by Horner's rule."""

    def emit(context, builder, signature, arguments):
        kind = ir.FunctionType(ir.DoubleType(), [ir.DoubleType()] * 3)
        multiply_add = cgutils.get_or_insert_function(builder.module, kind, "llvm.fmuladd.f64")
        *low, total = cgutils.unpack_tuple(builder, arguments[1])
        for coefficient in reversed(low):
            total = builder.call(multiply_add, [total, arguments[0], coefficient])
        return total

    return float64(float64, coefficients), emit


@inlined
def minus_two_logs(odd):
    """-2 log(odd / 2^25) for an odd number below 2^25: of 2^n (1 + f) with 1 + f from sqrt(1/2) to sqrt(2)."""
    bits = as_bits(float64(odd)) - ROOT_HALF
    n = float64((bits >> 52) - 25)
    f = as_double((bits & MANTISSA) + ROOT_HALF) - 1.0
    s = f / (2.0 + f)  # log(1 + f) = 2 atanh(s)
    z = s * s
    return -2.0 * (n * LN_2_HIGH + (2.0 * s + (2.0 * s * z * series(z, LOG) + n * LN_2_LOW)))


@inlined
def cosine_and_sine(odd):
    """Cosine and sine of odd / 2^25 turns: of at most an eighth of a turn, after whole quarters."""
    quarters = (odd + (1 << 22)) >> 23
    x = float64(odd - (quarters << 23)) * (math.pi / 2 * 2.0**-23)
    z = x * x
    sine, cosine = x + x * z * series(z, SINE), 1.0 + z * series(z, COSINE)
    exchanged = quarters & 1
    first, second = (sine if exchanged else cosine), (cosine if exchanged else sine)
    return (-first if (quarters + 1) & 2 else first), (-second if quarters & 2 else second)


@worker("pairs words y")
def _normal(arguments, task, lane):
    a = carray(arguments, 1)[0]
    start = task * PAIRS
    count = min(PAIRS, a.pairs - start)
    words = carray(words_at(a.words + 8 * start), 2 * count)
    y = carray(floats_at(a.y + 8 * start), 2 * count)
    for i in range(count):
        radius = np.sqrt(minus_two_logs(2 * int64(words[2 * i] >> 8) + 1))
        cosine, sine = cosine_and_sine(2 * int64(words[2 * i + 1] >> 8) + 1)
        y[2 * i], y[2 * i + 1] = float32(radius * cosine), float32(radius * sine)


@registered
def normal(key0, key1, counter, n, base=None, dtype="float32"):
    """Standard normal (n,), computed in float64: words 2i and 2i + 1 give numbers 2i and 2i + 1."""
    if np.dtype(dtype) != np.float32:
        return _plain_normal(key0, key1, counter, n, base, dtype)
    pairs = -(-n // 2)
    source = words(philox, key0, key1, counter, 2 * pairs, base)
    y = memory.empty(2 * pairs)
    pool.run(_normal, _normal.Arguments(pairs, address(source), address(y)), -(-pairs // PAIRS))
    return y[:n]
