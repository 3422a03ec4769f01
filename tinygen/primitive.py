"""Operations: each is defined once, by a forward function and the vector-Jacobian products of its arguments.

A vjp is written with operators, numbers and primitives only. It runs on raw arrays for a first-order gradient, and on
Tensors when the gradient is to be differentiated again, so gradients of any order follow from the one line.
"""

import inspect
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import numpy as np

from tinygen.autograd import FLOAT32, FLOATS, REGISTRY, Node, Tensor, is_finite, state, tie, user_line
from tinygen.backend import array_module, device_of, is_array, kernel
from tinygen.errors import DeviceError, DtypeError, GradientError, NonFiniteError, ShapeError, TinygenError
from tinygen.recompute import differentiate_again

ndarray = np.ndarray
NO_OPTIONS: dict[str, Any] = {}  # shared, so that recording makes one object less


class Unsaved:
    """Stands in a vjp for an argument whose values were not saved; an elementwise operation's has no shape either."""

    def __init__(self, op: str, shape=None, dtype=None):
        self.op, self.shape, self.dtype = op, shape, dtype

    ndim = property(lambda self: len(self.shape))

    def _refuse(self, *_):
        raise GradientError(f"{self.op}: its vjp reads values that the operation does not save")

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _refuse
    __pow__ = __rpow__ = __matmul__ = __rmatmul__ = __neg__ = __getitem__ = __array__ = _refuse
    __lt__ = __le__ = __gt__ = __ge__ = _refuse

    def __getattr__(self, name: str):
        if name.startswith("__"):
            raise AttributeError(name)
        self._refuse()


