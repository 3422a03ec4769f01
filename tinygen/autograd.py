"""Reverse-mode automatic differentiation of any order.

Calling an operation (`tinygen.primitive`) with a Tensor records a `Node`. Backward walks the nodes from the
youngest to the oldest and asks each for the gradients of its arguments: on raw arrays for a first-order gradient,
on Tensors when the gradient itself is to be differentiated (`create_graph`).

A node points at older nodes or at leaves and saves arrays, never its own output Tensor. There are no cycles,
so a graph is freed the moment its last Tensor goes.
"""

import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from heapq import heappop, heappush
from itertools import count
from operator import attrgetter
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from tinygen.backend import array_module, device_of, is_array, to_device, to_numpy
from tinygen.backend.recording import refuse
from tinygen.errors import DtypeError, GradientError, NonFiniteError, ShapeError

FLOAT32 = np.dtype("float32")
FLOATS = (FLOAT32, np.dtype("float64"))

next_serial = count().__next__

REGISTRY: dict[str, Any] = {}
"""Every operation by name; filled by `tinygen.primitive`."""


class State(threading.local):
    """What this thread is doing now."""

    recording = True
    anomaly = False
    recomputing = False
    simple = True
    """Recording, and not in anomaly mode: one look in the usual case."""

    def switch(self, name: str, value: bool) -> None:
        setattr(self, name, value)
        self.simple = self.recording and not self.anomaly


state = State()


@contextmanager
def switched(name: str, value: bool) -> Iterator[None]:
    """Context in which an attribute of this thread's state has a value."""
    before = getattr(state, name)
    state.switch(name, value)
    try:
        yield
    finally:
        state.switch(name, before)


def no_grad():
    """Context in which this thread records nothing."""
    return switched("recording", False)


def enable_grad():
    """Context in which this thread records, inside `no_grad` too."""
    return switched("recording", True)


def detect_anomaly():
    """Context in which the first NaN or infinity raises NonFiniteError, naming the operation and the line."""
    return switched("anomaly", True)


Method = Callable[..., "Tensor"]


