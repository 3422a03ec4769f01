"""Entries of OpInfo that move elements: shapes, indices, parts, joins."""

import math

import numpy as np

import tinygen as tg
from tests.peers.opinfo.adapter import ENTRIES, entry, require
from tests.peers.opinfo.arithmetic import raw, wide
from tinygen import functional as F


def _one_tuple(numbers):
    return tuple(numbers[0]) if len(numbers) == 1 and isinstance(numbers[0], tuple | list) else tuple(numbers)


def _axis(x, dim, extra=0):
    return dim % max(x.ndim + extra, 1)


def _along(x, dim, part):
    return (slice(None),) * _axis(x, dim) + (part,)


for names, function in (
    ("reshape view view_copy", lambda x, *shape: x.reshape(_one_tuple(shape))),
    ("reshape_as view_as", lambda x, other: x.reshape(other.shape)),
    ("ravel", lambda x: x.flatten()),
    ("flatten", lambda x, start_dim=0, end_dim=-1: x.flatten(start_dim, end_dim) if x.ndim else x.reshape(1)),
    ("unsqueeze unsqueeze_copy", F.unsqueeze),
    ("permute permute_copy", lambda x, dims: x.permute(tuple(dims))),
    ("transpose transpose_copy", lambda x, a, b: F.swapaxes(x, a, b) if x.ndim else x),
    ("T", lambda x: x.T),
    ("mT H mH", lambda x: F.swapaxes(x, -1, -2) if x.ndim else x),
    ("t t_copy", lambda x: x.T),
    ("flip", lambda x, dims: F.flip(x, axis=tuple(dims))),
    ("fliplr", lambda x: F.flip(x, axis=1)),
    ("flipud", lambda x: F.flip(x, axis=0)),
    ("expand expand_copy", lambda x, size: x.expand(tuple(size))),
    ("expand_as", lambda x, other: F.broadcast_to(x, shape=other.shape)),
    ("broadcast_to", lambda x, size: F.broadcast_to(x, shape=tuple(size))),
    ("repeat", lambda x, *times: x.repeat(_one_tuple(times))),
    ("tile", lambda x, dims: F.tile(x, tuple(dims))),
    ("tril", lambda x, diagonal=0: F.tril(x, k=diagonal)),
    ("triu", lambda x, diagonal=0: F.triu(x, k=diagonal)),
    ("cat", lambda xs, dim=0: F.concatenate(_nonempty(xs), dim)),
    ("stack", lambda xs, dim=0: F.stack(xs, dim)),
    ("vstack", lambda xs: F.concatenate([_rows(x) for x in xs])),
    ("hstack", lambda xs: F.concatenate([x if x.ndim else x.reshape(1) for x in xs], 1 if xs[0].ndim > 1 else 0)),
    ("column_stack", lambda xs: F.concatenate([x if x.ndim > 1 else x.reshape(-1, 1) for x in xs], 1)),
    ("dstack", lambda xs: F.concatenate([_deep(x) for x in xs], 2)),
    ("unbind unbind_copy", lambda x, dim=0: tuple(x[_along(x, dim, i)] for i in range(x.shape[dim]))),
    ("narrow narrow_copy", lambda x, dim, start, length: _narrow(x, dim, start, length)),
    ("select", lambda x, dim, index: x[_along(x, dim, index)]),
    ("gather", lambda x, dim, index, sparse_grad=False: _gather(x, dim, index)),
    ("index_select", lambda x, dim, index: (require(x.ndim > 0), x[_along(x, dim, index)])[1]),
    ("masked_select", lambda x, mask: F.broadcast_to(x, shape=_joint(x, mask))[np.broadcast_to(mask, _joint(x, mask))]),
    ("__getitem__", lambda x, index: x[_plain(index)]),
    ("take", lambda x, index: x.flatten()[index]),
    ("trace", lambda x: F.sum(x[np.arange(min(x.shape)), np.arange(min(x.shape))])),
    ("atleast_1d", lambda *xs: _each(lambda x: x if x.ndim else x.reshape(1), xs)),
    ("atleast_2d", lambda *xs: _each(lambda x: _rows(x), xs)),
    ("atleast_3d", lambda *xs: _each(lambda x: _deep(x), xs)),
    ("argwhere", lambda x: np.argwhere(raw(x))),
):
    for name in names.split():
        ENTRIES[name] = function


