"""Tensor: an array whose operations are recorded for the backward pass, with its operators and methods."""

from operator import attrgetter
from types import FunctionType
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygen import interop, words
from tinygen.autograd import Variable, array_of, backprop, initial_gradient, source_of
from tinygen.backend import array_module, device_of, is_array, to_device, to_numpy
from tinygen.backend.capture import advance, forbid_in_capture
from tinygen.errors import ArgumentError, DtypeError, GradientError, ShapeError
from tinygen.ops import (
    arithmetic,
    linear,
    logic,
    products,
    reduction,
    rounding,
    selection,
    shaping,
    trigonometry,
    views,
)
from tinygen.primitive import FLOAT32, FLOATS, Primitive


class ElementCount(int):
    """A number of elements; called as the method `size` that PyTorch has, it says what to write."""

    def __call__(self, axis: int | None = None):
        raise ArgumentError(f"size is the number of elements: write x.shape{'' if axis is None else f'[{axis}]'}")


class Tensor(Variable):
    """An array, and the operation that made it.

    `data` is a NumPy or CuPy array; `grad` is the gradient that `backward` accumulated in a leaf. `tinygen.tensor`
    makes one. Arithmetic, indexing and the one-argument functions of `tinygen.functional` are methods too.
    """

    __slots__ = ()
    __hash__ = object.__hash__

    ndim = property(attrgetter("data.ndim"), doc="Number of axes.")
    size = property(lambda self: ElementCount(self.data.size), doc="Number of elements.")
    device = property(lambda self: device_of(self.data), doc='`"cpu"` or `"cuda"`.')

    # Values

    def numpy(self) -> np.ndarray:
        """The values as a NumPy array on the host."""
        return to_numpy(self.data)

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        if self.requires_grad:
            raise GradientError(
                f"a Tensor {self.shape} that requires a gradient does not become an array, which would lose it: "
                "x.detach().numpy() has its values, tinygen.functional the operations"
            )
        return np.array(self.numpy(), dtype, copy=copy)

    __array_ufunc__ = interop.Ufuncs()
    __array_function__ = interop.array_function

    def item(self) -> float:
        """The value of a one-element Tensor as a Python number."""
        if self.size != 1:
            raise ShapeError(f"item: a Tensor of shape {self.shape} is not one number")
        forbid_in_capture("reading a value (item, float, int, bool)")
        return self.data.item()

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __bool__(self) -> bool:
        if self.size != 1:
            raise ShapeError(
                f"bool: a Tensor of shape {self.shape} is not one value: write .any() or .all(), or `is` for identity"
            )
        return bool(self.item())

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec else str(self)

    def __len__(self) -> int:
        if not self.ndim:
            raise TypeError("len: a Tensor without axes has no length")
        return self.shape[0]

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        values = np.array2string(self.numpy(), separator=", ", prefix="tensor(")
        notes = [] if self.dtype == FLOAT32 else [f"dtype={self.dtype}"]
        notes += [] if self.device == "cpu" else [f"device={self.device}"]
        if self.edge is not None:
            notes.append(f"op={source_of(self.edge).op.name}")
        elif self.requires_grad:
            notes.append("requires_grad=True")
        return f"tensor({', '.join([values, *notes])})"

    # Leaves

    def detach(self) -> "Tensor":
        """The same array as a leaf, without the graph of what made it."""
        return Tensor(self.data).share_memory(self)

    def to(self, device: str) -> "Tensor":
        """A leaf with the values on `"cpu"` or `"cuda"`; itself if it is there already."""
        if self.device == device:
            return self
        if self.edge is not None:
            raise GradientError("to: only a leaf can be moved; detach the Tensor first")
        return Tensor(to_device(self.data, device), self.requires_grad)

    def assign(self, data) -> None:
        """Overwrite the values of a leaf in place; graphs that saved the old ones refuse to run backward."""
        if self.memory_owner() is not self:
            raise GradientError("assign: only a leaf can be changed in place")
        xp = array_module(self.data)
        data = array_of(data)
        values = to_device(data, self.device) if is_array(data) else xp.asarray(data, self.dtype)
        if values.shape not in ((), self.shape):
            raise ShapeError(f"assign: values of shape {values.shape} for a Tensor of shape {self.shape}")
        xp.copyto(self.data, values)

        def count(sign: int) -> None:
            self.version += sign

        advance(count)

    def backward(self, grad=None, *, retain_graph: bool = False) -> None:
        """Add the gradient of this Tensor to `.grad` of every leaf that it depends on.

        `grad` (same shape) defaults to one for a one-element Tensor. For gradients of gradients there is
        `tinygen.grad(..., create_graph=True)`.
        """
        if not self.requires_grad:
            raise GradientError("backward: this Tensor depends on nothing that requires a gradient")
        start = initial_gradient("backward", self, grad, create_graph=False)
        grads, owned = backprop(self, start, retain_graph=retain_graph)
        for leaf, g in grads.items():
            if leaf.grad is not None:
                leaf.grad.data += g
            else:
                leaf.grad = Tensor(array_module(g).array(g, order="C", copy=leaf not in owned or None))

    # Arithmetic and comparison, element by element

    def __add__(self, other) -> "Tensor":
        return arithmetic.add(self, other)

    def __radd__(self, other) -> "Tensor":
        return arithmetic.add(other, self)

    def __sub__(self, other) -> "Tensor":
        return arithmetic.subtract(self, other)

    def __rsub__(self, other) -> "Tensor":
        return arithmetic.subtract(other, self)

    def __mul__(self, other) -> "Tensor":
        return arithmetic.multiply(self, other)

    def __rmul__(self, other) -> "Tensor":
        return arithmetic.multiply(other, self)

    def __truediv__(self, other) -> "Tensor":
        return arithmetic.divide(self, other)

    def __rtruediv__(self, other) -> "Tensor":
        return arithmetic.divide(other, self)

    def __pow__(self, other) -> "Tensor":
        return arithmetic.power(self, other)

    def __rpow__(self, other) -> "Tensor":
        return arithmetic.power(other, self)

    def __neg__(self) -> "Tensor":
        return arithmetic.negative(self)

    def __eq__(self, other) -> "Tensor":  # type: ignore[override]
        return NotImplemented if other is None or isinstance(other, str) else arithmetic.equal(self, other)

    def __ne__(self, other) -> "Tensor":  # type: ignore[override]
        return NotImplemented if other is None or isinstance(other, str) else arithmetic.not_equal(self, other)

    def __lt__(self, other) -> "Tensor":
        return arithmetic.less(self, other)

    def __le__(self, other) -> "Tensor":
        return arithmetic.less_equal(self, other)

    def __gt__(self, other) -> "Tensor":
        return arithmetic.greater(self, other)

    def __ge__(self, other) -> "Tensor":
        return arithmetic.greater_equal(self, other)

    def __mod__(self, other) -> "Tensor":
        return rounding.remainder(self, other)

    def __rmod__(self, other) -> "Tensor":
        return rounding.remainder(other, self)

    def __floordiv__(self, other) -> "Tensor":
        return rounding.floor_divide(self, other)

    def __rfloordiv__(self, other) -> "Tensor":
        return rounding.floor_divide(other, self)

    def __abs__(self) -> "Tensor":
        return arithmetic.abs(self)

    def __round__(self) -> "Tensor":
        return rounding.round(self)

    def __and__(self, other) -> "Tensor":
        return logic.logical_and(self, other)

    def __or__(self, other) -> "Tensor":
        return logic.logical_or(self, other)

    def __xor__(self, other) -> "Tensor":
        return logic.logical_xor(self, other)

    __rand__, __ror__, __rxor__ = __and__, __or__, __xor__

    def __invert__(self) -> "Tensor":
        return logic.logical_not(self)

    def clip(self, low=None, high=None) -> "Tensor":
        return arithmetic.clip(self, low=low, high=high)

    clamp = clip

    def astype(self, dtype) -> "Tensor":
        return arithmetic.astype(self, dtype=dtype)

    # Products

    def __matmul__(self, other) -> "Tensor":
        return linear.matmul(self, other)

    def __rmatmul__(self, other) -> "Tensor":
        return linear.matmul(other, self)

    # Shapes and indices

    def __getitem__(self, index) -> "Tensor":
        return shaping.getitem(self, index=shaping.plain_index(index))

    def reshape(self, *shape) -> "Tensor":
        """The same elements in another shape, given as lengths or as one tuple."""
        return shaping.reshape(self, shape=one_by_one(shape))

    def transpose(self, *axes) -> "Tensor":
        """The Tensor with its axes in another order, reversed if none is given."""
        return shaping.transpose(self, axes=one_by_one(axes) if axes else tuple(range(self.ndim))[::-1])

    @property
    def T(self) -> "Tensor":
        """The Tensor with its axes in reverse order."""
        return self.transpose()

    def __setitem__(self, index, value) -> None:
        raise GradientError(
            "a Tensor has no item assignment: write F.where(mask, value, x), or for a leaf x.assign(values)"
        )

    permute = transpose

    def expand(self, *shape) -> "Tensor":
        """The Tensor repeated to a larger shape, as NumPy broadcasts; -1 keeps a length."""
        return views.expand(self, one_by_one(shape))

    def repeat(self, *times) -> "Tensor":
        """The whole Tensor repeated side by side, so many times along each axis (NumPy's `tile`)."""
        return views.tile(self, one_by_one(times))

    def flatten(self, start: int = 0, end: int = -1) -> "Tensor":
        """The Tensor with the axes from `start` to `end` joined into one: all of them by default."""
        return shaping.flatten(self, start, end)

    if TYPE_CHECKING:  # the methods below are attached by name

        def __getattr__(self, name: str) -> Any: ...

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if not isinstance(vars(Tensor).get(name), words.Elsewhere)]


