"""Entries of OpInfo for reductions, cumulative functions, order and creation."""

import math

import numpy as np

import tinygen as tg
from tests.peers.opinfo.adapter import ENTRIES, entry, require
from tests.peers.opinfo.arithmetic import raw, wide
from tinygen import functional as F


def axes(x, dim):
    """PyTorch's dim as an axis: none at all stands for all."""
    if dim is None or (isinstance(dim, tuple | list) and not dim):
        return None
    return tuple(dim) if isinstance(dim, tuple | list) else dim


def reduction(function):
    return lambda x, dim=None, keepdim=False, **k: (
        require(not any(v is not None for v in k.values())),
        function(wide(x), axis=axes(x, dim), keepdims=keepdim),
    )[1]


def count(x, dim):
    dims = range(x.ndim) if axes(x, dim) is None else np.atleast_1d(np.asarray(dim))
    return math.prod(x.shape[i] for i in dims) if x.ndim else 1


for name, function in (
    ("sum", F.sum),
    ("mean", F.mean),
    ("amax", F.max),
    ("amin", F.min),
    ("logsumexp", F.logsumexp),
    ("all", F.all),
    ("any", F.any),
    ("max:reduction_no_dim", F.max),
    ("min:reduction_no_dim", F.min),
):
    ENTRIES[name] = reduction(function)
ENTRIES["prod"] = reduction(lambda x, axis, keepdims: F.prod(x, axis, keepdims))
ENTRIES["count_nonzero"] = lambda x, dim=None: F.sum(raw(x) != 0, axis=axes(x, dim))
ENTRIES["nansum"] = reduction(
    lambda x, axis, keepdims: F.sum(F.where(F.isnan(x), 0.0, x), axis=axis, keepdims=keepdims)
)


@entry("nanmean")
def nanmean(x, dim=None, keepdim=False, dtype=None):
    present = F.logical_not(F.isnan(x))
    total = F.sum(F.where(present, x, 0.0), axis=axes(x, dim), keepdims=keepdim)
    return total / wide(F.sum(raw(present), axis=axes(x, dim), keepdims=keepdim))


def _ddof(correction, unbiased):
    return int(unbiased) if correction is None else correction


@entry("var", "var:unbiased")
def var(x, dim=None, unbiased=True, keepdim=False, correction=None):
    if isinstance(dim, bool):
        dim, unbiased = None, dim
    ddof = _ddof(correction, unbiased)
    require(float(ddof).is_integer() and count(x, dim) > ddof)
    return F.var(x, axis=axes(x, dim), keepdims=keepdim, ddof=ddof)


@entry("std", "std:unbiased")
def std(x, *args, **options):
    return F.sqrt(var(x, *args, **options))


ENTRIES["var_mean"] = ENTRIES["var_mean:unbiased"] = lambda x, *a, **k: (var(x, *a, **k), _mean_beside(x, *a, **k))
ENTRIES["std_mean"] = ENTRIES["std_mean:unbiased"] = lambda x, *a, **k: (std(x, *a, **k), _mean_beside(x, *a, **k))


def _mean_beside(x, dim=None, unbiased=True, keepdim=False, correction=None):
    return F.mean(x, axis=None if isinstance(dim, bool) else axes(x, dim), keepdims=keepdim)


def _extreme(index, name):
    def function(x, dim, keepdim=False):
        require(x.ndim > 0)
        indices = raw(index(x, axis=dim, keepdims=True))
        picked = F.take_along_axis(x, indices, axis=dim)
        return (picked, indices) if keepdim else (F.squeeze(picked, dim), np.squeeze(indices, dim))

    return function


ENTRIES["max:reduction_with_dim"] = _extreme(F.argmax, "max")
ENTRIES["min:reduction_with_dim"] = _extreme(F.argmin, "min")
for name, function in (("argmax", F.argmax), ("argmin", F.argmin)):
    ENTRIES[name] = lambda x, dim=None, keepdim=False, function=function: function(x, axis=dim, keepdims=keepdim)