class Tensor:
    """An array, and how it came to be.

    `data` is a NumPy or CuPy array; `grad` is the gradient that `backward` accumulated in a leaf. `tinygen.tensor`
    makes one. Arithmetic, indexing and the one-argument functions of `tinygen.functional` are methods too.
    """

    __slots__ = ("__dict__", "__weakref__", "data", "edge", "requires_grad")
    __array_ufunc__ = None  # so that ndarray * Tensor reaches Tensor.__rmul__
    __hash__ = object.__hash__

    grad: "Tensor | None" = None
    version = 0
    owner: "Tensor | None" = None
    """The leaf whose memory this Tensor may share: a view saves that leaf's version."""

    def __init__(self, data, requires_grad: bool = False, edge=None):
        self.data = data
        self.requires_grad = requires_grad
        self.edge = edge

    shape = property(attrgetter("data.shape"), doc="Lengths of the axes.")
    ndim = property(attrgetter("data.ndim"), doc="Number of axes.")
    size = property(attrgetter("data.size"), doc="Number of elements.")
    dtype = property(attrgetter("data.dtype"), doc="Element type.")
    device = property(lambda self: device_of(self.data), doc='`"cpu"` or `"cuda"`.')

    def numpy(self) -> np.ndarray:
        """The values as a NumPy array on the host."""
        return to_numpy(self.data)

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return np.asarray(self.numpy(), dtype)

    def item(self) -> float:
        """The value of a one-element Tensor as a Python number."""
        if self.size != 1:
            raise ShapeError(f"item: a Tensor of shape {self.shape} is not one number")
        refuse("reading a value (item, float, int, bool)")
        return self.data.item()

    def detach(self) -> "Tensor":
        """The same array, without its history."""
        return Tensor(self.data).shares(self)

    def shares(self, other: "Tensor") -> "Tensor":
        """Note that this Tensor may share the memory of another; returns itself."""
        owner = other if other.owner is None and other.edge is None else other.owner
        if owner is not None:
            self.owner = owner
        return self

    def to(self, device: str) -> "Tensor":
        """A leaf with the values on `"cpu"` or `"cuda"`; itself where it is there already."""
        if self.device == device:
            return self
        if self.edge is not None:
            raise GradientError("to: only a leaf can be moved; detach the Tensor first")
        return Tensor(to_device(self.data, device), self.requires_grad)

    def assign(self, data) -> None:
        """Overwrite the values of a leaf in place; graphs that saved the old ones refuse to run backward."""
        if self.edge is not None or self.owner is not None:
            raise GradientError("assign: only a leaf can be changed in place")
        xp = array_module(self.data)
        data = data.data if isinstance(data, Tensor) else data
        values = to_device(data, self.device) if is_array(data) else xp.asarray(data, self.dtype)
        if values.shape not in ((), self.shape):
            raise ShapeError(f"assign: values of shape {values.shape} for a Tensor of shape {self.shape}")
        self.data[...] = values
        self.version += 1

    def backward(self, grad=None, *, retain_graph: bool = False) -> None:
        """Add the gradient of this Tensor to `.grad` of every leaf that it depends on.

        `grad` (same shape) defaults to one for a one-element Tensor. For gradients of gradients there is
        `tinygen.grad(..., create_graph=True)`.
        """
        if not self.requires_grad:
            raise GradientError("backward: this Tensor depends on nothing that requires a gradient")
        start = _initial("backward", self, grad)
        start = start.data if isinstance(start, Tensor) else start
        grads, owned = backprop(self, start, retain_graph=retain_graph)
        for leaf, g in grads.items():
            if leaf.grad is not None:
                leaf.grad.data += g
            else:
                leaf.grad = Tensor(array_module(g).array(g, order="C", copy=leaf not in owned or None))

    def __len__(self) -> int:
        if not self.ndim:
            raise TypeError("len: a Tensor without axes has no length")
        return self.shape[0]

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __bool__(self) -> bool:
        return bool(self.item())

    def __repr__(self) -> str:
        values = np.array2string(self.numpy(), separator=", ", prefix="tensor(")
        notes = [] if self.dtype == FLOAT32 else [f"dtype={self.dtype}"]
        notes += [] if self.device == "cpu" else [f"device={self.device}"]
        if self.edge is not None:
            notes.append(f"op={source_of(self.edge).op.name}")
        elif self.requires_grad:
            notes.append("requires_grad=True")
        return f"tensor({', '.join([values, *notes])})"

    if TYPE_CHECKING:  # attached by tinygen.ops
        T: "Tensor"
        abs: "Method"
        argmax: "Method"
        astype: "Method"
        clip: "Method"
        cos: "Method"
        cumsum: "Method"
        erf: "Method"
        exp: "Method"
        expm1: "Method"
        flip: "Method"
        log: "Method"
        log1p: "Method"
        logsumexp: "Method"
        max: "Method"
        mean: "Method"
        min: "Method"
        relu: "Method"
        reshape: "Method"
        sigmoid: "Method"
        sign: "Method"
        sin: "Method"
        softplus: "Method"
        sqrt: "Method"
        sum: "Method"
        tanh: "Method"
        transpose: "Method"
        var: "Method"

        def __add__(self, other) -> "Tensor": ...
        def __radd__(self, other) -> "Tensor": ...
        def __sub__(self, other) -> "Tensor": ...
        def __rsub__(self, other) -> "Tensor": ...
        def __mul__(self, other) -> "Tensor": ...
        def __rmul__(self, other) -> "Tensor": ...
        def __truediv__(self, other) -> "Tensor": ...
        def __rtruediv__(self, other) -> "Tensor": ...
        def __pow__(self, other) -> "Tensor": ...
        def __rpow__(self, other) -> "Tensor": ...
        def __matmul__(self, other) -> "Tensor": ...
        def __rmatmul__(self, other) -> "Tensor": ...
        def __neg__(self) -> "Tensor": ...
        def __getitem__(self, index) -> "Tensor": ...
        def __lt__(self, other) -> "Tensor": ...
        def __le__(self, other) -> "Tensor": ...
        def __gt__(self, other) -> "Tensor": ...
        def __ge__(self, other) -> "Tensor": ...


def tensor(data, dtype=None, *, requires_grad: bool = False, device: str | None = None) -> Tensor:
    """Make a leaf Tensor from numbers, nested lists or an array.

    Floats become float32 unless `dtype` is given; integers and bools stay what they are. An array of the right dtype is
    not copied. `device` moves the values.
    """
    data = data.data if isinstance(data, Tensor) else data
    array = data if is_array(data) else np.asarray(data)
    if array.dtype.kind not in "fiub":
        raise DtypeError(f"tensor: cannot make a Tensor of {array.dtype} values")
    if dtype is not None and np.dtype(dtype).kind == "f" and np.dtype(dtype) not in FLOATS:
        raise DtypeError(f"tensor: floats are float32 or float64, not {np.dtype(dtype)}")
    if dtype is not None or array.dtype.kind == "f":
        array = array.astype(dtype or FLOAT32, copy=False)
    if requires_grad and array.dtype not in FLOATS:
        raise DtypeError(f"tensor: a {array.dtype} Tensor cannot require a gradient")
    return Tensor(to_device(array, device) if device else array, requires_grad)


