"""Reverse-mode automatic differentiation of any order: the tape, and the backward pass over it.

Calling an operation (`tinygen.primitive`) on a Tensor adds a `Node` to the tape. The backward pass visits the nodes
from the youngest to the oldest and asks each for the gradients of its arguments: on raw arrays for a first-order
gradient, on Tensors when the gradient itself is to be differentiated (`create_graph`).

A node points at older nodes or at leaves and saves arrays, never its own output Tensor. There are no cycles,
so a graph is freed the moment its last Tensor goes.
"""

import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from operator import attrgetter
from typing import Any, ClassVar, TypeVar, overload

import numpy as np

from tinygen.backend import array_module, device_of, is_array, kernel
from tinygen.backend.capture import forbid_in_capture
from tinygen.errors import ArgumentError, GradientError, NonFiniteError, ShapeError
from tinygen.words import explained

next_serial = count().__next__
ndarray = np.ndarray


class State(threading.local):
    """The modes of this thread."""

    grad_enabled = True
    anomaly = False
    recomputing = False
    """Whether the forward pass of a `checkpoint` runs a second time: running statistics are not updated again."""
    usual = True
    """Whether gradients are enabled and anomaly mode is off, so that each operation tests one flag instead of two."""

    def switch(self, name: str, value: bool) -> None:
        setattr(self, name, value)
        self.usual = self.grad_enabled and not self.anomaly


state = State()


@contextmanager
def switched(name: str, value: bool) -> Iterator[None]:
    """A context in which a mode of this thread is on or off."""
    before = getattr(state, name)
    state.switch(name, value)
    try:
        yield
    finally:
        state.switch(name, before)


def no_grad():
    """A context in which this thread builds no graph."""
    return switched("grad_enabled", False)


def enable_grad():
    """A context in which this thread builds graphs, inside `no_grad` too."""
    return switched("grad_enabled", True)


def detect_anomaly():
    """A context in which the first NaN or infinity raises NonFiniteError, naming the operation and the line."""
    return switched("anomaly", True)


class Variable:
    """An array and its place in the graph. Users see the derived `Tensor`, which adds operators and methods.

    `edge` is what made the array: a node, `(node, index)` for one of several outputs, None for a leaf.
    """

    __slots__ = ("__dict__", "__weakref__", "data", "edge", "requires_grad")

    result: ClassVar[type[Any]]
    """The class of what operations return: `tinygen.tensor` sets it to Tensor."""
    grad: Any = None
    """The gradient that `backward` has accumulated in a leaf."""
    version = 0
    """How often a leaf was changed in place."""
    owner: "Variable | None" = None
    """The leaf whose memory this array may share: a node that saves a view records that leaf's version."""
    place: Any = None
    """Where in an optimiser's flat buffer the values of a parameter lie (`tinygen.optim.optimizer.Place`)."""

    def __init__(self, data, requires_grad: bool = False, edge=None):
        if edge is None and data.__class__ is not ndarray and not hasattr(data, "dtype"):
            raise ArgumentError(f"Tensor: takes an array, not {type(data).__name__}; write tinygen.tensor(...)")
        self.data = data
        self.requires_grad = requires_grad
        self.edge = edge

    shape = property(attrgetter("data.shape"), doc="Lengths of the axes.")
    dtype = property(attrgetter("data.dtype"), doc="Element type.")

    def __getstate__(self) -> dict[str, Any]:
        """What copies and pickles hold: a leaf without the memory that it shares with others."""
        if self.edge is not None:
            made_by = source_of(self.edge).op.name
            raise GradientError(f"{made_by}: its result cannot be copied or pickled with its graph; detach() it first")
        return {"data": self.data, "requires_grad": self.requires_grad, "grad": self.grad}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.data, self.requires_grad, self.edge = state["data"], state["requires_grad"], None
        if state["grad"] is not None:
            self.grad = state["grad"]

    def memory_owner(self) -> "Variable | None":
        """The leaf that owns this memory: itself, or the leaf of which it is a view; None if no leaf does."""
        return self if self.owner is None and self.edge is None else self.owner

    def share_memory(self, other: "Variable"):
        """Record that this array may be a view of another one; returns itself."""
        owner = other.memory_owner()
        if owner is not None:
            self.owner = owner
        return self


