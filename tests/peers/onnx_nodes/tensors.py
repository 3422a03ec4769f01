"""ONNX operators on shapes, indices, dtypes and order, and reductions."""

import math

import ml_dtypes
import numpy as np
import onnx

from tests.peers.onnx_nodes.elementwise import floats, is_float
from tests.peers.onnx_nodes.graph import OPERATORS, counting_outputs, operator, require
from tinygen import functional as F


def ints(x):
    return None if x is None else [int(v) for v in np.asarray(x).ravel()]


# Shapes


@operator("Reshape")
def reshape(x, shape, allowzero=0):
    shape = [x.shape[i] if n == 0 and not allowzero else n for i, n in enumerate(ints(shape))]
    return F.expand(x, x.shape).reshape(shape) if x.dtype.kind == "f" and x.dtype.itemsize > 2 else x.reshape(shape)


@operator("Shape")
def shape_of(x, start=0, end=None):
    return np.array(x.shape[slice(start, end)], "int64")


OPERATORS["Size"] = lambda x: np.array(x.size, "int64")
OPERATORS["Transpose"] = lambda x, perm=None: np.transpose(x, perm)


@operator("Flatten")
def flatten(x, axis=1):
    axis = axis % x.ndim if axis < 0 else axis
    return (
        x.reshape(math.prod(x.shape[:axis]), -1)
        if x.size
        else x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))
    )


@operator("Squeeze")
def squeeze(x, axes=None):
    return np.squeeze(x, None if axes is None else tuple(ints(axes)))


@operator("Unsqueeze")
def unsqueeze(x, axes):
    return np.expand_dims(x, tuple(ints(axes)))


@operator("Expand")
def expand(x, shape):
    return np.broadcast_to(x, np.broadcast_shapes(x.shape, tuple(ints(shape)))).copy()


@operator("Tile")
def tile(x, repeats):
    return F.tile(x, tuple(ints(repeats)))


@operator("Concat")
def concat(*xs, axis):
    return F.concatenate(xs, axis) if is_float(xs[0]) and xs[0].dtype.itemsize > 2 else np.concatenate(xs, axis)


@operator("Split")
@counting_outputs
def split(x, sizes=None, axis=0, num_outputs=None, outputs=None, split=None):
    sizes = ints(sizes) if sizes is not None else split
    if sizes is None:
        step = -(-x.shape[axis] // (num_outputs or outputs))
        sizes = [min(step, x.shape[axis] - i) for i in range(0, x.shape[axis], step)] or [0] * outputs
    return F.split(x, sizes=tuple(sizes), axis=axis)


@operator("Slice")
def slice_of(x, starts, ends, axes=None, steps=None):
    axes = range(len(ints(starts))) if axes is None else ints(axes)
    index = [slice(None)] * x.ndim
    for start, end, axis, step in zip(ints(starts), ints(ends), axes, ints(steps) or [1] * x.ndim, strict=False):
        end = None if step < 0 and end < -x.shape[axis] else end
        index[axis] = slice(start, end, step)
    return x[tuple(index)]


@operator("Pad")
def pad(x, pads, value=None, axes=None, mode="constant"):
    axes = list(range(x.ndim)) if axes is None else ints(axes)
    widths, pads = [(0, 0)] * x.ndim, ints(pads)
    for i, axis in enumerate(axes):
        widths[axis] = pads[i], pads[i + len(axes)]
    cut = tuple(slice(max(-a, 0), n - max(-b, 0)) for (a, b), n in zip(widths, x.shape, strict=True))
    widths = tuple((max(a, 0), max(b, 0)) for a, b in widths)
    modes = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}
    value = 0 if value is None or not np.size(value) else np.asarray(value).item()
    if mode == "reflect" and not is_float(x):
        return np.pad(x[cut], widths, mode="reflect")
    return F.pad(x[cut], widths, value, mode=modes[mode])


@operator("Trilu")
def trilu(x, k=None, upper=1):
    return (F.triu if upper else F.tril)(x, k=0 if k is None else int(k))


