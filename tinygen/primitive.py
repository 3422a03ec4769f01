"""Operations: each is defined once, by a forward function and the vector-Jacobian products (vjps) of its arguments.

A vjp is written with operators, numbers and primitives only. It runs on raw arrays for a first-order gradient, and on
Tensors when the gradient is to be differentiated again, so gradients of any order follow from the one line.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from tinygen.autograd import Node, Variable, as_array, is_finite, state, tied_to_graph, user_line
from tinygen.backend import array_module, device_of, is_array, kernel
from tinygen.errors import (
    ArgumentError,
    DeviceError,
    DtypeError,
    GradientError,
    NonFiniteError,
    ShapeError,
    TinygenError,
    UsageError,
)
from tinygen.recompute import differentiate_again
from tinygen.words import in_words, misfit

ndarray = np.ndarray
NO_OPTIONS: dict[str, Any] = {}  # shared, so that nodes without options need no dict of their own
FLOAT32 = np.dtype("float32")
FLOATS = (FLOAT32, np.dtype("float64"))

REGISTRY: dict[str, "Primitive"] = {}
"""Every operation by name."""


@dataclass(frozen=True)
class Declaration:
    """What is known about an operation before it is called.

    `arguments` are positional (arrays, Tensors, numbers), `options` keywords. One argument that is `variadic` stands
    for any number of arrays. `saves` names what the vjps read: arguments, and the output as `y`. `indices` may hold
    integers or bools. Arguments of an `elementwise` operation broadcast. Outputs that are `views` may share the memory
    of the first argument.
    """

    name: str
    arguments: tuple[str, ...]
    options: tuple[str, ...]
    defaults: Mapping[str, Any]
    variadic: bool
    saves: frozenset[str]
    indices: frozenset[str]
    elementwise: bool
    views: bool

    @classmethod
    def of(cls, forward: Callable, saves: str, indices: str, elementwise: bool, views: bool) -> "Declaration":
        """Make a declaration with the names and defaults in the signature of a forward function."""
        parameters = [p for p in inspect.signature(forward).parameters.values() if p.name != "xp"]
        arguments = tuple(p.name for p in parameters if p.kind is not p.KEYWORD_ONLY)
        options = tuple(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)
        defaults = {p.name: p.default for p in parameters if p.name in arguments and p.default is not p.empty}
        variadic = any(p.kind is p.VAR_POSITIONAL for p in parameters)
        integers = arguments if indices == "all" else indices.split()
        from_signature = forward.__name__, arguments, options, defaults, variadic
        return cls(*from_signature, frozenset(saves.split()), frozenset(integers), elementwise, views)

    def names_of(self, arrays: Sequence[Any]) -> Sequence[str]:
        """The name of the argument for each array of a call."""
        return self.arguments * len(arrays) if self.variadic else self.arguments

    def bind(self, args, static):
        """Sort the arguments of a call into (positional arguments, options), however they were given."""
        names = self.arguments + self.options
        values = self.defaults | dict(zip(names, args, strict=False)) | static
        missing = [name for name in self.arguments if name not in values]
        given_twice = static.keys() & set(names[: len(args)])
        if missing or len(args) > len(names) or given_twice:
            reason = f"missing: {', '.join(missing)}" if missing else "an argument is given twice, or one too many"
            raise misfit(self.name, names, static, reason)
        return [values.pop(name) for name in self.arguments], values

    def check(self, arrays):
        """Check array libraries and dtypes; returns `(xp, arrays)`, with NumPy's scalars converted."""
        arrays = _without_generics(arrays)
        modules, dtypes = set(), set()
        for name, a in zip(self.names_of(arrays), arrays, strict=True):
            if a is None or isinstance(a, bool | int | float):
                continue
            if not is_array(a):
                raise DtypeError(f"{self.name}: takes Tensors, arrays and numbers, not {in_words(a)}")
            modules.add(array_module(a))
            if name not in self.indices:
                dtypes.add(a.dtype)
        if len(modules) > 1:
            where = ", ".join(f"{device_of(a)} {a.shape}" for a in arrays if hasattr(a, "shape"))
            raise DeviceError(f"{self.name}: its arguments lie on different devices: {where}")
        if any(dtype not in FLOATS for dtype in dtypes):
            raise DtypeError(
                f'{self.name}: takes float32 or float64, not {_in_words(arrays)}; convert with .astype("float32")'
            )
        if len(dtypes) > 1:
            raise DtypeError(
                f"{self.name}: mixed dtypes {_in_words(arrays)}; "
                'convert one, such as the float64 with .astype("float32")'
            )
        return (modules.pop() if modules else np), arrays

    def explain(self, error: Exception, arrays, static) -> Exception:
        """Turn an error of the array library into one that names the operation and its arguments."""
        if isinstance(error, TinygenError):
            return error
        names = self.arguments + self.options
        if isinstance(error, TypeError):
            is_missing = str(error).startswith(f"{self.name}() missing")
            if is_missing or not static.keys() <= set(names):
                return misfit(self.name, names, static, str(error).partition("() ")[2])
            if self.elementwise and None in [a for a in arrays if not hasattr(a, "dtype")]:
                return DtypeError(f"{self.name}: takes Tensors, arrays and numbers, not None")
            if lists := [name for name, value in static.items() if isinstance(value, list)]:
                return ArgumentError(f"{self.name}: write {lists[0]} as a tuple, not as a list")
            if isinstance(static.get("axis"), tuple):
                return ArgumentError(f"{self.name}: axis is one whole number, not {static['axis']}")
        kind = {TypeError: DtypeError, IndexError: IndexError, np.linalg.LinAlgError: UsageError}.get(
            type(error), ShapeError
        )
        return kind(f"{self.name}: {str(error).splitlines()[0].strip()} (given {_in_words(arrays)})")