Variable.result = Tensor

METHODS: tuple[Any, ...] = (
    *(arithmetic.abs, arithmetic.cos, arithmetic.erf, arithmetic.exp, arithmetic.expm1, arithmetic.log),
    *(arithmetic.log1p, arithmetic.relu, arithmetic.sigmoid, arithmetic.sign, arithmetic.sin, arithmetic.softplus),
    *(arithmetic.sqrt, arithmetic.square, arithmetic.tanh, arithmetic.maximum, arithmetic.minimum),
    *(trigonometry.acos, trigonometry.asin, trigonometry.atan, trigonometry.tan),
    *(rounding.ceil, rounding.floor, rounding.round, rounding.trunc),
    *(logic.all, logic.any, logic.isfinite, logic.isinf, logic.isnan),
    *(reduction.argmax, reduction.argmin, reduction.cumsum, reduction.logsumexp, reduction.max, reduction.mean),
    *(reduction.min, reduction.norm, reduction.std, reduction.sum, reduction.var, products.cumprod, products.prod),
    *(selection.argsort, selection.masked_fill, selection.sort, selection.topk, selection.tril, selection.triu),
    *(shaping.flip, shaping.split, views.chunk, views.squeeze, views.swapaxes, views.unsqueeze),
)
"""Functions of `tinygen.functional` that are methods too, with the Tensor as their first argument."""


