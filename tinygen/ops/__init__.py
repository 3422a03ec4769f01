"""Every operation, defined once: what it computes, and the vector-Jacobian product of each argument."""

from tinygen.autograd import Tensor
from tinygen.ops import arithmetic, convolution, linear, losses, normalization, pooling, reduction, shaping


def _attach() -> None:
    """Give Tensor its operators and methods."""
    a, r, s = arithmetic, reduction, shaping
    for name, operation in {
        "add": a.add,
        "sub": a.subtract,
        "mul": a.multiply,
        "truediv": a.divide,
        "pow": a.power,
        "matmul": linear.matmul,
    }.items():
        setattr(Tensor, f"__{name}__", lambda x, other, f=operation.__call__: f(x, other))
        setattr(Tensor, f"__r{name}__", lambda x, other, f=operation.__call__: f(other, x))
    for name, operation in {
        "lt": a.less,
        "le": a.less_equal,
        "gt": a.greater,
        "ge": a.greater_equal,
        "eq": a.equal,
        "ne": a.not_equal,
    }.items():
        setattr(Tensor, f"__{name}__", lambda x, other, f=operation: f(x, other))
    Tensor.__neg__ = lambda x: a.negative(x)
    unary = (a.abs, a.cos, a.erf, a.exp, a.expm1, a.log, a.log1p, a.relu, a.sigmoid, a.sign, a.sin, a.softplus)
    for operation in (*unary, a.sqrt, a.tanh):
        setattr(Tensor, operation.__name__, lambda x, f=operation: f(x))
    for operation in (r.sum, r.mean, r.var, r.max, r.min, r.logsumexp):
        setattr(
            Tensor,
            operation.__name__,
            lambda x, axis=None, keepdims=False, f=operation: f(x, axis=axis, keepdims=keepdims),
        )
    Tensor.argmax = lambda x, axis=None: r.argmax(x, axis=axis)
    Tensor.cumsum = lambda x, axis: r.cumsum(x, axis=axis)
    Tensor.astype = lambda x, dtype: a.astype(x, dtype=dtype)
    Tensor.clip = lambda x, low, high: a.clip(x, low=low, high=high)
    Tensor.flip = lambda x, axis=None: s.flip(x, axis=axis)
    Tensor.reshape = lambda x, *shape: s.reshape(x, shape=_lengths(shape))
    Tensor.transpose = lambda x, *axes: s.transpose(x, axes=_lengths(axes) if axes else tuple(range(x.ndim))[::-1])
    Tensor.T = property(lambda x: x.transpose(), doc="Axes in reverse order.")
    Tensor.__getitem__ = lambda x, index: s.getitem(x, index=s.plain_index(index))


def _lengths(given) -> tuple[int, ...]:
    """Lengths or axes, given one by one or as one tuple."""
    return tuple(given[0]) if len(given) == 1 and isinstance(given[0], tuple | list) else given


_attach()