def array_of(x):
    """The array of a Tensor; an array or a number as it is."""
    return x.data if isinstance(x, Variable) else x


class Node:
    """One call of an operation, on the tape.

    `edges` has for each argument None if it is constant, the leaf if it is one, and otherwise the argument's own edge.
    `saved` is what the operation saved for its backward pass, None once it was freed; `shape` is that of the output (a
    list for several outputs); `versions` are `(argument, leaf, version)` of the leaves that were saved.
    """

    __slots__ = ("__weakref__", "edges", "line", "op", "saved", "serial", "shape", "static", "versions")
    line: str

    def __init__(self, op, edges, saved, static, shape, versions=()):
        self.op = op
        self.edges = edges
        self.saved = saved
        self.static = static
        self.shape = shape
        self.versions = versions
        self.serial = next_serial()

    def check_saved(self) -> None:
        """GradientError if the graph has been freed, or if a saved leaf has changed since the forward pass."""
        if self.saved is None:
            raise GradientError(
                f"{self.op.name}: its graph was freed by an earlier backward; pass that retain_graph=True"
            )
        for name, leaf, version in self.versions:
            if leaf.version != version:
                raise GradientError(
                    f"{self.op.name}: its argument {name!r} {leaf.shape} was changed in place after the forward pass; "
                    "compute the loss again"
                )

    def check_finite(self, grads) -> None:
        """NonFiniteError for a gradient that is not finite, in anomaly mode."""
        if not all(g is None or is_finite(g) for g in grads):
            line = getattr(self, "line", "a line that is known only if the forward pass runs in anomaly mode too")
            raise NonFiniteError(
                f"the gradient of operation {self.op.name!r}, called at {line}, made the first NaN or infinity"
            )


def is_finite(array) -> bool:
    """Whether an array (or Tensor) holds neither NaN nor infinity."""
    array = array.data if isinstance(array, Variable) else array
    forbid_in_capture("a check that values are finite")
    return bool(array_module(array).isfinite(array).all())


skip_file_prefixes: tuple[str, ...] = ()
"""Files and folders whose lines are not the user's; set in `tinygen/__init__.py`."""


def user_line() -> str:
    """`file:line` of the innermost caller outside of `skip_file_prefixes`."""
    frame = sys._getframe(1)
    while frame.f_back and frame.f_code.co_filename.startswith(skip_file_prefixes):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


def edge_of(x: Variable):
    """The edge to a Tensor that requires a gradient."""
    return x if x.edge is None else x.edge


def source_of(edge):
    """The node or leaf that an edge points at."""
    return edge[0] if edge.__class__ is tuple else edge


def tied_to_graph(arrays: Sequence[Any], edges) -> list[Any]:
    """Saved arrays as Tensors with the edges that their arguments had; without an edge they stay arrays."""
    return [a if edge is None else Variable.result(a, True, edge) for a, edge in zip(arrays, edges, strict=True)]


def as_array(y):
    """The result as an array: NumPy's scalars become zero-dimensional arrays."""
    return np.asarray(y) if isinstance(y, np.generic) else y


def sum_to(g, shape: tuple[int, ...]):
    """An array or Tensor summed over the axes along which a `shape` was broadcast: the adjoint of `broadcast_to`."""
    lead = len(g.shape) - len(shape)
    axes = *range(lead), *(lead + i for i, n in enumerate(shape) if n == 1 and g.shape[lead + i] != 1)
    if not is_array(g):
        return g.sum(axis=axes, keepdims=True).reshape(shape)
    return kernel("sum_over", device_of(g))(g, axes, True).reshape(shape)