def _each(function, xs):
    xs = xs[0] if len(xs) == 1 and isinstance(xs[0], tuple | list) else xs
    return [function(x) for x in xs]


def _nonempty(xs):
    return [x for x in xs if x.shape != (0,)] or list(xs)[:1]


def _rows(x):
    return x if x.ndim > 1 else x.reshape(1, -1)


def _deep(x):
    return x if x.ndim > 2 else F.unsqueeze(_rows(x), -1)


def _joint(x, mask):
    return np.broadcast_shapes(x.shape, mask.shape)


def _narrow(x, dim, start, length):
    start = int(raw(start))
    start += x.shape[dim] if start < 0 else 0
    return x[_along(x, dim, slice(start, start + length))]


def _gather(x, dim, index):
    require(x.ndim > 0 and index.ndim == x.ndim)
    dim = _axis(x, dim)
    cut = tuple(slice(None) if i == dim else slice(0, n) for i, n in enumerate(index.shape))
    return F.take_along_axis(x[cut], index, axis=dim)


def _plain(index):
    if isinstance(index, tuple | list):
        parts = tuple(_plain(i) for i in index)
        return parts if isinstance(index, tuple) else np.asarray(index) if index else parts
    return index


@entry("squeeze", "squeeze:multiple", "squeeze_copy")
def squeeze(x, dim=None):
    return F.squeeze(x, tuple(dim) if isinstance(dim, list | tuple) else dim)