class Node:
    """One recorded call of an operation.

    `edges` holds, per argument, None for a constant, a leaf, an older node, or `(node, index)` for one output of
    several. `saved` belongs to the operation, `shape` is that of the output (a list of them for several outputs),
    `versions` are those of the leaves that were saved.
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
        """Refuse a second backward, and one through a parameter that has changed since."""
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

    def where(self) -> str:
        """Where the operation was called, for a graph that was recorded in anomaly mode."""
        return getattr(self, "line", "a line that is known only if the forward pass runs in anomaly mode too")

    def check_finite(self, grads) -> None:
        """Anomaly mode: refuse a gradient that is not finite."""
        if not all(g is None or is_finite(g) for g in grads):
            raise NonFiniteError(
                f"the gradient of operation {self.op.name!r}, called at {self.where()}, made the first NaN or infinity"
            )


def tie(arrays: Sequence[Any], edges) -> list[Any]:
    """Saved arguments as Tensors tied to a node's edges, for a gradient that is itself recorded."""
    return [a if edge is None else Tensor(a, True, edge) for a, edge in zip(arrays, edges, strict=True)]


def is_finite(array) -> bool:
    """Whether an array (or Tensor) holds neither NaN nor infinity."""
    array = array.data if isinstance(array, Tensor) else array
    refuse("a look at whether values are finite")
    return bool(array_module(array).isfinite(array).all())


_ENGINE = tuple(
    os.path.join(os.path.dirname(__file__), room)
    for room in (
        "autograd.py",
        "primitive.py",
        "recompute.py",
        "replay.py",
        "profiling.py",
        "functional.py",
        "distributions.py",
        "optim.py",
        "ops",
        "nn",
    )
)


def user_line() -> str:
    """`file:line` of the innermost caller outside the engine."""
    frame = sys._getframe(1)
    while frame.f_back and frame.f_code.co_filename.startswith(_ENGINE):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


def _initial(caller: str, y: Tensor, g):
    """The gradient that a backward pass starts with."""
    if g is None:
        if y.size != 1:
            raise GradientError(f"{caller}: a Tensor of shape {y.shape} needs a gradient to start with")
        return array_module(y.data).ones_like(y.data)
    g = g if isinstance(g, Tensor) or is_array(g) else array_module(y.data).asarray(g, y.dtype)
    if g.shape != y.shape or g.dtype != y.dtype:
        raise ShapeError(f"{caller}: a gradient {g.dtype} {g.shape} for a Tensor {y.dtype} {y.shape}")
    return g


def edge_of(x: Tensor):
    """The edge to a Tensor that requires a gradient."""
    return x if x.edge is None else x.edge


def source_of(edge):
    """The node or leaf that an edge points at."""
    return edge[0] if edge.__class__ is tuple else edge


def _paths(root: Node, ends, floor: int):
    """The nodes and leaves that lie on a path from `root` to one of `ends`, and the nodes to walk for that."""
    nodes, stack = {root}, [root]
    while stack:
        for edge in stack.pop().edges:
            source = source_of(edge)
            if source.__class__ is Node and source not in nodes and source.serial > floor:
                nodes.add(source)
                stack.append(source)
    needed, walk = set(ends), set()
    for node in sorted(nodes, key=lambda node: node.serial):
        if any(edge is not None and source_of(edge) in needed for edge in node.edges):
            walk.add(node)
            needed.add(node)
    return needed, walk