@entry("aminmax")
def aminmax(x, dim=None, keepdim=False):
    return F.min(x, axis=dim, keepdims=keepdim), F.max(x, axis=dim, keepdims=keepdim)


@entry("cumsum")
def cumsum(x, dim, dtype=None):
    return F.cumsum(x, axis=dim)


@entry("cumprod")
def cumprod(x, dim, dtype=None):
    return F.cumprod(x, dim)


@entry("logcumsumexp")
def logcumsumexp(x, dim):
    require(np.isfinite(raw(x)).all() and x.ndim > 0)
    top = raw(x).max(axis=dim, keepdims=True) if x.size else 0.0
    return F.log(F.cumsum(F.exp(x - top), axis=dim)) + top


@entry("norm", "norm:fro", "norm:inf", "linalg.vector_norm")
def norm(x, p=2.0, dim=None, keepdim=False, dtype=None, ord=None):
    p = {"fro": 2.0, None: 2.0}.get(p, p) if ord is None else ord
    require(not isinstance(p, str) and p > 0)
    return F.norm(x, float(p), axes(x, dim), keepdim)


@entry("linalg.norm", "linalg.norm:subgradients_at_zero", "linalg.matrix_norm")
def matrix_norm(x, ord=None, dim=None, keepdim=False, dtype=None):
    dims = axes(x, dim)
    pair = isinstance(dims, tuple) and len(dims) == 2
    if ord in (None, "fro") or (ord is not None and not pair and x.ndim == 1) or isinstance(dims, int):
        require(ord in (None, "fro") or (not isinstance(ord, str) and ord > 0))
        return F.norm(x, 2.0 if ord in (None, "fro") else float(ord), dims, keepdim)
    require(not isinstance(ord, str) and abs(ord) in (1, math.inf))
    rows, columns = dims if pair else (-2, -1)
    summed, left = (rows, columns) if abs(ord) == 1 else (columns, rows)
    sums = F.sum(F.abs(x), axis=summed, keepdims=True)
    y = (F.max if ord > 0 else F.min)(sums, axis=left, keepdims=True)
    return y if keepdim else F.squeeze(y, (rows, columns))


@entry("renorm")
def renorm(x, p, dim, maxnorm):
    others = tuple(i for i in range(x.ndim) if i != dim % x.ndim)
    length = F.norm(x, float(p), others, True)
    return x * F.where(length > maxnorm, maxnorm / (length + 1e-7), 1.0 + 0 * length)


@entry("trapz", "trapezoid")
def trapezoid(y, x=None, dim=-1, dx=1.0):
    require(x is None and y.ndim > 0 and y.shape[dim] > 0)
    low, high = _cut(y, dim, slice(None, -1)), _cut(y, dim, slice(1, None))
    return F.sum((low + high) * (0.5 * dx), axis=dim)


@entry("cumulative_trapezoid")
def cumulative_trapezoid(y, x=None, dim=-1, dx=1.0):
    require(x is None and y.ndim > 0 and y.shape[dim] > 0)
    return F.cumsum((_cut(y, dim, slice(None, -1)) + _cut(y, dim, slice(1, None))) * (0.5 * dx), axis=dim)


def _cut(x, dim, part):
    return x[(slice(None),) * (dim % x.ndim) + (part,)]


@entry("diff")
def diff(x, n=1, dim=-1, prepend=None, append=None):
    require(x.ndim > 0)
    parts = [p for p in (prepend, x, append) if p is not None]
    x = F.concatenate(parts, dim) if len(parts) > 1 else x
    require(0 < n <= x.shape[dim])
    for _ in range(n):
        x = _cut(x, dim, slice(1, None)) - _cut(x, dim, slice(None, -1))
    return x


# Order


@entry("sort")
def sort(x, dim=-1, descending=False, stable=None):
    require(x.ndim > 0 and not descending)
    indices = F.argsort(x, axis=dim)
    return F.take_along_axis(x, indices, axis=dim), raw(indices)