# The backward pass


def nodes_below(edges: Iterable[Any], floor: int = -1) -> list[Node]:
    """The nodes that some edges point at, and all younger than `floor` that they depend on, youngest first."""
    stack = [node for node in map(source_of, edges) if node.__class__ is Node]
    visited = set(stack)
    while stack:
        for edge in stack.pop().edges:
            source = edge[0] if edge.__class__ is tuple else edge
            if source.__class__ is Node and source not in visited and source.serial > floor:
                visited.add(source)
                stack.append(source)
    return sorted(visited, key=attrgetter("serial"), reverse=True)


def _on_paths_to(inputs, nodes: list[Node]) -> tuple[list[Node], set[Any]]:
    """The nodes on paths to `inputs`, youngest first; and these nodes together with the `inputs` themselves."""
    passed, leading = set(map(source_of, inputs)), []
    for node in reversed(nodes):
        if any(source_of(edge) in passed for edge in node.edges):
            passed.add(node)
            leading.append(node)
    return leading[::-1], passed


def _pop_outputs(grads, node: Node):
    """Remove the gradients of a node's several outputs from `grads` and return them; None if there is none."""
    outputs = [grads.pop((node, i), None) for i in range(len(node.shape))]
    return None if all(g is None for g in outputs) else outputs


def _added(before, g, edge, owned, create_graph: bool):
    """The sum of two gradients of an edge.

    The first gradient of an edge may be shared, so adding the second allocates a sum, which is `owned`; later ones are
    added to it in place. A sum that is part of a graph never changes.
    """
    if create_graph:
        return before + g
    if edge in owned:
        before += g
        return before
    owned.add(edge)
    return kernel("add", device_of(g))(before, g)


def backprop(y: Variable, g, *, inputs=None, create_graph=False, retain_graph=False, floor=-1):
    """Run the backward pass from `y`, whose gradient is `g`.

    Returns gradients by edge, and the edges whose arrays are not shared. With `inputs` (edges), only paths to these are
    followed. Nodes no younger than `floor` are not visited.
    """
    grads, wanted_grads, owned = {edge_of(y): g}, dict[Any, Any](), set[Any]()
    nodes, passed = nodes_below([edge_of(y)], floor), None
    if inputs is not None:
        nodes, passed = _on_paths_to(inputs, nodes)
    wanted = {node for node in map(source_of, inputs or ()) if node.__class__ is Node}  # these gradients must stay
    anomaly = state.anomaly
    with switched("grad_enabled", create_graph):
        for node in nodes:
            if wanted and node in wanted:
                wanted_grads |= {edge: grads[edge] for edge in inputs if source_of(edge) is node and edge in grads}
            g = grads.pop(node, None) if node.shape.__class__ is tuple else _pop_outputs(grads, node)
            if g is None:
                continue
            edges = node.edges if passed is None else [e if source_of(e) in passed else None for e in node.edges]
            if node.saved is None or node.versions:
                node.check_saved()
            argument_grads = node.op.backward(node, g, create_graph, edges)
            if anomaly:
                node.check_finite(argument_grads)
            if not retain_graph:
                node.saved = None
            for i, g in enumerate(argument_grads):
                edge = edges[i]
                if edge is None or g is None:
                    continue
                shape = edge[0].shape[edge[1]] if edge.__class__ is tuple else edge.shape
                if g.shape != shape:
                    g = sum_to(g, shape)
                if g.__class__ is not np.ndarray:
                    g = as_array(g)
                before = grads.get(edge)
                grads[edge] = g if before is None else _added(before, g, edge, owned, create_graph)
    return grads | wanted_grads, owned