@entry("unflatten")
def unflatten(x, dim, sizes):
    dim = _axis(x, dim)
    sizes = tuple(x.shape[dim] // -math.prod(sizes) if n == -1 else n for n in sizes)
    return x.reshape((*x.shape[:dim], *sizes, *x.shape[dim + 1 :]))


@entry("movedim")
def movedim(x, source, destination):
    sources, targets = (np.atleast_1d(np.asarray(d)) % max(x.ndim, 1) for d in (source, destination))
    order = [i for i in range(x.ndim) if i not in sources]
    for target, origin in sorted(zip(targets.tolist(), sources.tolist(), strict=True)):
        order.insert(target, origin)
    return x.transpose(tuple(order))


@entry("roll")
def roll(x, shifts, dims=()):
    shifts, dims = (tuple(v) if isinstance(v, tuple | list) else (v,) for v in (shifts, dims))
    if not dims:
        return F.roll(x.flatten(), shifts[0], 0).reshape(x.shape)
    for shift, dim in zip(shifts, dims, strict=True):
        x = F.roll(x, shift, dim)
    return x


@entry("rot90")
def rot90(x, k=1, dims=(0, 1)):
    a, b = dims
    k = k % 4
    if k == 2:
        return F.flip(x, axis=(a, b))
    if k == 1:
        return F.swapaxes(F.flip(x, axis=b), a, b)
    return F.flip(F.swapaxes(x, a, b), axis=b) if k == 3 else x


@entry("broadcast_tensors")
def broadcast_tensors(*xs):
    shape = np.broadcast_shapes(*(x.shape for x in xs))
    return [F.broadcast_to(x, shape=shape) for x in xs]


@entry("chunk", "unsafe_chunk")
def chunk(x, chunks, dim=0):
    return F.chunk(x, chunks, dim)


@entry("split", "split:list_args", "unsafe_split", "split_with_sizes", "split_with_sizes_copy")
def split(x, sizes, dim=0):
    if isinstance(sizes, int):
        length = x.shape[dim]
        sizes = [min(sizes, length - i) for i in range(0, length, sizes)]
    return F.split(x, sizes=tuple(sizes), axis=dim)


@entry("tensor_split")
def tensor_split(x, sections, dim=0):
    length = x.shape[dim]
    if isinstance(sections, np.ndarray):
        sections = sections.tolist()
    if isinstance(sections, int):
        small, more = divmod(length, sections)
        sizes = [small + 1] * more + [small] * (sections - more)
    else:
        edges = [min(max(e + length if e < 0 else e, 0), length) for e in sections]
        sizes = np.diff([0, *edges, length]).tolist()
        require(min(sizes) >= 0)
    return F.split(x, sizes=tuple(sizes), axis=dim)


ENTRIES["hsplit"] = lambda x, sections: tensor_split(x, sections, 1 if x.ndim > 1 else 0)
ENTRIES["vsplit"] = lambda x, sections: tensor_split(x, sections, 0)
ENTRIES["dsplit"] = lambda x, sections: tensor_split(x, sections, 2)


@entry("slice")
def slice_of(x, dim=0, start=None, end=None, step=1):
    return x[_along(x, dim, slice(start, end, step))]


@entry("meshgrid:variadic_tensors", "meshgrid:list_of_tensors")
def meshgrid(*xs, indexing="ij"):
    xs = list(xs[0]) if isinstance(xs[0], list | tuple) else list(xs)
    xs = [x.flatten() for x in xs]
    swap = indexing == "xy" and len(xs) > 1
    order = [1, 0, *range(2, len(xs))] if swap else list(range(len(xs)))
    shape = [xs[i].size for i in order]
    return [
        F.broadcast_to(x.reshape([x.size if order[k] == i else 1 for k in range(len(xs))]), shape=tuple(shape))
        for i, x in enumerate(xs)
    ]


def _diagonal_index(x, offset, dim1, dim2):
    rows, columns = x.shape[dim1], x.shape[dim2]
    i = np.arange(max(min(rows + min(offset, 0), columns - max(offset, 0)), 0))
    return i - min(offset, 0), i + max(offset, 0)


@entry("diagonal", "diagonal_copy", "linalg.diagonal")
def diagonal(x, offset=0, dim1=0, dim2=1):
    dim1, dim2 = _axis(x, dim1), _axis(x, dim2)
    rows, columns = _diagonal_index(x, offset, dim1, dim2)
    order = (*(i for i in range(x.ndim) if i not in (dim1, dim2)), dim1, dim2)
    return x.transpose(order)[..., rows, columns]


ENTRIES["linalg.diagonal"] = lambda x, offset=0, dim1=-2, dim2=-1: diagonal(x, offset, dim1, dim2)


@entry("diag_embed")
def diag_embed(x, offset=0, dim1=-2, dim2=-1):
    n = x.shape[-1] + abs(offset)
    i = np.arange(x.shape[-1])
    y = F.scatter(x, index=(..., i - min(offset, 0), i + max(offset, 0)), shape=(*x.shape[:-1], n, n))
    a, b = dim1 % y.ndim, dim2 % y.ndim
    order = list(range(y.ndim - 2))
    for target, axis in sorted([(a, y.ndim - 2), (b, y.ndim - 1)]):
        order.insert(target, axis)
    return y.transpose(tuple(order))


ENTRIES["diag"] = lambda x, diagonal_=0, **k: _diag(x, k.get("diagonal", diagonal_))
ENTRIES["diagflat"] = lambda x, offset=0: diag_embed(x.flatten(), offset)


def _diag(x, offset):
    return diag_embed(x, offset) if x.ndim == 1 else diagonal(x, offset)


@entry("index_add")
def index_add(x, dim, index, source, alpha=1):
    require(x.ndim > 0 and source.ndim == x.ndim)
    return F.index_add(x, index, source * alpha, dim)


@entry("index_fill")
def index_fill(x, dim, index, value):
    require(x.ndim > 0)
    mask = np.zeros(x.shape[dim], bool)
    mask[index] = True
    mask = mask.reshape((-1,) + (1,) * (x.ndim - 1 - _axis(x, dim)))
    return F.where(mask, float(value) if isinstance(value, int | float) else value, x)


@entry("index_copy")
def index_copy(x, dim, index, source):
    require(x.ndim > 0 and len(np.unique(index)) == index.size)
    mask = np.zeros(x.shape[dim], bool)
    mask[index] = True
    mask = mask.reshape((-1,) + (1,) * (x.ndim - 1 - _axis(x, dim)))
    return F.where(mask, F.scatter(source, index=_along(x, dim, index), shape=x.shape), x)


@entry("scatter_add", "scatter_reduce:sum")
def scatter_add(x, dim, index, src, reduce=None, include_self=True):
    require(x.ndim > 0 and include_self)
    return F.scatter_add(x, index, src[tuple(slice(0, n) for n in index.shape)], dim)


@entry("scatter")
def scatter(x, dim, index, src, reduce=None):
    require(x.ndim > 0 and reduce is None)
    dim = _axis(x, dim)
    require(
        all(len(set(line)) == len(line) for line in np.moveaxis(index, dim, -1).reshape(-1, index.shape[dim]).tolist())
    )
    src = np.full(index.shape, float(src)) if isinstance(src, int | float) else src[tuple(map(slice, index.shape))]
    return F.put_along_axis(x, index, src, dim)


@entry("take_along_dim")
def take_along_dim(x, index, dim=None):
    if dim is None:
        return x.flatten()[index.ravel()]
    shape = list(
        np.broadcast_shapes(*[tuple(1 if i == _axis(x, dim) else n for i, n in enumerate(a.shape)) for a in (x, index)])
    )
    cut = [n if i != _axis(x, dim) else -1 for i, n in enumerate(shape)]
    index = np.broadcast_to(index, [index.shape[i] if n == -1 else n for i, n in enumerate(cut)])
    return F.take_along_axis(x.expand(tuple(cut)), index, axis=dim)


@entry("select_scatter")
def select_scatter(x, source, dim, index):
    return _replaced(x, source, _along(x, dim, index))


@entry("slice_scatter")
def slice_scatter(x, source, dim=0, start=None, end=None, step=1):
    return _replaced(x, source, _along(x, dim, slice(start, end, step)))


@entry("diagonal_scatter")
def diagonal_scatter(x, source, offset=0, dim1=0, dim2=1):
    dim1, dim2 = _axis(x, dim1), _axis(x, dim2)
    order = (*(i for i in range(x.ndim) if i not in (dim1, dim2)), dim1, dim2)
    y = _replaced(x.transpose(order), source, (..., *_diagonal_index(x, offset, dim1, dim2)))
    return y.transpose(tuple(np.argsort(order).tolist()))


def _replaced(x, source, index):
    """x with other values at an index."""
    mask = np.zeros(x.shape, bool)
    mask[index] = True
    return F.where(mask, F.scatter(source, index=index, shape=x.shape), x)


@entry("index_put")
def index_put(x, indices, values, accumulate=False):
    index = tuple(i for i in indices)
    shape = raw(x)[index].shape
    if accumulate:
        return x + F.scatter(F.broadcast_to(values, shape=shape), index=index, shape=x.shape)
    places = np.arange(x.size).reshape(x.shape)[index]
    require(len(np.unique(places)) == places.size)
    return _replaced(x, F.broadcast_to(values, shape=shape), index)


@entry("repeat_interleave")
def repeat_interleave(x, repeats, dim=None, output_size=None):
    x, dim = (x.flatten(), 0) if dim is None else (x, dim)
    require(x.ndim > 0)
    return x[_along(x, dim, np.repeat(np.arange(x.shape[dim]), repeats))]


@entry("block_diag")
def block_diag(*xs):
    xs = [_rows(x) for x in xs]
    width, left, rows = sum(x.shape[1] for x in xs), 0, []
    for x in xs:
        rows.append(F.pad(x, ((0, 0), (left, width - left - x.shape[1]))))
        left += x.shape[1]
    return F.concatenate(rows)


@entry("unfold", "unfold_copy")
def unfold(x, dimension, size, step):
    require(x.ndim > 0)
    starts = range(0, x.shape[dimension] - size + 1, step)
    index = np.array([range(s, s + size) for s in starts]).reshape(len(starts), size)
    y = x[_along(x, dimension, index)]
    axis = _axis(x, dimension)
    return y.transpose((*(i for i in range(y.ndim) if i != axis + 1), axis + 1))


@entry("sum_to_size")
def sum_to_size(x, *size):
    size = _one_tuple(size)
    lead = x.ndim - len(size)
    where = (*range(lead), *(lead + i for i, n in enumerate(size) if n == 1 and x.shape[lead + i] != 1))
    return F.sum(x, axis=where, keepdims=True).reshape(size) if where else x * 1.0


@entry("fill")
def fill(x, value):
    return F.where(np.ones(x.shape, bool), wide(value) if not isinstance(value, int) else float(value), x)


ENTRIES["nn.functional.one_hot"] = lambda x, num_classes=-1: F.one_hot(
    x, classes=int(x.max()) + 1 if num_classes == -1 else num_classes, dtype="int64"
)
ENTRIES["masked_scatter"] = lambda x, mask, source: _masked_scatter(x, mask, source)


def _masked_scatter(x, mask, source):
    shape = _joint(x, mask)
    x, mask = F.broadcast_to(x, shape=shape), np.broadcast_to(mask, shape)
    return F.where(mask, F.scatter(source.flatten()[: mask.sum()], index=mask, shape=shape), x)


assert tg
