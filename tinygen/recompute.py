"""Calling a function a second time to differentiate it: composites of fused operations, and gradient checkpoints."""

from collections.abc import Callable
from typing import Any

from tinygen import autograd, random
from tinygen.autograd import Node, Variable, edge_of, nodes_below, source_of, state


def differentiate_again(function: Callable, node: Node, arrays, g, create_graph: bool) -> list[Any]:
    """Call `function` on the saved `arrays` of a node, and differentiate it; returns the gradients for its edges.

    The first edges belong to the arrays, further ones to other Tensors that the function reads. `g` is the output
    gradient, or a list of them; None in it stands for zeros.
    """
    floor, n = autograd.next_serial(), len(arrays)
    args = [
        a if e is None else Variable.result(a, True, e if create_graph else None)
        for a, e in zip(arrays, node.edges, strict=False)
    ]
    with autograd.enable_grad():
        outputs = function(*args, **node.static)
    inputs = [None if e is None else edge_of(a) for a, e in zip(args, node.edges, strict=False)] + list(node.edges[n:])
    outputs, g = (outputs, g) if isinstance(outputs, tuple) else ((outputs,), (g,))
    sums: list[Any] = [None] * len(inputs)
    for y, gy in zip(outputs, g, strict=True):
        if gy is not None:
            more = autograd.gradients(y, inputs, gy, create_graph=create_graph, retain_graph=True, floor=floor)
            sums = [a if b is None else b if a is None else a + b for a, b in zip(sums, more, strict=True)]
    return sums


class _Checkpoint:
    """The operation of a node that `checkpoint` records."""

    name = "checkpoint"

    def backward(self, node: Node, g, create_graph: bool, edges):
        function, streams, arrays = node.saved
        now = random.get_state()
        random.set_state(streams)
        try:
            with autograd.switched("recomputing", True):
                return differentiate_again(function, node, arrays, g, create_graph)
        finally:
            random.set_state(now)


def checkpoint(function: Callable, *args: Variable):
    """Call `function(*args)`, saving no arrays: backward calls it again (Chen et al. 2016, arXiv:1604.06174).

    The streams of `tinygen.random.stream` are reset for the second call (a Stream of your own is not), and running
    statistics are not updated twice. Parameters that the function uses get their gradients too; gradients of any order
    are exact.
    """
    box = Variable.result
    args = tuple(a if isinstance(a, Variable) else box(a) for a in args)
    if not state.grad_enabled:
        return function(*args)
    streams, floor = random.get_state(), autograd.next_serial()
    inner = [box(a.data, a.requires_grad) for a in args]
    outputs = function(*inner)
    tensors = outputs if isinstance(outputs, tuple) else (outputs,)
    if not any(y.requires_grad for y in tensors):
        return outputs
    own = set(inner)
    read = dict.fromkeys(edge for edge in _edges_leaving(tensors, floor) if edge not in own)
    edges = [edge_of(a) if a.requires_grad else None for a in args] + list(read)
    leaves = [x for x in [*args, *read] if isinstance(x, Variable) and x.edge is None]
    versions = tuple(("argument", x, x.version) for x in leaves)
    saved = (function, streams, [a.data for a in args])
    shape = [y.shape for y in tensors] if tensors is outputs else outputs.shape
    node = Node(_Checkpoint(), edges, saved, {}, shape, versions)
    if tensors is outputs:
        return tuple(box(y.data, y.requires_grad, (node, i)) for i, y in enumerate(tensors))
    return box(outputs.data, True, node)


def _edges_leaving(tensors, floor: int):
    """Yield the edges from the graph of some Tensors to leaves, and to nodes older than `floor`."""
    for node in nodes_below([y.edge for y in tensors], floor):
        for edge in node.edges:
            source = source_of(edge)
            if edge is not None and (source.__class__ is not Node or source.serial <= floor):
                yield edge