@operator("DepthToSpace")
def depth_to_space(x, blocksize, mode="DCR"):
    n, c, h, w = x.shape
    b = blocksize
    if mode == "CRD":
        return F.pixel_shuffle(x.transpose(0, 2, 3, 1), b).transpose(0, 3, 1, 2)
    return x.reshape(n, b, b, c // b**2, h, w).transpose(0, 3, 4, 1, 5, 2).reshape(n, c // b**2, h * b, w * b)


@operator("SpaceToDepth")
def space_to_depth(x, blocksize, mode="DCR"):
    require(mode == "DCR")
    n, c, h, w = x.shape
    b = blocksize
    return x.reshape(n, c, h // b, b, w // b, b).transpose(0, 3, 5, 1, 2, 4).reshape(n, c * b * b, h // b, w // b)


@operator("CenterCropPad")
def center_crop_pad(x, shape, axes=None):
    for axis, length in zip(range(x.ndim) if axes is None else axes, ints(shape), strict=True):
        n = x.shape[axis]
        if length < n:
            start = (n - length) // 2
            x = np.take(x, range(start, start + length), axis)
        elif length > n:
            before = (length - n) // 2
            x = F.pad(x, [(before, length - n - before) if i == axis % x.ndim else (0, 0) for i in range(x.ndim)])
    return x


# Indices


@operator("Gather")
def gather(x, indices, axis=0):
    return np.take(x, indices, axis) if x.dtype.kind != "f" else x[(slice(None),) * (axis % x.ndim) + (indices,)]


@operator("GatherElements")
def gather_elements(x, indices, axis=0):
    return F.take_along_axis(x, indices, axis=axis)


@operator("GatherND")
def gather_nd(x, indices, batch_dims=0):
    if not batch_dims:
        return x[tuple(np.moveaxis(indices, -1, 0))]
    return np.stack([gather_nd(a, i, batch_dims - 1) for a, i in zip(x, indices, strict=True)])


REDUCE = {"add": np.add, "mul": np.multiply, "min": np.minimum, "max": np.maximum}


@operator("ScatterElements", "Scatter")
def scatter_elements(x, indices, updates, axis=0, reduction="none"):
    indices = np.where(indices < 0, indices + x.shape[axis], indices)
    if reduction == "none" and x.dtype in (np.float32, np.float64):
        return F.put_along_axis(x, indices, updates, axis)
    if reduction == "add" and x.dtype in (np.float32, np.float64):
        return F.scatter_add(x, indices, updates, axis)
    y, place = x.copy(), list(np.meshgrid(*map(np.arange, indices.shape), indexing="ij", sparse=True))
    place[axis] = indices
    if reduction == "none":
        y[tuple(place)] = updates
    else:
        REDUCE[reduction].at(y, tuple(place), updates)
    return y


@operator("ScatterND")
def scatter_nd(x, indices, updates, reduction="none"):
    y, place = x.copy(), tuple(np.moveaxis(indices, -1, 0))
    if reduction == "none":
        y[place] = updates
    else:
        REDUCE[reduction].at(y, place, updates)
    return y


@operator("TensorScatter")
def tensor_scatter(past, update, write_indices=None, axis=-2, mode="linear"):
    y, length = past.copy(), past.shape[axis]
    for n in range(past.shape[0]):
        start = 0 if write_indices is None else int(write_indices[n])
        for t in range(update.shape[axis]):
            place, source = [slice(None)] * past.ndim, [slice(None)] * past.ndim
            place[0] = source[0] = n
            place[axis] = (start + t) % length if mode == "circular" else start + t
            source[axis] = t
            y[tuple(place)] = update[tuple(source)]
    return y


@operator("OneHot")
def one_hot(indices, depth, values, axis=-1):
    depth = int(np.asarray(depth).ravel()[0])
    y = F.one_hot(indices.astype("int64") % depth, depth).astype(values.dtype) * (values[1] - values[0]) + values[0]
    inside = (indices >= -depth) & (indices < depth)
    return np.moveaxis(np.where(inside[..., None], y, values[0]).astype(values.dtype), -1, axis)


@operator("Compress")
def compress(x, condition, axis=None):
    return np.compress(condition, x, axis)


OPERATORS["NonZero"] = lambda x: np.array(np.nonzero(x), "int64")


def _arg(function):
    def call(x, axis=0, keepdims=1, select_last_index=0):
        if select_last_index:
            return x.shape[axis] - 1 - function(np.flip(x, axis), axis=axis, keepdims=bool(keepdims))
        return function(x, axis=axis, keepdims=bool(keepdims))

    return call


OPERATORS["ArgMax"], OPERATORS["ArgMin"] = _arg(F.argmax), _arg(F.argmin)


@operator("TopK")
def topk(x, k, axis=-1, largest=1, sorted=1):
    if x.dtype.kind == "u":
        y, indices = F.topk(x.astype("int64"), int(np.ravel(k)[0]), axis, bool(largest))
        return y.astype(x.dtype), indices
    return F.topk(x, int(np.ravel(k)[0]), axis, bool(largest))


@operator("Unique")
def unique(x, axis=None, sorted=1):
    _, first, inverse, counts = np.unique(x, True, True, True, axis=axis)
    order = np.arange(len(first)) if sorted else np.argsort(first)
    rank = np.argsort(order)
    y = np.take(x.ravel() if axis is None else x, first[order], axis or 0)
    return y, first[order], rank[inverse.ravel()], counts[order]


@operator("CumSum")
def cumsum(x, axis, exclusive=0, reverse=0):
    return _cumulative(lambda x, axis: F.cumsum(x, axis=axis), 0)(x, axis, exclusive, reverse)


def _cumulative(function, start):
    def call(x, axis, exclusive=0, reverse=0):
        axis = int(np.ravel(axis)[0]) % x.ndim
        x = np.flip(x, axis) if reverse else x
        y = function(x, axis) if is_float(x) else {0: np.cumsum, 1: np.cumprod}[start](x, axis).astype(x.dtype)
        if exclusive:
            ones = [(1, 0) if i == axis else (0, 0) for i in range(x.ndim)]
            y = np.pad(np.take(y, range(x.shape[axis] - 1), axis), ones, constant_values=start)
        return np.flip(y, axis) if reverse else y

    return call


OPERATORS["CumProd"] = _cumulative(F.cumprod, 1)


@operator("ReverseSequence")
def reverse_sequence(x, lengths, batch_axis=1, time_axis=0):
    y = np.moveaxis(x, (batch_axis, time_axis), (0, 1)).copy()
    for row, n in zip(y, lengths, strict=True):
        row[:n] = row[:n][::-1].copy()
    return np.moveaxis(y, (0, 1), (batch_axis, time_axis))


# Reductions


def _reduction(ours, numpy_function):
    def call(x, axes=None, keepdims=1, noop_with_empty_axes=0):
        require(x.size > 0 or x.dtype.kind != "b")
        axes = ints(axes) or None
        if axes is None and noop_with_empty_axes:
            axes = ()
        if is_float(x):
            if axes == () and ours in (F.max, F.min, F.logsumexp):
                return x
            call = floats(lambda x: ours(x, axis=None if axes is None else tuple(axes), keepdims=bool(keepdims)))
            return np.asarray(call(x))
        return numpy_function(x, axis=None if axes is None else tuple(axes), keepdims=bool(keepdims)).astype(x.dtype)

    return call


for name, ours, numpy_function in (
    ("Sum", F.sum, np.sum),
    ("Mean", F.mean, np.mean),
    ("Max", F.max, np.max),
    ("Min", F.min, np.min),
    ("Prod", lambda x, axis, keepdims: F.prod(x, axis, keepdims), np.prod),
    (
        "L1",
        lambda x, axis, keepdims: F.sum(F.abs(x), axis=axis, keepdims=keepdims),
        lambda x, **k: np.sum(np.abs(x), **k),
    ),
    ("L2", lambda x, axis, keepdims: F.norm(x, 2, axis, keepdims), lambda x, **k: np.sqrt(np.sum(x * x, **k))),
    ("LogSum", lambda x, axis, keepdims: F.log(F.sum(x, axis=axis, keepdims=keepdims)), None),
    ("LogSumExp", F.logsumexp, lambda x, **k: np.log(np.sum(np.exp(x), **k))),
    (
        "SumSquare",
        lambda x, axis, keepdims: F.sum(F.square(x), axis=axis, keepdims=keepdims),
        lambda x, **k: np.sum(x * x, **k),
    ),
):
    OPERATORS[f"Reduce{name}"] = _reduction(ours, numpy_function)


# Creation and dtypes


@operator("Constant")
def constant(value=None, value_float=None, value_floats=None, value_int=None, value_ints=None, value_string=None, **_):
    for given, dtype in (
        (value_float, "float32"),
        (value_floats, "float32"),
        (value_int, "int64"),
        (value_ints, "int64"),
    ):
        if given is not None:
            return np.array(given, dtype)
    return value if value is not None else np.array(value_string, object)


@operator("ConstantOfShape")
def constant_of_shape(shape, value=None):
    value = np.zeros(1, "float32") if value is None else value
    return np.full(tuple(ints(shape)), value.item(), value.dtype)


@operator("Range")
def range_of(start, limit, delta):
    return np.arange(*(np.ravel(v)[0] for v in (start, limit, delta))).astype(start.dtype)


@operator("EyeLike")
def eye_like(x, dtype=None, k=0):
    return np.eye(*x.shape, k).astype(x.dtype if dtype is None else _dtype(dtype))


def _dtype(number):
    return onnx.helper.tensor_dtype_to_np_dtype(number)


@operator("Cast")
def cast(x, to, saturate=1, round_mode="up"):
    dtype = _dtype(to)
    if to == onnx.TensorProto.STRING:
        return x.astype("float32").astype(str).astype(object) if is_float(x) else x.astype(str).astype(object)
    if x.dtype == object:
        x = x.astype("float64")
    name = np.dtype(dtype).name
    require("e8m0" not in name)
    with np.errstate(all="ignore"):
        if "float8" in name and saturate and is_float_like(x):
            top = float(onnx_max(dtype))
            wide = x.astype("float32")
            x = np.where(np.isnan(wide), wide, np.clip(wide, -top, top)).astype("float32")
        return x.astype(dtype)


def is_float_like(x):
    return x.dtype.kind in "fV" or "float" in x.dtype.name


def onnx_max(dtype):
    return ml_dtypes.finfo(dtype).max


@operator("CastLike")
def cast_like(x, like, saturate=1, round_mode="up"):
    return cast(x, onnx.helper.np_dtype_to_tensor_dtype(like.dtype), saturate)


@operator("BitCast")
def bit_cast(x, to):
    return x.view(_dtype(to))