def backprop(y: Tensor, g, *, inputs=None, create_graph=False, retain_graph=False, floor=-1):
    """Walk back from `y`; returns gradients by edge, and the set of edges whose arrays are nobody else's.

    With `inputs` (edges), only paths to these are walked. The first gradient that reaches an edge is borrowed, the
    second allocates a sum, later ones are added in place (never when a graph is created). Nodes no younger than
    `floor` are not walked.
    """
    edge = edge_of(y)
    root = source_of(edge)
    if root.__class__ is not Node:
        return {root: g}, set()
    needed = walk = None
    if inputs is not None:
        needed, walk = _paths(root, [source_of(edge) for edge in inputs], floor)
    wanted = set(inputs or ())
    grads, found, owned = {edge: g}, {}, set()
    queued, heap = {root}, [(-root.serial, root)] if walk is None or root in walk else []
    anomaly, ndarray = state.anomaly, np.ndarray
    with switched("recording", create_graph):
        while heap:
            node = heappop(heap)[1]
            if node.shape.__class__ is tuple:
                g = grads.pop(node)
                if node in wanted:
                    found[node] = g
            else:
                g = [grads.pop((node, i), None) for i in range(len(node.shape))]
                found.update({(node, i): x for i, x in enumerate(g) if (node, i) in wanted and x is not None})
            if node.saved is None or node.versions:
                node.check_saved()
            edges = node.edges
            if needed is not None:
                edges = [edge if edge is not None and source_of(edge) in needed else None for edge in edges]
            node_grads = node.op.backward(node, g, create_graph, edges)
            if anomaly:
                node.check_finite(node_grads)
            if not retain_graph:
                node.saved = None
            for edge, g in zip(edges, node_grads, strict=True):
                if edge is None or g is None:
                    continue
                if edge.__class__ is tuple:
                    source, shape = edge[0], edge[0].shape[edge[1]]
                else:
                    source, shape = edge, edge.shape
                if g.shape != shape:  # what was broadcast is summed back
                    g = REGISTRY["sum_to"](g, shape=shape)
                if g.__class__ is not ndarray and isinstance(g, np.generic):
                    g = np.asarray(g)  # NumPy makes numbers of zero-dimensional arrays
                before = grads.get(edge)
                if before is None:
                    grads[edge] = g
                    if source.__class__ is Node and source not in queued and (walk is None or source in walk):
                        queued.add(source)
                        heappush(heap, (-source.serial, source))
                elif edge in owned:
                    before += g
                    grads[edge] = before  # a zero-dimensional sum is a new object
                else:
                    grads[edge] = REGISTRY["add"](before, g)
                    if not create_graph:
                        owned.add(edge)
    grads.update(found)
    return grads, owned


def gradients(y: Tensor, inputs, g=None, *, create_graph=False, retain_graph=False, floor=-1) -> list[Any]:
    """Gradients of `y` for `inputs` (edges, or None): arrays (Tensors under `create_graph`), or None."""
    if not y.requires_grad:
        return [None] * len(inputs)
    g = _initial("grad", y, g)
    if create_graph:
        g = g if isinstance(g, Tensor) else Tensor(g)
    elif isinstance(g, Tensor):
        g = g.data
    present = [edge for edge in inputs if edge is not None]
    grads, _ = backprop(y, g, inputs=present, create_graph=create_graph, retain_graph=retain_graph, floor=floor)
    return [None if edge is None else grads.get(edge) for edge in inputs]


@overload
def grad(
    y: Tensor, xs: Tensor, grad_y=None, *, create_graph: bool = False, retain_graph: bool | None = None
) -> "Tensor": ...
@overload
def grad(
    y: Tensor, xs: Sequence[Tensor], grad_y=None, *, create_graph: bool = False, retain_graph: bool | None = None
) -> list[Tensor]: ...
def grad(y, xs, grad_y=None, *, create_graph=False, retain_graph=None):
    """The gradient of `y` for `xs` (one Tensor, or a sequence: then a list), zeros where `y` does not depend on one.

    `grad_y` (shape of `y`) weighs its elements; it may be left out where `y` is one number. With `create_graph` the
    result can be differentiated again. No `.grad` is touched.
    """
    sequence = [xs] if isinstance(xs, Tensor) else list(xs)
    for i, x in enumerate(sequence):
        if not x.requires_grad:
            raise GradientError(f"grad: argument {i} of shape {x.shape} does not require a gradient")
    retain_graph = create_graph if retain_graph is None else retain_graph
    found = gradients(y, [edge_of(x) for x in sequence], grad_y, create_graph=create_graph, retain_graph=retain_graph)
    results = []
    for g, x in zip(found, sequence, strict=True):
        xp = array_module(x.data)
        results.append(g if isinstance(g, Tensor) else Tensor(xp.zeros_like(x.data) if g is None else xp.array(g)))
    return results[0] if isinstance(xs, Tensor) else results