class Primitive:
    """An operation with a gradient of its own; made by the decorator `primitive`.

    Called with a Tensor, it returns Tensors; otherwise arrays. DtypeError, DeviceError and ShapeError name the
    operation and its arguments.
    """

    def __init__(self, declared: Declaration, forward: Callable):
        self.declared, self.forward = declared, forward
        self.__name__, self.__doc__, self.__module__ = declared.name, forward.__doc__, forward.__module__
        self.arity = None if declared.variadic else len(declared.arguments)
        self.vjps: Any = None
        self.unsaved = Unsaved(declared.name) if declared.elementwise else None
        nothing = declared.elementwise and not declared.saves
        self.saves_nothing = (self.unsaved,) * (1 + len(declared.arguments)) if nothing else None
        if declared.name in REGISTRY:
            raise ValueError(f"there is an operation {declared.name!r} already")
        REGISTRY[declared.name] = self

    name = property(lambda self: self.declared.name)

    def __reduce__(self) -> str:
        """Copies and pickles refer to the operation by its name in its module, as they do to a function."""
        return self.__name__

    def vjp(self, *functions) -> None:
        """Define the vjps: `(g, y, *arguments, **static) -> gradient` for each argument, None if there is none.

        A variadic operation has a single vjp, `(g, y, *arrays, **static)`, which returns the gradients of all arrays.
        """
        if len(functions) != len(self.declared.arguments):
            raise TypeError(f"{self.name}: has {len(functions)} vjps for its arguments {self.declared.arguments}")
        self.vjps = functions[0] if self.declared.variadic else functions

    def __call__(self, *args, **static):
        if len(args) != self.arity and self.arity is not None:
            args, static = self.declared.bind(args, static)
        arrays, edges = [], []
        has_tensor = requires_grad = unusual = False
        dtype = None
        for a in args:
            edge = None
            if isinstance(a, Variable):
                has_tensor = True
                if a.requires_grad:
                    requires_grad = True
                    edge = a.edge
                    if edge is None:
                        edge = a
                a = a.data
            if a.__class__ is ndarray:
                if dtype is None:
                    dtype = a.dtype
                elif a.dtype is not dtype:
                    unusual = True
            elif a is not None and a.__class__ is not float and a.__class__ is not int:
                unusual = True
            arrays.append(a)
            edges.append(edge)
        xp = np
        if unusual or dtype is not FLOAT32:
            xp, arrays = self.declared.check(arrays)
        try:
            y = self.forward(xp, *arrays, **static) if static else self.forward(xp, *arrays)
        except (ValueError, IndexError, TypeError) as error:
            raise self.declared.explain(error, arrays, static) from None
        if requires_grad and y.__class__ is ndarray and state.usual and self.vjps is not None:
            if self.saves_nothing is not None:
                return Variable.result(y, True, Node(self, edges, self.saves_nothing, static or NO_OPTIONS, y.shape))
            saved, versions = self._saved(y, None, args, arrays, static)
            x = Variable.result(y, True, Node(self, edges, saved, static or NO_OPTIONS, y.shape, versions))
            return x.share_memory(args[0]) if self.declared.views else x
        return self._finish(y, args, arrays, edges if requires_grad else None, static, has_tensor)

    def _finish(self, y, args, arrays, edges, static, has_tensor: bool, residuals=None):
        """The general case of one or several results: Tensors if an argument was one, and a node if there are edges."""
        if not has_tensor:
            numbers = isinstance(y, np.generic) and not any(hasattr(a, "dtype") for a in arrays)
            return y.item() if numbers else y
        several = isinstance(y, tuple)
        outputs = tuple(map(as_array, y)) if several else (as_array(y),)
        if state.anomaly and not all(map(is_finite, outputs)):
            raise NonFiniteError(f"operation {self.name!r}, called at {user_line()}, made the first NaN or infinity")
        if edges is None or self.vjps is None or not state.grad_enabled:
            results = [Variable.result(a) for a in outputs]
        else:
            saved, versions = self._saved(outputs if several else outputs[0], residuals, args, arrays, static)
            shapes = [a.shape for a in outputs]
            node = Node(self, edges, saved, static, shapes if several else shapes[0], versions)
            if state.anomaly:
                node.line = user_line()
            results = [Variable.result(a, True, (node, i) if several else node) for i, a in enumerate(outputs)]
        if self.declared.views:
            results = [x.share_memory(args[0]) for x in results]
        return tuple(results) if several else results[0]

    def _saved(self, y, residuals, args, arrays, static):
        """What a node keeps for `backward`: arrays, shapes of those that no vjp reads, versions of saved leaves."""
        saves, versions = self.declared.saves, ()
        saved = [y if "y" in saves else self.unsaved or self._shape_of(y)]
        for i, name in enumerate(self.declared.names_of(arrays)):
            if name in saves:
                saved.append(arrays[i])
                x = args[i]
                if isinstance(x, Variable) and (x.edge is None or x.owner is not None):
                    versions += _version(name, x)
            else:
                saved.append(self.unsaved or self._shape_of(arrays[i]))
        return saved, versions

    def _shape_of(self, array):
        """The shape and dtype of an array that is not saved, as `Unsaved`; a number as it is."""
        if isinstance(array, tuple):
            return tuple(map(self._shape_of, array))
        if not hasattr(array, "shape"):
            return array
        return Unsaved(self.declared.name, array.shape, array.dtype)

    def backward(self, node: Node, g, create_graph: bool, edges) -> Sequence[Any]:
        """Apply the vjps: to raw arrays, or to Tensors tied to the node's edges when a graph is created."""
        saved, vjps, static = node.saved, self.vjps, node.static
        if g.__class__ is list:
            g = _filled(g, saved[0])
        if create_graph:
            y = Variable.result(saved[0], True, node) if "y" in self.declared.saves else saved[0]
            saved = [y, *tied_to_graph(saved[1:], node.edges)]
        if vjps.__class__ is not tuple:
            return vjps(g, *saved, **static)
        # `enumerate` is faster than a strict `zip`, and this line runs once for each node.
        return [f(g, *saved, **static) if f and edges[i] is not None else None for i, f in enumerate(vjps)]


