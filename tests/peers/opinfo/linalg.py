"""Entries of OpInfo for matrices and vectors."""

import math
from functools import reduce

import numpy as np

from tests.peers.opinfo.adapter import ENTRIES, entry, require
from tests.peers.opinfo.arithmetic import raw
from tinygen import functional as F


def T(x):
    return F.swapaxes(x, -1, -2)


def matmul(a, b):
    """Products of vectors and matrices as in NumPy."""
    if a.ndim == 1 and b.ndim == 1:
        return F.sum(a * b)
    if a.ndim == 1:
        return F.squeeze(F.matmul(a.reshape(1, -1), b), -2)
    if b.ndim == 1:
        return F.squeeze(F.matmul(a, b.reshape(-1, 1)), -1)
    return F.matmul(a, b)


for names, function in (
    ("mm bmm matmul", matmul),
    ("mv", matmul),
    (
        "dot vdot inner",
        lambda a, b: matmul(a, T(b)) if b.ndim > 1 and a.ndim > 0 else F.sum(a * b) if a.ndim == 1 else a * b,
    ),
    ("__rmatmul__", lambda a, b: matmul(b, a)),
    ("outer", lambda a, b: a.reshape(-1, 1) * b),
    ("linalg.vecdot", lambda a, b, dim=-1: F.sum(a * b, axis=dim)),
    ("linalg.inv", F.inv),
    ("linalg.det", F.det),
    ("linalg.slogdet", lambda a: F.slogdet(a)),
    ("logdet", lambda a: (require((raw(F.slogdet(a)[0]) > 0).all()), F.slogdet(a)[1])[1]),
    ("linalg.inv_ex", lambda a, check_errors=False: (F.inv(a), np.zeros(a.shape[:-2], np.int32))),
    ("linalg.multi_dot", lambda xs: reduce(matmul, xs)),
    ("linalg.tensorinv", lambda a, ind=2: _tensorinv(a, ind)),
    ("pinverse", lambda a, *_, **k: (require(a.shape[-1] == a.shape[-2] and not k), F.inv(a))[1]),
):
    for name in names.split():
        ENTRIES[name] = function


def _tensorinv(a, ind):
    rows = math.prod(a.shape[:ind])
    return F.inv(a.reshape(rows, -1)).reshape((*a.shape[ind:], *a.shape[:ind]))


@entry("linalg.tensorsolve")
def tensorsolve(a, b, dims=None):
    require(dims is None)
    return F.solve(a.reshape(b.size, b.size), b.reshape(-1, 1)).reshape(a.shape[b.ndim :])


@entry("linalg.solve", "linalg.solve_ex")
def solve(a, b, left=True, check_errors=False):
    if not left:
        return T(solve(T(a), T(b)))
    is_vector = b.ndim == 1 or (b.ndim == a.ndim - 1 and b.shape == a.shape[:-1])
    return F.squeeze(F.solve(a, F.unsqueeze(b, -1)), -1) if is_vector else F.solve(a, b)


ENTRIES["linalg.solve_ex"] = lambda a, b, **k: (solve(a, b, **k), np.zeros(a.shape[:-2], np.int32))


@entry("linalg.solve_triangular")
def solve_triangular(a, b, upper, left=True, unitriangular=False):
    if not left:
        return T(solve_triangular(T(a), T(b), not upper, unitriangular=unitriangular))
    if unitriangular:
        eye = np.eye(a.shape[-1])
        a = a * (1 - eye) + eye
    lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    return F.solve_triangular(F.broadcast_to(a, shape=lead + a.shape[-2:]), b, lower=not upper)


@entry("triangular_solve")
def triangular_solve(b, a, upper=True, transpose=False, unitriangular=False):
    y = solve_triangular(T(a) if transpose else a, b, upper != transpose, unitriangular=unitriangular)
    lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    return y, F.broadcast_to(a, shape=lead + a.shape[-2:])


@entry("cholesky", "linalg.cholesky")
def cholesky(a, upper=False):
    y = F.cholesky((a + T(a)) * 0.5)
    return T(y) if upper else y


ENTRIES["linalg.cholesky_ex"] = lambda a, upper=False, check_errors=False: (
    cholesky(a, upper),
    np.zeros(a.shape[:-2], np.int32),
)


