"""Normalisation of single rows: a row stays in the first-level cache from its sums to its result.

The equations are those of `normalization_blocks`; the mean is rounded, and then corrected by the sum of differences.
"""

import numpy as np
from numba import carray, float32

from .ir import clear
from .jit import summing, worker
from .normalization_blocks import floats
from .normalization_tiling import FIELDS
from .softmax import CHUNK, total
from .vector_math import leaky


@summing
def spread(x, mean):
    """Sums of differences to the mean, and of their squares."""
    sums, squares = float32(0), float32(0)
    for j in range(x.size):
        difference = x[j] - mean
        sums += difference
        squares += difference * difference
    return sums, squares


@worker(*FIELDS)
def forward(arguments, task, lane):
    a = carray(arguments, 1)[0]
    n, slope, first = a.channels, a.slope, task * a.rows
    count, weight = min(a.rows, a.samples - first), float32(1) / float32(n)
    scale, shift = floats(a.scale, n), floats(a.shift, n)
    means, variances = floats(a.mean + 4 * first, count), floats(a.var + 4 * first, count)
    inverses = floats(a.inverse + 4 * first, count)
    for i in range(count):
        x, y = floats(a.x + 4 * (first + i) * n, n), floats(a.y + 4 * (first + i) * n, n)
        mean = total(x) * weight
        sums, squares = 0.0, 0.0
        for start in range(0, n, CHUNK):
            part, square_part = spread(x[start : start + CHUNK], mean)
            sums += part
            squares += square_part
        sums, squares = float32(sums), float32(squares)
        mean += sums * weight
        var = (squares - sums * sums * weight) * weight
        inverse = float32(1) / np.sqrt(var + a.eps)
        means[i], variances[i], inverses[i] = mean, var, inverse
        for j in range(n):
            v = (x[j] - mean) * (inverse * scale[j]) + shift[j]
            y[j] = leaky(v, v, slope)


@summing
def spread_back(x, g, scale, shift, scale_grad, shift_grad, mean, inverse, slope):
    """The sums of e (x - mean) and of e; adds d z and d to the gradients of scale and shift."""
    sum_e_x, sum_e = float32(0), float32(0)
    for j in range(x.size):
        difference = x[j] - mean
        d = leaky(g[j], difference * (inverse * scale[j]) + shift[j], slope)
        scale_grad[j] += d * (difference * inverse)
        shift_grad[j] += d
        sum_e_x += d * scale[j] * difference
        sum_e += d * scale[j]
    return sum_e_x, sum_e


@worker(*FIELDS)
def backward(arguments, task, lane):
    a = carray(arguments, 1)[0]
    n, slope, first = a.channels, a.slope, task * a.rows
    count, weight = min(a.rows, a.samples - first), float32(1) / float32(n)
    scale, shift = floats(a.scale, n), floats(a.shift, n)
    means, inverses = floats(a.mean + 4 * first, count), floats(a.inverse + 4 * first, count)
    scale_grad, shift_grad = floats(a.totals + 8 * task * n, n), floats(a.totals + 8 * task * n + 4 * n, n)
    clear(a.totals + 8 * task * n, 8 * n)
    for i in range(count):
        begin, mean, inverse = 4 * (first + i) * n, means[i], inverses[i]
        x, g, y = floats(a.x + begin, n), floats(a.g + begin, n), floats(a.y + begin, n)
        sum_e_x, sum_e = 0.0, 0.0
        for start in range(0, n, CHUNK):
            part = slice(start, start + CHUNK)
            along_x, along = spread_back(
                x[part], g[part], scale[part], shift[part], scale_grad[part], shift_grad[part], mean, inverse, slope
            )
            sum_e_x += along_x
            sum_e += along
        sum_e_x, sum_e = float32(sum_e_x), float32(sum_e)
        e_mean, ez_mean = sum_e * weight * inverse, sum_e_x * weight * inverse * inverse * inverse
        for j in range(n):
            difference, gain = x[j] - mean, inverse * scale[j]
            d = leaky(g[j], difference * gain + shift[j], slope)
            y[j] = d * gain - e_mean - difference * ez_mean
