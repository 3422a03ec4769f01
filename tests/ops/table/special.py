"""Rows of the op table: the gamma function, against Python's, sums and known derivatives."""

import math

import numpy as np

from tests.ops.table.case import WHOLE, add, positive
from tinygen.errors import UsageError

add("lgamma", [positive(2, 3)], np.vectorize(math.lgamma), errors=[WHOLE])
add("lgamma", [np.array([0.01, 30.5, 1.0, 2.0])], np.vectorize(math.lgamma))


def _polygamma(x, n):
    """The sum of a million terms, and half of an integral for the rest."""
    k = np.arange(1_000_000.0)
    rest = (x + 1e6) ** -n / n + 0.5 * (x + 1e6) ** (-n - 1)
    return (-1) ** (n + 1) * math.factorial(n) * (((x + k) ** (-n - 1)).sum() + rest)


for n in (1, 2, 3):
    add("polygamma", [positive(3)], lambda x, n: np.array([_polygamma(v, n) for v in x]), n=n)
add(
    "polygamma",
    [positive(2)],
    lambda x, n: np.array([_polygamma(v, n) for v in x]),
    n=1,
    errors=[([positive(2)], {"n": 0}, UsageError, "n is 0")],
)
EULER = 0.5772156649015329
add(
    "digamma",
    [np.array([1.0, 0.5, 2.0, 0.25])],
    lambda x: np.array([-EULER, -EULER - 2 * math.log(2), 1 - EULER, -EULER - math.pi / 2 - 3 * math.log(2)]),
    errors=[WHOLE],
)