@contextmanager
def arrays_converted(convert: Callable[[Any], Any]) -> Iterator[None]:
    """A context in which operations take `convert(array)` in place of each array, that of a Tensor too."""
    call = Primitive.__call__

    def converted_call(self, *args, **static):
        tensors = [(a, a.data) for a in args if isinstance(a, Variable)]
        try:
            for tensor, data in tensors:
                tensor.data = convert(data)
            return call(self, *(a if isinstance(a, Variable) else convert(a) for a in args), **static)
        finally:
            for tensor, data in tensors:
                tensor.data = data

    Primitive.__call__ = converted_call  # type: ignore[method-assign]
    try:
        yield
    finally:
        Primitive.__call__ = call  # type: ignore[method-assign]


def primitive(saves: str = "", *, elementwise: bool = False, indices: str = "", views: bool = False):
    """Declare an operation by its forward function `(xp, *arrays, **static)` on raw arrays of the library `xp`.

    The options are those of `Declaration`, names separated by spaces; `indices="all"` stands for all arguments.
    """
    return lambda forward: Primitive(Declaration.of(forward, saves, indices, elementwise, views), forward)


class Fused(Primitive):
    """An operation with one differentiable definition, a composite of primitives, and kernels that are faster.

    The kernel `name(*arrays, **static)` returns the output (or a tuple) and its residuals, the kernel
    `name_backward(g, *residuals, **static)` the gradients of the arguments `wrt`. They serve the forward pass and the
    first-order gradient; everything else is derived from the composite, called again on the saved arguments.
    `check(name, *arguments, **static)` refuses arguments that do not fit.
    """

    def __init__(self, declared: Declaration, composite: Callable, wrt: str, check: Callable | None):
        super().__init__(declared, composite)
        self.composite, self.check, self.vjps = composite, check, ()
        self.wrt = [name in wrt.split() for name in declared.arguments]
        self.forward = lambda xp, *arrays, **static: kernel(declared.name, device_of(arrays[0]))(*arrays, **static)

    def __call__(self, *args, **static):
        if len(args) != self.arity:
            args, static = self.declared.bind(args, static)
        if self.check is not None:
            try:
                self.check(self.name, *args, **static)
            except (AttributeError, TypeError):
                if unknown := static.keys() - set(self.declared.options):
                    names = self.declared.arguments + self.declared.options
                    raise misfit(self.name, names, static, f"not {min(unknown)}") from None
                self.declared.check([a.data if isinstance(a, Variable) else a for a in args])  # names a list
                raise DtypeError(f"{self.name}: takes Tensors and arrays, not {_in_words(args)}") from None
        if any(isinstance(a, Variable) and a.requires_grad and not w for a, w in zip(args, self.wrt, strict=True)):
            return self.composite(*args, **static)
        return super().__call__(*args, **static)

    def _finish(self, y, *rest):
        y, residuals = y
        return super()._finish(y, *rest, residuals)

    def _saved(self, y, residuals, args, arrays, static):
        versions = [_version(name, x) for name, x in zip(self.declared.arguments, args, strict=True)]
        return (residuals, arrays), tuple(chain.from_iterable(versions))

    def backward(self, node: Node, g, create_graph: bool, edges) -> Sequence[Any]:
        """Call the backward kernel, or differentiate the composite if secondary outputs or a new graph need it."""
        residuals, arrays = node.saved
        primary = g if g.__class__ is not list else g[0] if all(x is None for x in g[1:]) else None
        if create_graph or primary is None:
            return differentiate_again(self.composite, node, arrays, g, create_graph)
        grads = iter(kernel(self.name + "_backward", device_of(primary))(primary, *residuals, **node.static))
        return [next(grads) if w else None for w in self.wrt]