def initial_gradient(caller: str, y: Variable, g, create_graph: bool):
    """The gradient that a backward pass starts with, an array or a Tensor: the given one, or 1 for a single number."""
    if g is None and y.data.size != 1:
        raise GradientError(f"{caller}: a Tensor of shape {y.shape} needs a gradient to start with")
    g = array_module(y.data).ones_like(y.data) if g is None else g
    g = g if isinstance(g, Variable) or is_array(g) else array_module(y.data).asarray(g, y.dtype)
    if g.shape != y.shape or g.dtype != y.dtype:
        raise ShapeError(f"{caller}: a gradient {g.dtype} {g.shape} for a Tensor {y.dtype} {y.shape}")
    if isinstance(g, Variable):
        return g if create_graph else g.data
    return Variable.result(g) if create_graph else g


def gradients(y: Variable, inputs, g=None, *, create_graph=False, retain_graph=False, floor=-1) -> list[Any]:
    """Gradients of `y` with respect to `inputs` (edges, or None): arrays (Tensors under `create_graph`), or None."""
    if not y.requires_grad:
        return [None] * len(inputs)
    g = initial_gradient("grad", y, g, create_graph)
    present = [edge for edge in inputs if edge is not None]
    grads, _ = backprop(y, g, inputs=present, create_graph=create_graph, retain_graph=retain_graph, floor=floor)
    return [None if edge is None else grads.get(edge) for edge in inputs]


T = TypeVar("T", bound=Variable)


@overload
def grad(y: Variable, xs: T, grad_y=None, *, create_graph: bool = False, retain_graph: bool | None = None) -> T: ...
@overload
def grad(
    y: Variable, xs: Sequence[T], grad_y=None, *, create_graph: bool = False, retain_graph: bool | None = None
) -> list[T]: ...
@explained
def grad(y, xs, grad_y=None, *, create_graph=False, retain_graph=None):
    """The gradient of `y` with respect to `xs`, a Tensor or a sequence (then a list); zeros if `y` is independent.

    `grad_y` (shape of `y`) weighs its elements; it may be left out where `y` is one number. With `create_graph` the
    result can be differentiated again. No `.grad` is touched. A gradient that is a part of the array `grad_y`, as that
    of a sum is, is a read-only view of it; all others have memory of their own.
    """
    sequence = [xs] if isinstance(xs, Variable) else list(xs)
    for i, x in enumerate(sequence):
        if not x.requires_grad:
            raise GradientError(f"grad: argument {i} of shape {x.shape} does not require a gradient")
    retain_graph = create_graph if retain_graph is None else retain_graph
    arrays = gradients(y, [edge_of(x) for x in sequence], grad_y, create_graph=create_graph, retain_graph=retain_graph)
    results = [
        g if isinstance(g, Variable) else Variable.result(g) for g in _kept_apart(arrays, sequence, array_of(grad_y))
    ]
    return results[0] if isinstance(xs, Variable) else results


def _kept_apart(arrays: list[Any], xs: Sequence[Variable], grad_y) -> Iterator[Any]:
    """Gradients through which nothing else can be changed: None as zeros, parts of `grad_y` as read-only views."""
    for i, x in enumerate(xs):
        if arrays[i] is None:
            yield array_module(x.data).zeros_like(x.data)
        elif arrays[i].__class__ is not ndarray:
            yield arrays[i].copy() if is_array(arrays[i]) else arrays[i]
        elif grad_y.__class__ is ndarray and np.may_share_memory(arrays[i], grad_y):
            view = arrays[i].view()
            view.flags.writeable = False
            yield view
        else:
            if not _is_held_once(arrays, i):
                arrays[i] = np.array(arrays[i])
            yield arrays[i]


_probe = [np.zeros(1)]
HELD_ONCE = sys.getrefcount(_probe[0])
"""The count of references to an array that is only in a list."""


def _is_held_once(arrays: list[Any], i: int) -> bool:
    """Whether the only reference to an array is that of the list, and to its memory that of the array."""
    array_is = sys.getrefcount(arrays[i]) == HELD_ONCE and arrays[i].flags.writeable
    return array_is and (arrays[i].base is None or sys.getrefcount(arrays[i].base) == HELD_ONCE)
