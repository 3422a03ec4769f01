"""Rows of the op table: linear algebra."""

import numpy as np

from tests.ops.table.case import TABLE, Case, add, beside, real
from tinygen import functional as F
from tinygen.errors import ShapeError, UsageError
from tinygen.primitive import REGISTRY


def _regular(*shape):
    """Matrices far from singular ones."""
    return real(*shape) + 3 * np.eye(shape[-1])


SINGULAR = ([np.ones((2, 2))], {}, UsageError, "inv: .*[Ss]ingular")
RECTANGULAR = ([real(2, 3)], {}, ShapeError, r"square matrices .*\(2, 3\)")
for shape in ((3, 3), (2, 2, 2)):
    add("inv", [_regular(*shape)], np.linalg.inv, errors=[SINGULAR, RECTANGULAR])
    add("functional.det", [_regular(*shape)], np.linalg.det, errors=[RECTANGULAR])
    add("functional.det", [-_regular(*shape)], np.linalg.det)
    TABLE.setdefault("slogdet", []).append(
        Case(
            lambda a: REGISTRY["slogdet"](a)[1],
            [-_regular(*shape)],
            lambda a: np.linalg.slogdet(a)[1],
            errors=(RECTANGULAR,),
        )
    )
add(
    "solve",
    [_regular(3, 3), real(3, 2)],
    np.linalg.solve,
    errors=[([_regular(3, 3), real(2, 2)], {}, ShapeError, r"solve: .*\(3, 3\).*\(2, 2\)")],
)
add("solve", [_regular(2, 1, 2, 2), real(3, 2, 1)], np.linalg.solve)


def _solve_triangular(a, b, lower=True):
    """Substitution, one row at a time."""
    x, n = np.zeros(b.shape), a.shape[-1]
    for i in range(n) if lower else range(n - 1, -1, -1):
        known = np.einsum("...j,...jk->...k", a[..., i, :], x) if n else 0
        x[..., i, :] = (b[..., i, :] - known) / a[..., i, i, None]
    return x


def _half(a, b, lower=True):
    return _solve_triangular(np.tril(a) if lower else np.triu(a), b, lower)


for lower in (True, False):
    add("solve_triangular", [_regular(3, 3), real(3, 2)], _half, lower=lower)
    add("solve_triangular", [_regular(2, 2, 2), real(2, 2, 1)], _half, lower=lower)
add(
    "solve_triangular",
    [_regular(2, 2), real(2, 1)],
    _half,
    errors=[([real(2, 2), real(2)], {}, ShapeError, r"solve_triangular: .*\(2,\)")],
)


def _positive_definite(a):
    """a a' + 1, which is symmetric and positive definite."""
    return F.matmul(a, F.swapaxes(a, -1, -2)) + beside(a, np.eye(a.shape[-1]))


def _factor(a):
    """Cholesky's algorithm by columns, of a a' + 1."""
    a = a @ a.swapaxes(-1, -2) + np.eye(a.shape[-1])
    lower = np.zeros_like(a)
    for j in range(a.shape[-1]):
        rest = a[..., j:, j] - (lower[..., j:, :j] * lower[..., j : j + 1, :j]).sum(-1)
        lower[..., j:, j] = rest / np.sqrt(rest[..., :1])
    return lower


NO_FACTOR = (
    ([np.array([[1.0, 2.0], [2.0, 1.0]])], {}, UsageError, "cholesky: .*positive definite"),
    ([real(3)], {}, ShapeError, "square"),
)
TABLE["cholesky"] = [
    Case(lambda a: REGISTRY["cholesky"](_positive_definite(a)), [real(*shape)], _factor)
    for shape in ((3, 3), (2, 2, 2))
]
