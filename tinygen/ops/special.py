"""The logarithm of the gamma function and its derivatives, from which densities are made.

Computed in float64 and rounded.
"""

import math

import numpy as np

from tinygen.errors import UsageError
from tinygen.primitive import primitive

# Lanczos' approximation with g = 7 and nine terms (Godfrey's coefficients): relative error below 1e-15 for x >= 1/2.
_LANCZOS = (
    0.99999999999980993,
    676.5203681218851,
    -1259.1392167224028,
    771.32342877765313,
    -176.61502916214059,
    12.507343278686905,
    -0.13857109526572012,
    9.9843695780195716e-6,
    1.5056327351493116e-7,
)
_BERNOULLI = (1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6)  # B_2, B_4, ...
_SHIFT = 20  # the asymptotic series are used from x + 20 on, which makes them exact for x > -10


@primitive(saves="x", elementwise=True)
def lgamma(xp, x):
    """log |Gamma(x)|, infinite at 0, -1, -2, ..."""
    wide = xp.asarray(x, "float64")
    with np.errstate(all="ignore"):
        small = wide < 0.5  # reflected: Gamma(x) Gamma(1 - x) = pi / sin(pi x)
        z = xp.where(small, 1 - wide, wide) - 1
        total = _LANCZOS[0] + sum(c / (z + k) for k, c in enumerate(_LANCZOS[1:], 1))
        t = z + 7.5
        y = 0.5 * math.log(2 * math.pi) + (z + 0.5) * xp.log(t) - t + xp.log(total)
        sine = xp.abs(xp.sin(math.pi * (wide - xp.rint(wide))))
        y = xp.where(small, math.log(math.pi) - xp.log(sine) - y, y)
        y = xp.where(xp.isinf(wide), math.inf, y)
    return y.astype(getattr(x, "dtype", "float64"))


lgamma.vjp(lambda g, y, x: g * digamma(x))


@primitive(saves="x", elementwise=True)
def digamma(xp, x):
    """The derivative of log Gamma(x), for x > -10."""
    wide = xp.asarray(x, "float64")
    z = wide + _SHIFT
    y = xp.log(z) - 0.5 / z - sum(1 / (wide + k) for k in range(_SHIFT))
    y = y - sum(b / (2 * j * z ** (2 * j)) for j, b in enumerate(_BERNOULLI, 1))
    return y.astype(getattr(x, "dtype", "float64"))


digamma.vjp(lambda g, y, x: g * polygamma(x, n=1))


@primitive(saves="x", elementwise=True)
def polygamma(xp, x, *, n):
    """The n-th derivative, n >= 1, of `digamma`, for x > -10: (-1)^(n + 1) n! sum over k >= 0 of (x + k)^(-n - 1)."""
    if not isinstance(n, int) or n < 1:
        raise UsageError(f"polygamma: n is {n!r}; it is a whole number of at least 1")
    wide, s = xp.asarray(x, "float64"), n + 1
    z = wide + _SHIFT  # the rest of the sum by the Euler-Maclaurin formula
    y = sum((wide + k) ** -s for k in range(_SHIFT)) + z ** (1 - s) / n + 0.5 * z**-s
    for j, b in enumerate(_BERNOULLI, 1):
        rising = math.prod(range(s, s + 2 * j - 1))
        y = y + b * rising / math.factorial(2 * j) * z ** (1 - s - 2 * j)
    return ((-1) ** (n + 1) * math.factorial(n) * y).astype(getattr(x, "dtype", "float64"))


polygamma.vjp(lambda g, y, x, *, n: g * polygamma(x, n=n + 1))