def fused(wrt: str, *, indices: str = "", check: Callable | None = None):
    """Declare a fused operation by its composite, the arguments `wrt` that its kernel differentiates, and a `check`."""
    return lambda composite: Fused(Declaration.of(composite, "", indices, False, False), composite, wrt, check)


class Unsaved:
    """Replaces an argument whose values were not saved, in a vjp; it has no shape in elementwise operations."""

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


def _without_generics(arrays):
    """NumPy's scalars as arrays; beside arrays of another dtype or device as Python numbers, which never promote."""
    if not any(isinstance(a, np.generic) for a in arrays):
        return arrays
    others = [a for a in arrays if hasattr(a, "dtype") and not isinstance(a, np.generic)]
    dtypes = {a.dtype for a in others if isinstance(a, ndarray)}

    def plain(scalar):
        return scalar.item() if others and scalar.dtype not in dtypes else np.asarray(scalar)

    return [plain(a) if isinstance(a, np.generic) else a for a in arrays]


def _version(name: str, x) -> tuple[Any, ...]:
    """((name, leaf, version),) of the leaf whose memory is saved; an empty tuple if it belongs to no leaf."""
    leaf = x.memory_owner() if isinstance(x, Variable) else None
    return () if leaf is None else ((name, leaf, leaf.version),)


def _in_words(arrays) -> str:
    return ", ".join(f"{a.dtype} {a.shape}" if hasattr(a, "shape") else repr(a) for a in arrays)


def _filled(grads, outputs) -> tuple[Any, ...]:
    """The gradients of all outputs, with zeros for outputs that were not used."""
    known = next(g for g in grads if g is not None)
    xp = array_module(known.data if isinstance(known, Variable) else known)
    return tuple(xp.zeros(y.shape, y.dtype) if g is None else g for g, y in zip(grads, outputs, strict=True))