@entry("linalg.matrix_power")
def matrix_power(a, n):
    if n < 0:
        a, n = F.inv(a), -n
    return reduce(F.matmul, [a] * n) if n else a * 0.0 + np.eye(a.shape[-1])


@entry("addmm", "addmm:decomposed", "addmv", "addr")
def addmm(x, a, b, beta=1, alpha=1):
    return x * beta + matmul(a, b) * alpha


ENTRIES["addr"] = lambda x, a, b, beta=1, alpha=1: x * beta + a.reshape(-1, 1) * b * alpha
ENTRIES["baddbmm"] = addmm
ENTRIES["addbmm"] = lambda x, a, b, beta=1, alpha=1: x * beta + F.sum(F.matmul(a, b), axis=0) * alpha


@entry("einsum")
def einsum(xs, equation):
    if "->" not in equation:
        letters = [c for c in equation if c.isalpha()]
        equation += "->" + "".join(sorted(c for c in set(letters) if letters.count(c) == 1))
    return F.einsum(equation, *xs)


@entry("tensordot")
def tensordot(a, b, dims=2):
    first, second = (
        (list(d) for d in dims)
        if isinstance(dims, list | tuple)
        else (
            list(range(a.ndim - dims, a.ndim)),
            list(range(dims)),
        )
    )
    first, second = [d % a.ndim for d in first], [d % b.ndim for d in second]
    kept_a, kept_b = ([i for i in range(x.ndim) if i not in d] for x, d in ((a, first), (b, second)))
    shape = [a.shape[i] for i in kept_a] + [b.shape[i] for i in kept_b]
    n = math.prod(a.shape[i] for i in first)
    left = a.transpose((*kept_a, *first)).reshape(-1, n) if kept_a or first else a.reshape(1, 1)
    right = b.transpose((*second, *kept_b)).reshape(n, -1) if kept_b or second else b.reshape(1, 1)
    return F.matmul(left, right).reshape(shape)


@entry("kron")
def kron(a, b):
    rank = max(a.ndim, b.ndim)
    a, b = (x.reshape((1,) * (rank - x.ndim) + tuple(x.shape)) for x in (a, b))
    y = a.reshape([n for m in a.shape for n in (m, 1)]) * b.reshape([n for m in b.shape for n in (1, m)])
    return y.reshape([m * n for m, n in zip(a.shape, b.shape, strict=True)])


@entry("cross", "linalg.cross")
def cross(a, b, dim=-1):
    if dim is None:
        dim = next(i for i, n in enumerate(a.shape) if n == 3)
    shape = np.broadcast_shapes(a.shape, b.shape)
    a, b = (F.broadcast_to(x, shape=shape) for x in (a, b))
    (a0, a1, a2), (b0, b1, b2) = ([x[(slice(None),) * (dim % x.ndim) + (i,)] for i in range(3)] for x in (a, b))
    return F.stack([a1 * b2 - a2 * b1, a2 * b0 - a0 * b2, a0 * b1 - a1 * b0], axis=dim)


@entry("cdist")
def cdist(a, b, p=2.0, compute_mode=None):
    require(p > 0)
    return F.norm(F.unsqueeze(a, -2) - F.unsqueeze(b, -3), float(p), -1)


@entry("nn.functional.pdist")
def pdist(x, p=2.0):
    require(p > 0)
    rows, columns = np.triu_indices(x.shape[0], 1)
    return F.norm(x[rows] - x[columns], float(p), -1)


@entry("linalg.vander")
def vander(x, N=None):
    require(x.ndim > 0)
    powers = range(x.shape[-1] if N is None else N)
    ones = x * 0.0 + 1.0
    columns = [reduce(lambda a, b: a * b, [x] * k, ones) for k in powers]
    return F.stack(columns, axis=-1)


@entry("cov")
def cov(x, correction=1, fweights=None, aweights=None):
    require(fweights is None and aweights is None and x.ndim == 2 and len(x) > 1)
    centred = x - F.mean(x, axis=1, keepdims=True)
    return F.matmul(centred, T(centred)) * (1 / max(x.shape[1] - correction, 0))


@entry("corrcoef")
def corrcoef(x):
    require(x.ndim == 2 and len(x) > 1)
    c = cov(x)
    d = F.sqrt(F.sum(c * np.eye(len(x)), axis=1))
    return F.clip(c / (d.reshape(-1, 1) * d), -1.0, 1.0)