def _method(function):
    """A method that calls a function with the Tensor as its first argument."""

    def method(self, *args, **options):
        return function(self, *args, **options)

    method.__name__, method.__doc__ = function.__name__, function.__doc__
    method.__qualname__ = f"Tensor.{function.__name__}"
    if not isinstance(function, Primitive):  # a primitive itself explains calls that do not fit
        method.__wrapped__ = function  # type: ignore[attr-defined]
        method = words.explained(method)
    return method


for _function in METHODS:
    setattr(Tensor, _function.__name__, _method(_function))
for _name, _function in list(vars(Tensor).items()):
    if not _name.startswith("_") and isinstance(_function, FunctionType) and not hasattr(_function, "__wrapped__"):
        setattr(Tensor, _name, words.explained(_function, _name))


def answer(table) -> None:
    """Let Tensors say what the table advises for the names that they lack."""
    for name in table:
        if not any(name in vars(base) for base in Tensor.__mro__):
            setattr(Tensor, name, words.Elsewhere("a Tensor", name, table))


answer(words.TENSOR)


def tensor(data, dtype=None, *, requires_grad: bool = False, device: str | None = None) -> Tensor:
    """Make a leaf Tensor from numbers, nested lists or an array.

    Floats become float32 unless `dtype` is given; integers and bools stay what they are. An array of the right dtype is
    not copied. `device` moves the values.
    """
    data = array_of(data)
    array = data if is_array(data) else _from_lists(data)
    if array.dtype.kind not in "fiub":
        raise DtypeError(f"tensor: cannot make a Tensor of {array.dtype} values")
    if dtype is not None and np.dtype(dtype).kind == "f" and np.dtype(dtype) not in FLOATS:
        raise DtypeError(f"tensor: floats are float32 or float64, not {np.dtype(dtype)}")
    if dtype is not None or array.dtype.kind == "f":
        array = array.astype(dtype or FLOAT32, copy=False)
    if requires_grad and array.dtype not in FLOATS:
        raise DtypeError(f'tensor: a {array.dtype} Tensor cannot require a gradient; give dtype="float32"')
    return Tensor(to_device(array, device) if device else array, requires_grad)


def _from_lists(data) -> np.ndarray:
    try:
        return np.asarray(data)
    except ValueError:
        raise ShapeError("tensor: the nested lists are not equally long, so they are no array") from None


def one_by_one(numbers) -> tuple[int, ...]:
    """Lengths or axes as a tuple, given one by one or as one tuple."""
    return tuple(numbers[0]) if len(numbers) == 1 and isinstance(numbers[0], tuple | list) else numbers