@entry("argsort")
def argsort(x, dim=-1, descending=False, stable=None):
    require(x.ndim > 0 and not descending)
    return F.argsort(x, axis=dim)


ENTRIES["msort"] = lambda x: (require(x.ndim > 0), F.sort(x, 0))[1]


@entry("topk")
def topk(x, k, dim=-1, largest=True, sorted=True):
    require(x.ndim > 0)
    y, indices = F.topk(x, k, dim, largest)
    return y, raw(indices)


@entry("kthvalue")
def kthvalue(x, k, dim=-1, keepdim=False):
    require(x.ndim > 0)
    indices = np.take(raw(F.argsort(x, axis=dim)), [k - 1], axis=dim)
    y = F.take_along_axis(x, indices, axis=dim)
    return (y, indices) if keepdim else (F.squeeze(y, dim), np.squeeze(indices, dim))


@entry("median")
def median(x, dim=None, keepdim=False):
    require(x.ndim > 0 and not np.isnan(raw(x)).any())
    if dim is None:
        flat = x.flatten()
        return kthvalue(flat, (flat.size + 1) // 2)[0]
    return kthvalue(x, (x.shape[dim] + 1) // 2, dim, keepdim)


@entry("quantile", "nanquantile")
def quantile(x, q, dim=None, keepdim=False, interpolation="linear"):
    require(interpolation == "linear" and x.ndim > 0 and not np.isnan(raw(x)).any() and not isinstance(q, tg.Tensor))
    line = F.sort(x.flatten() if dim is None else F.swapaxes(x, dim, -1))
    place = q * (line.shape[-1] - 1)
    low = math.floor(place)
    y = line[..., low] + (place - low) * (line[..., math.ceil(place)] - line[..., low])
    if keepdim:
        return y.reshape((1,) * x.ndim) if dim is None else F.swapaxes(F.unsqueeze(y, -1), dim, -1)
    return y if dim is None else F.squeeze(F.swapaxes(F.unsqueeze(y, -1), dim, -1), dim)


# Creation


def _shape(size):
    return tuple(size[0]) if len(size) == 1 and isinstance(size[0], tuple | list) else tuple(size)


def _plain(options):
    require(not any(v not in (None, False) for k, v in options.items() if k != "requires_grad"))


for name, function in (("zeros", tg.zeros), ("ones", tg.ones)):
    ENTRIES[name] = lambda *size, function=function, **k: (_plain(k), function(*_shape(size), dtype="float64"))[1]
    ENTRIES[f"{name}_like"] = lambda x, function=function, **k: (_plain(k), function(*x.shape, dtype="float64"))[1]
    ENTRIES[f"new_{name}"] = lambda x, size, *_, function=function, **k: (
        _plain(k),
        function(*size, dtype="float64"),
    )[1]
ENTRIES["full"] = lambda size, value, **k: (_plain(k), tg.full(tuple(size), value, dtype="float64"))[1]
ENTRIES["new_full"] = lambda x, size, value, **k: (_plain(k), tg.full(tuple(size), value, dtype="float64"))[1]
ENTRIES["full_like"] = lambda x, value, **k: (_plain(k), tg.full(x.shape, value, dtype="float64"))[1]
ENTRIES["scalar_tensor"] = lambda value, **k: (_plain(k), tg.full((), value, dtype="float64"))[1]
ENTRIES["eye"] = lambda n, m=None, **k: (_plain(k), tg.eye(n, m, dtype="float64"))[1]


@entry("linspace")
def linspace(start, stop, steps, **options):
    _plain(options)
    return tg.linspace(start, stop, steps, dtype="float64")


@entry("arange")
def arange(start, *rest, **options):
    _plain(options)
    return tg.arange(start, *rest, dtype="float64")


@entry("zero_")
def zero(x):
    return tg.zeros_like(x)
