"""Order of elements, and parts of matrices: sorting, the largest ones, triangles, sums into chosen places."""

from tinygen.autograd import array_of
from tinygen.errors import ShapeError
from tinygen.ops.arithmetic import where
from tinygen.ops.shaping import pad, scatter, scatter_along_axis, take_along_axis
from tinygen.primitive import primitive


@primitive(indices="all")
def argsort(xp, x, *, axis=-1):
    """The indices (int64) that sort x along an axis, the smallest first; equal elements keep their order."""
    return xp.argsort(x, axis=axis, kind="stable")


def sort(x, axis: int = -1):
    """The elements of x in ascending order along an axis; `argsort` has their indices."""
    return take_along_axis(x, argsort(x, axis=axis), axis=axis)


def topk(x, k: int, axis: int = -1, largest: bool = True):
    """The k largest elements along an axis, the largest first, and their indices; or the k smallest."""
    if not -x.ndim <= axis < x.ndim or not 0 <= k <= x.shape[axis]:
        raise ShapeError(f"topk: axis {axis} of an array {x.shape} does not have {k} elements")
    order = argsort(-x if largest else x, axis=axis)
    indices = order[(slice(None),) * (axis % x.ndim) + (slice(k),)]
    return take_along_axis(x, indices, axis=axis), indices


def _matrices(name: str, x) -> None:
    if x.ndim < 2:
        raise ShapeError(f"{name}: takes matrices or stacks of them, not {x.shape}")


@primitive(indices="all")
def tril(xp, x, *, k=0):
    """Matrices (..., N, M) with zeros above diagonal k, which counts from the main one upwards."""
    _matrices("tril", x)
    return xp.tril(x, k)


@primitive(indices="all")
def triu(xp, x, *, k=0):
    """Matrices (..., N, M) with zeros below diagonal k, which counts from the main one upwards."""
    _matrices("triu", x)
    return xp.triu(x, k)


tril.vjp(lambda g, y, x, *, k=0: tril(g, k=k))
triu.vjp(lambda g, y, x, *, k=0: triu(g, k=k))


def masked_fill(x, mask, value: float):
    """x where the mask (bool) does not hold, else a value."""
    return where(mask, value, x)


def index_add(x, indices, values, axis: int = 0):
    """x with slices of `values` added to its slices at `indices` (integers) along an axis; repeated ones add up."""
    position = (slice(None),) * (axis % x.ndim) + (array_of(indices),)
    return x + scatter(values, index=position, shape=x.shape)


def scatter_add(x, indices, values, axis: int):
    """x with each of `values` added at its index along an axis; `indices` has the shape of `values`.

    Apart from that axis, both are as long as x or shorter.
    """
    return x + _placed(x, indices, values, axis)


def put_along_axis(x, indices, values, axis: int):
    """x with each of `values` in place of the element at its index along an axis; no index occurs twice in a line."""
    ones = array_of(values) * 0 + 1
    return where(array_of(_placed(x, indices, ones, axis)) != 0, _placed(x, indices, values, axis), x)


def _placed(x, indices, values, axis: int):
    """Zeros in the shape of x, and `values` added at their indices along an axis."""
    y = scatter_along_axis(values, indices, axis=axis, length=x.shape[axis])
    widths = tuple((0, n - m) for n, m in zip(x.shape, y.shape, strict=True))
    return pad(y, widths=widths) if any(after for _, after in widths) else y
