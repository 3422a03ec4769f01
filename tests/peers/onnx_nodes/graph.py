"""Evaluates an ONNX graph node by node: floats with the functions of this package, everything else with NumPy."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import onnx
from onnx import numpy_helper

OPERATORS: dict[str, Callable] = {}
"""An operator by its ONNX name: a function `(*inputs, **attributes)` of arrays, None for an input left out."""


class Inexpressible(Exception):
    """An operator, or an option of one, that this package does not have."""


def operator(*names: str):
    """Add a function by the names of its operators."""

    def add(function):
        OPERATORS.update(dict.fromkeys(names, function))
        return function

    return add


def require(condition: bool) -> None:
    """Give a node up unless a condition holds."""
    if not condition:
        raise Inexpressible


@dataclass
class Context:
    """What a node is evaluated in: its graph's values, local functions, and the version of the operators."""

    values: dict[str, Any]
    functions: dict[tuple[str, str], Any]
    version: int


def attribute(a: onnx.AttributeProto, given: dict[str, Any]):
    """The value of an attribute of a node; one that refers to an attribute of the function around it is looked up."""
    if a.ref_attr_name:
        return given.get(a.ref_attr_name)
    value = onnx.helper.get_attribute_value(a)
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, onnx.TensorProto):
        return numpy_helper.to_array(value)
    if isinstance(value, list) and value and isinstance(value[0], bytes):
        return [v.decode() for v in value]
    return value


def run_node(node, context: Context, given: dict[str, Any]) -> None:
    """Evaluate a node and store its outputs."""
    inputs = [context.values[name] if name else None for name in node.input]
    attributes = {a.name: attribute(a, given) for a in node.attribute}
    attributes = {name: value for name, value in attributes.items() if value is not None}
    function = context.functions.get((node.domain, node.op_type))
    if function is not None:
        defaults = {a.name: attribute(a, {}) for a in function.attribute_proto}
        names = dict(zip(function.input, inputs, strict=False))
        inner = Context({n: names.get(n) for n in function.input}, context.functions, context.version)
        for part in function.node:
            run_node(part, inner, defaults | attributes)
        outputs = [inner.values[name] for name in function.output]
    else:
        require(node.op_type in OPERATORS)
        operator = OPERATORS[node.op_type]
        if getattr(operator, "needs_context", False):
            attributes["context"] = context
        if getattr(operator, "needs_outputs", False):
            attributes["outputs"] = len(node.output)
        outputs = operator(*inputs, **attributes)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    context.values.update({name: value for name, value in zip(node.output, outputs, strict=False) if name})


def run_graph(graph, inputs, context: Context) -> list:
    """The outputs of a graph, or of a part of one, which sees the values around it."""
    values = dict(context.values)
    values.update({t.name: numpy_helper.to_array(t) for t in graph.initializer})
    values.update({v.name: x for v, x in zip(graph.input, inputs, strict=False)})
    inner = Context(values, context.functions, context.version)
    for node in graph.node:
        run_node(node, inner, {})
    return [inner.values[output.name] for output in graph.output]


def run_model(model, inputs) -> list:
    """The outputs of a model for arrays in the order of its inputs."""
    functions = {(f.domain, f.name): f for f in model.functions}
    version = next((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), 1)
    inputs = [numpy_helper.to_array(x) if isinstance(x, onnx.TensorProto) else x for x in inputs]
    names = {v.name for v in model.graph.input}
    empty = dict.fromkeys(names)
    return run_graph(model.graph, inputs, Context(empty, functions, version))


def in_context(function):
    """Mark an operator that evaluates graphs of its own."""
    function.needs_context = True
    return function


def counting_outputs(function):
    """Mark an operator that needs the number of its outputs."""
    function.needs_outputs = True
    return function
