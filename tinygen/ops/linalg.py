"""Linear algebra on square matrices, or stacks (..., N, N) of them."""

from tinygen.errors import ShapeError
from tinygen.ops.arithmetic import exp, where
from tinygen.ops.linear import matmul, summed, swapped
from tinygen.ops.selection import tril, triu
from tinygen.primitive import primitive


def _square(name: str, a) -> None:
    if a.ndim < 2 or a.shape[-1] != a.shape[-2]:
        raise ShapeError(f"{name}: takes square matrices or stacks of them, not {a.shape}")


@primitive(saves="y")
def inv(xp, a):
    """The inverse of each matrix; UsageError for one that has none."""
    _square("inv", a)
    return xp.linalg.inv(a)


inv.vjp(lambda g, y, a: -matmul(matmul(swapped(y), g), swapped(y)))


@primitive(saves="a y")
def solve(xp, a, b):
    """x with a x = b, for b (..., N, K)."""
    _systems("solve", a, b)
    return xp.linalg.solve(a, b)


def _systems(name: str, a, b) -> None:
    _square(name, a)
    if b.ndim < 2 or b.shape[-2] != a.shape[-1]:
        raise ShapeError(f"{name}: matrices {a.shape} and right-hand sides {b.shape} (..., N, K) do not fit")


solve.vjp(
    lambda g, y, a, b: summed(-matmul(solve(swapped(a), g), swapped(y)), a),
    lambda g, y, a, b: summed(solve(swapped(a), g), b),
)


@primitive(saves="a y")
def solve_triangular(xp, a, b, *, lower=True):
    """x with a x = b, for b (..., N, K), where a is read as lower (or upper) triangular: the other half is not read."""
    _systems("solve_triangular", a, b)
    return xp.linalg.solve(xp.tril(a) if lower else xp.triu(a), b)


def _half(a, lower: bool):
    return tril(a) if lower else triu(a)


solve_triangular.vjp(
    lambda g, y, a, b, *, lower=True: summed(
        _half(-matmul(solve_triangular(swapped(a), g, lower=not lower), swapped(y)), lower), a
    ),
    lambda g, y, a, b, *, lower=True: summed(solve_triangular(swapped(a), g, lower=not lower), b),
)


@primitive(saves="y")
def cholesky(xp, a):
    """The lower triangular L with L L' = a, for symmetric positive definite matrices a, whose lower half is read.

    The gradient is that of a symmetric a, and is symmetric (Murray 2016, arXiv:1602.07527, equation 10).
    """
    _square("cholesky", a)
    return xp.linalg.cholesky(a)


def _cholesky_vjp(g, y, a):
    middle = tril(matmul(swapped(y), g))
    middle = middle - 0.5 * tril(triu(middle))  # half of the diagonal
    inner = solve_triangular(swapped(y), middle, lower=False)
    outer = swapped(solve_triangular(swapped(y), swapped(inner), lower=False))
    return 0.5 * (outer + swapped(outer))


cholesky.vjp(_cholesky_vjp)


@primitive(saves="a")
def slogdet(xp, a):
    """The sign of the determinant of each matrix, and the logarithm of its absolute value."""
    _square("slogdet", a)
    sign, logarithm = xp.linalg.slogdet(a)
    return sign, logarithm


@slogdet.vjp
def _(g, y, a):
    return g[1].reshape((*g[1].shape, 1, 1)) * swapped(inv(a))


def det(a):
    """The determinant of each matrix; its gradient needs an inverse."""
    sign, logarithm = slogdet(a)
    return where(sign != 0, sign * exp(logarithm), 0.0)