class Primitive:
    """An operation with its own gradient; made by the decorator `primitive`.

    Positional arguments are Tensors, arrays or numbers, keyword arguments are static. Given no Tensor, it returns an
    array. DtypeError, DeviceError and ShapeError name the operation and what it was given.
    """

    fused = False

    def __init__(
        self, forward: Callable, saves: str = "", elementwise: bool = False, indices: str = "", views: bool = False
    ):
        self.forward, self.name, self.elementwise, self.views = forward, forward.__name__, elementwise, views
        self.__name__, self.__doc__, self.__module__ = forward.__name__, forward.__doc__, forward.__module__
        parameters = list(inspect.signature(forward).parameters.values())
        self.arguments = [p.name for p in parameters if p.kind is not p.KEYWORD_ONLY and p.name != "xp"]
        self.variadic = any(p.kind is p.VAR_POSITIONAL for p in parameters)
        positional = [p for p in parameters if p.kind is not p.KEYWORD_ONLY]
        self.defaults = {p.name: p.default for p in positional if p.default is not p.empty}
        self.statics = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY]
        self.arity = None if self.variadic else len(self.arguments)
        self.saves_output = "y" in saves.split()
        self.saves_argument = [name in saves.split() for name in self.arguments]
        self.takes_any_dtype = [indices == "all" or name in indices.split() for name in self.arguments]
        self.vjps: Any = None
        self.first: Callable | None = None  # what all vjps begin with
        self.keeps_output: Callable[..., bool] | None = None  # whether a call's options ask for the output
        self.simple = False  # one output of its own, with a gradient
        self.unsaved = Unsaved(self.name)
        self.saves_nothing = [self.unsaved] * (1 + len(self.arguments)) if elementwise and not saves else None
        if self.name in REGISTRY:
            raise ValueError(f"there is an operation {self.name!r} already")
        REGISTRY[self.name] = self

    def vjp(self, *functions, first: Callable | None = None, keeps_output: Callable | None = None) -> "Primitive":
        """One function `(g, y, *arguments, **static) -> gradient` per argument; None where there is none.

        `first(g, y, **static)` replaces g for all of them: the gradient of what the operation does last. The output
        is kept for it where `keeps_output(**static)` says so.
        """
        self.vjps, self.simple, self.first, self.keeps_output = functions, not self.views, first, keeps_output
        return self

    def vjp_all(self, function) -> "Primitive":
        """One function `(g, y, *arguments, **static) -> tuple of gradients` for all arguments together."""
        self.vjps = function
        return self

    def __call__(self, *args, **static):
        if len(args) != self.arity and self.arity is not None:
            args, static = self._bound(args, static)
        arrays, edges = [], []
        boxed = tracked = odd = False
        dtype = None
        for a in args:
            edge = None
            if isinstance(a, Tensor):
                boxed = True
                if a.requires_grad:
                    tracked = True
                    edge = a.edge
                    if edge is None:
                        edge = a
                a = a.data
            if a.__class__ is ndarray:
                if dtype is None:
                    dtype = a.dtype
                elif a.dtype is not dtype:
                    odd = True
            elif a is not None and a.__class__ is not float and a.__class__ is not int:
                odd = True
            arrays.append(a)
            edges.append(edge)
        xp = np
        if odd or dtype is not FLOAT32:
            xp, arrays = self._check(arrays)
        try:
            y = self.forward(xp, *arrays, **static) if static else self.forward(xp, *arrays)
        except (ValueError, IndexError, TypeError) as error:
            raise self._explained(error, arrays) from None
        if tracked and self.simple and state.simple and y.__class__ is ndarray:
            if self.saves_nothing is not None:
                return Tensor(y, True, Node(self, edges, self.saves_nothing, static or NO_OPTIONS, y.shape))
            saved, versions = self._saved(y, None, args, arrays, static)
            return Tensor(y, True, Node(self, edges, saved, static, y.shape, versions))
        return self._finish(y, args, arrays, edges if tracked else None, static, boxed)

    def _finish(self, y, args, arrays, edges, static, boxed: bool):
        """The general case of what `__call__` does with its result; there is a gradient if there are edges."""
        residuals = None
        if self.fused:
            y, residuals = y
        if not boxed:
            numbers = isinstance(y, np.generic) and not any(hasattr(a, "dtype") for a in arrays)
            return y.item() if numbers else y
        if isinstance(y, np.generic):  # NumPy makes numbers of zero-dimensional arrays
            y = np.asarray(y)
        several = isinstance(y, tuple)
        outputs = y if several else (y,)
        if state.anomaly and not all(is_finite(a) for a in outputs):
            raise NonFiniteError(f"operation {self.name!r}, called at {user_line()}, made the first NaN or infinity")
        if edges is None or self.vjps is None or not state.recording:
            results = [Tensor(a) for a in outputs]
        else:
            saved, versions = (
                (self.saves_nothing, ()) if self.saves_nothing else self._saved(y, residuals, args, arrays, static)
            )
            node = Node(self, edges, saved, static, [a.shape for a in y] if several else y.shape, versions)
            if state.anomaly:
                node.line = user_line()
            results = [Tensor(a, True, (node, i) if several else node) for i, a in enumerate(outputs)]
        if self.views:
            results = [x.shares(args[0]) for x in results]
        return tuple(results) if several else results[0]

    def _bound(self, args, static):
        """Arguments that were given in another way than arrays by position and options by name."""
        names = self.arguments + self.statics
        given = self.defaults | dict(zip(names, args, strict=False)) | static
        missing = [name for name in self.arguments if name not in given]
        twice = static.keys() & set(names[: len(args)])
        if missing or len(args) > len(names) or twice:
            raise TypeError(f"{self.name}: takes ({', '.join(names)})")
        return [given.pop(name) for name in self.arguments], given

    def _saved(self, y, residuals, args, arrays, static):
        """What backward will need, and the versions of the leaves in it."""
        versions = ()
        keep = self.saves_argument * len(arrays) if self.variadic else self.saves_argument
        kept = self.saves_output and (self.keeps_output is None or self.keeps_output(**static))
        saved = [y if kept else self._describe(y)]
        for i, a in enumerate(arrays):
            if not keep[i]:
                a = self._describe(a)
            elif isinstance(args[i], Tensor):
                versions += _version(self.arguments[0 if self.variadic else i], args[i])
            saved.append(a)
        return saved, versions

    def _describe(self, array):
        """What is left of an array that is not saved."""
        if isinstance(array, tuple):
            return tuple(Unsaved(self.name, a.shape, a.dtype) for a in array)
        if not hasattr(array, "shape"):
            return array
        return self.unsaved if self.elementwise else Unsaved(self.name, array.shape, array.dtype)

    def backward(self, node: Node, g, create_graph: bool, edges) -> Sequence[Any]:
        """Apply the vjps: to raw arrays, or to Tensors tied to the node's edges when a graph is created."""
        saved, vjps, static = node.saved, self.vjps, node.static
        if g.__class__ is list:
            g = _filled(g, saved[0])
        if create_graph:
            y = Tensor(saved[0], True, node) if self.saves_output and is_array(saved[0]) else saved[0]
            saved = [y, *tie(saved[1:], node.edges)]
        if vjps.__class__ is not tuple:
            return vjps(g, *saved, **static)
        if self.first is not None:
            g = self.first(g, saved[0], **static)
        if static:
            return [f(g, *saved, **static) if edge is not None else None for f, edge in zip(vjps, edges, strict=True)]
        return [f(g, *saved) if edge is not None else None for f, edge in zip(vjps, edges, strict=True)]

    def _check(self, arrays):
        """The slow path of a call: compare libraries and dtypes. Returns (xp, arrays)."""
        arrays = _without_generics(arrays)
        any_dtype = self.takes_any_dtype * len(arrays) if self.variadic else self.takes_any_dtype
        modules, dtypes = set(), set()
        for a, free in zip(arrays, any_dtype, strict=True):
            if a is None or isinstance(a, bool | int | float):
                continue
            if not is_array(a):
                raise DtypeError(f"{self.name}: takes Tensors, arrays and numbers, not {type(a).__name__}")
            modules.add(array_module(a))
            if not free:
                dtypes.add(a.dtype)
        if len(modules) > 1:
            where = ", ".join(f"{device_of(a)} {a.shape}" for a in arrays if hasattr(a, "shape"))
            raise DeviceError(f"{self.name}: its arguments lie on different devices: {where}")
        if any(dtype not in FLOATS for dtype in dtypes):
            raise DtypeError(f"{self.name}: takes float32 or float64, not {_signature(arrays)}")
        if len(dtypes) > 1:
            raise DtypeError(f"{self.name}: mixed dtypes {_signature(arrays)}; convert one with astype")
        return (modules.pop() if modules else np), arrays

    def _explained(self, error: Exception, arrays) -> Exception:
        if isinstance(error, TinygenError):
            return error
        kind = {TypeError: DtypeError, IndexError: IndexError}.get(type(error), ShapeError)
        return kind(f"{self.name}: {str(error).splitlines()[0].strip()} (given {_signature(arrays)})")


