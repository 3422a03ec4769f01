"""The error function and what is made of it, in float64 and without branches: loops become vector instructions."""

import functools
import math

import numpy as np
from numba import carray, float64

from . import memory, pool
from .elementwise import BLOCK, block_count
from .ir import pointer_to
from .jit import inlined, jit, worker
from .memory import address
from .normals import LN_2_HIGH, LN_2_LOW, as_bits, as_double, series

doubles_at = pointer_to(float64)
ROUNDER, ONE_BITS = 1.5 * 2**52, 1023 << 52  # x + ROUNDER has x, rounded to a whole number, in its lowest bits
EXPM1 = tuple(1 / math.factorial(n) for n in range(2, 15))  # (e^r - 1 - r) / r^2 for |r| up to log(2) / 2
LIMIT = 6.0  # from which on erf rounds to 1
# log(erfc(a)) / a for a = 3 + 3 t, by powers of t: interpolated between Chebyshev nodes, the error is below 2^-52.
ERFC = (
    -3.5734543473270377,
    -2.7302993416761963,
    -0.14188331472752339,
    0.07517628856728975,
    -0.03863690674088319,
    0.01873584390854028,
    -0.008266968647232864,
    0.0030797943195884077,
    -0.0007410410037188393,
    -0.00015241352505100677,
    0.000377987920853778,
    -0.00034057634965390326,
    0.00023242787377639008,
    -0.00013187919937598092,
    6.179880649771645e-05,
    -2.13191538820945e-05,
    1.2714114528233027e-06,
    6.83356901243864e-06,
    -6.938114619919178e-06,
    3.504574482928799e-06,
    -3.0684049071699273e-06,
    4.364760927822642e-06,
    -1.181296555885555e-06,
    -2.6214442262214836e-06,
    7.404468286134698e-07,
    1.8251516498024497e-06,
    -4.279612996944718e-07,
    -1.0028761361829833e-06,
    3.7519259008803524e-07,
    1.851521705999523e-07,
    -8.87445929329491e-08,
)
ROOT_HALF, DENSITY = 0.5**0.5, (2 * math.pi) ** -0.5


@inlined
def parts(x):
    """(2^n, e^r - 1) with x = n log(2) + r."""
    shifted = x * (1 / math.log(2)) + ROUNDER
    n = shifted - ROUNDER
    r = x - n * LN_2_HIGH - n * LN_2_LOW
    return as_double((as_bits(shifted) << 52) + ONE_BITS), r + r * r * series(r, EXPM1)


@inlined
def erf(x):
    """Error function, within 3 units in the last place: 1 - e^log(erfc(x)), the logarithm as a polynomial."""
    a = abs(x)
    a = LIMIT if a > LIMIT else a
    power, rest = parts(a * series(a / 3.0 - 1.0, ERFC))
    return np.copysign((1.0 - power) - power * rest, x)


@inlined
def exp_minus(x):
    """e^-x for x from 0 on; 0 from 708 on."""
    power, rest = parts(-min(x, 708.0))
    return 0.0 if x > 708.0 else power + power * rest


@jit
def double_block(a, start, task):
    """The float64 elements of a task, in an array of a.size elements at an address."""
    return carray(doubles_at(start + 8 * BLOCK * task), min(BLOCK, a.size - BLOCK * task))


@worker("size x y")
def _erf(arguments, task, lane):
    a = carray(arguments, 1)[0]
    x, y = double_block(a, a.x, task), double_block(a, a.y, task)
    for i in range(x.size):
        y[i] = erf(x[i])


@worker("size x y")
def _gelu(arguments, task, lane):
    a = carray(arguments, 1)[0]
    x, y = double_block(a, a.x, task), double_block(a, a.y, task)
    for i in range(x.size):
        y[i] = x[i] * (0.5 + 0.5 * erf(ROOT_HALF * x[i]))


@worker("size g x y")
def _gelu_backward(arguments, task, lane):
    a = carray(arguments, 1)[0]
    g, x, y = double_block(a, a.g, task), double_block(a, a.x, task), double_block(a, a.y, task)
    for i in range(x.size):
        density = DENSITY * exp_minus(0.5 * x[i] * x[i])
        y[i] = g[i] * (0.5 + 0.5 * erf(ROOT_HALF * x[i]) + x[i] * density)


def serves(*arrays) -> bool:
    """Whether these are float64 arrays of one shape."""
    return all(isinstance(a, np.ndarray) and a.dtype == np.float64 and a.shape == arrays[0].shape for a in arrays)


def applied(task, *arrays):
    """The result of a worker for arrays that it serves."""
    y = memory.empty(arrays[0].shape, np.float64)
    arrays = [memory.contiguous(a) for a in arrays]  # which gives an array without axes one
    pool.run(task, task.Arguments(y.size, *map(address, (*arrays, y))), block_count(y.size))
    return y


def with_doubles(kernel, task, results=lambda y, *arrays: y):
    """A kernel for float32 that a worker extends to float64; `results` makes what it returns of y and the arguments."""

    @functools.wraps(kernel)
    def function(*arrays):
        return results(applied(task, *arrays), *arrays) if serves(*arrays) else kernel(*arrays)

    return function
