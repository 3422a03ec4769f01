"""Every operation, defined once: what it computes, and the vector-Jacobian product of each argument.

Importing the package gives `Tensor` its operators and methods.
"""

from tinygen.autograd import Tensor
from tinygen.ops import (
    activations,
    arithmetic,
    convolution,
    linear,
    losses,
    normalization,
    pooling,
    recurrent,
    reduction,
    shaping,
)

__all__ = [
    "activations",
    "arithmetic",
    "convolution",
    "linear",
    "losses",
    "normalization",
    "pooling",
    "recurrent",
    "reduction",
    "shaping",
]


def _lengths(given) -> tuple[int, ...]:
    """Lengths or axes, given one by one or as one tuple."""
    return tuple(given[0]) if len(given) == 1 and isinstance(given[0], tuple | list) else given


def _attach(**methods) -> None:
    for name, method in methods.items():
        setattr(Tensor, name, method)


for _name, _operation in {
    "add": arithmetic.add,
    "sub": arithmetic.subtract,
    "mul": arithmetic.multiply,
    "truediv": arithmetic.divide,
    "pow": arithmetic.power,
    "matmul": linear.matmul,
}.items():
    _call = _operation.__call__  # bound here, which saves a lookup in every operation
    setattr(Tensor, f"__{_name}__", lambda x, other, call=_call: call(x, other))
    setattr(Tensor, f"__r{_name}__", lambda x, other, call=_call: call(other, x))

_attach(
    __eq__=lambda x, other: arithmetic.equal(x, other),
    __ne__=lambda x, other: arithmetic.not_equal(x, other),
    __lt__=lambda x, other: arithmetic.less(x, other),
    __le__=lambda x, other: arithmetic.less_equal(x, other),
    __gt__=lambda x, other: arithmetic.greater(x, other),
    __ge__=lambda x, other: arithmetic.greater_equal(x, other),
    __neg__=lambda x: arithmetic.negative(x),
    __getitem__=lambda x, index: shaping.getitem(x, index=shaping.plain_index(index)),
)
_attach(
    T=property(lambda x: x.transpose(), doc="Axes in reverse order."),
    astype=lambda x, dtype: arithmetic.astype(x, dtype=dtype),
    clip=lambda x, low, high: arithmetic.clip(x, low=low, high=high),
    argmax=lambda x, axis=None: reduction.argmax(x, axis=axis),
    cumsum=lambda x, axis: reduction.cumsum(x, axis=axis),
    flip=lambda x, axis=None: shaping.flip(x, axis=axis),
    reshape=lambda x, *shape: shaping.reshape(x, shape=_lengths(shape)),
    transpose=lambda x, *axes: shaping.transpose(x, axes=_lengths(axes) if axes else tuple(range(x.ndim))[::-1]),
)

for _name in "abs cos erf exp expm1 log log1p relu sigmoid sign sin softplus sqrt tanh".split():
    _operation = getattr(arithmetic, _name)
    setattr(Tensor, _name, lambda x, operation=_operation: operation(x))

for _name in "sum mean var max min logsumexp".split():
    _reduce = getattr(reduction, _name)
    setattr(
        Tensor,
        _name,
        lambda x, axis=None, keepdims=False, reduce=_reduce: reduce(x, axis=axis, keepdims=keepdims),
    )