def _without_generics(arrays):
    """NumPy's scalars as arrays; beside arrays of another dtype or device as plain numbers, which never promote."""
    if not any(isinstance(a, np.generic) for a in arrays):
        return arrays
    others = [a for a in arrays if hasattr(a, "dtype") and not isinstance(a, np.generic)]
    dtypes = {a.dtype for a in others if isinstance(a, ndarray)}

    def plain(scalar):
        return scalar.item() if others and scalar.dtype not in dtypes else np.asarray(scalar)

    return [plain(a) if isinstance(a, np.generic) else a for a in arrays]


def _version(name: str, x: Tensor):
    """(name, leaf, version) of the leaf whose memory is saved, as a tuple of one; empty where it is no leaf's."""
    leaf = x if x.owner is None and x.edge is None else x.owner
    return () if leaf is None else ((name, leaf, leaf.version),)


def _signature(arrays) -> str:
    return ", ".join(f"{a.dtype} {a.shape}" if hasattr(a, "shape") else repr(a) for a in arrays)


def _filled(grads, outputs) -> tuple[Any, ...]:
    """The output gradients, with zeros where an output was not used."""
    given = next(g for g in grads if g is not None)
    xp = array_module(given.data if isinstance(given, Tensor) else given)
    return tuple(xp.zeros(y.shape, y.dtype) if g is None else g for g, y in zip(grads, outputs, strict=True))


def primitive(saves: str = "", *, elementwise: bool = False, indices: str = "", views: bool = False):
    """Declare an operation by its forward function `(xp, *arrays, **static)` on raw arrays of the library `xp`.

    `saves` names what its vjps read: arguments by name, the output as `y`. Arguments of an `elementwise` operation
    broadcast, and their gradients are summed back. `indices` names the arguments that may hold integers or bools
    (`"all"`: each of them). Results of an operation that `views` may share the memory of its first argument.
    """
    return lambda forward: Primitive(forward, saves, elementwise, indices, views)


class Fused(Primitive):
    """An operation with one differentiable definition, a composite of primitives, and kernels that are faster.

    The kernel `name(*arrays, **static)` returns the output (or a tuple) and its residuals, the kernel
    `name_backward(g, *residuals, **static)` the gradients of the arguments `wrt`. They serve the forward pass and the
    first-order gradient; everything else is derived from the composite, run again from the saved arguments.
    """

    fused = True

    def __init__(self, composite: Callable, wrt: str, indices: str = ""):
        super().__init__(composite, "", False, indices)
        self.composite, self.forward, self.vjps = composite, self._kernel, ()
        self.wrt = [name in wrt.split() for name in self.arguments]

    def __call__(self, *args, **static):
        if len(args) != self.arity:
            args, static = self._bound(args, static)
        if any(isinstance(a, Tensor) and a.requires_grad and not w for a, w in zip(args, self.wrt, strict=True)):
            return self.composite(*args, **static)
        return super().__call__(*args, **static)

    def _kernel(self, xp, *arrays, **static):
        return kernel(self.name, device_of(arrays[0]))(*arrays, **static)

    def _saved(self, y, residuals, args, arrays, static):
        versions = [_version(name, a) for name, a in zip(self.arguments, args, strict=True) if isinstance(a, Tensor)]
        return (residuals, arrays), tuple(chain.from_iterable(versions))

    def backward(self, node: Node, g, create_graph: bool, edges) -> Sequence[Any]:
        """By the kernel where it can; by the composite for a graph, and for gradients of secondary outputs."""
        residuals, arrays = node.saved
        primary = g if g.__class__ is not list else g[0] if all(x is None for x in g[1:]) else None
        if create_graph or primary is None:
            return differentiate_again(self.composite, node, arrays, g, create_graph)
        grads = iter(kernel(self.name + "_backward", device_of(primary))(primary, *residuals, **node.static))
        return [next(grads) if w else None for w in self.wrt]


def fused(wrt: str, *, indices: str = ""):
    """Declare a fused operation by its composite; `wrt` names the arguments that its kernel differentiates."""
    return lambda composite: Fused(composite, wrt, indices)
