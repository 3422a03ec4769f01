"""ONNX operators that evaluate graphs, and those on sequences and optional values."""

import numpy as np

from tests.peers.onnx_nodes.graph import OPERATORS, in_context, operator, require, run_graph
from tests.peers.onnx_nodes.tensors import ints
from tinygen import functional as F


@operator("If")
@in_context
def if_(condition, then_branch, else_branch, context):
    return tuple(run_graph(then_branch if np.ravel(condition)[0] else else_branch, [], context))


@operator("Loop")
@in_context
def loop(count, condition, *state, body, context):
    scanned, i, state = [], 0, list(state)
    running = True if condition is None else bool(np.ravel(condition)[0])
    while running and (count is None or i < int(np.ravel(count)[0])):
        running, *rest = run_graph(body, [np.array(i, "int64"), np.array(running), *state], context)
        running = bool(np.ravel(running)[0])
        state, more = rest[: len(state)], rest[len(state) :]
        scanned.append(more)
        i += 1
    return (*state, *(np.stack(parts) for parts in zip(*scanned, strict=True)))


@operator("Scan")
@in_context
def scan(*inputs, body, num_scan_inputs, context, **options):
    inputs = inputs[1:] if inputs and inputs[0] is None else inputs
    require(not any(np.any(v) for k, v in options.items()))
    if context.version < 9:
        outputs = [
            scan(*[x[n] for x in inputs], body=body, num_scan_inputs=num_scan_inputs, context=_newer(context))
            for n in range(len(inputs[0]))
        ]
        return tuple(np.stack(parts) for parts in zip(*outputs, strict=True))
    kept = len(inputs) - num_scan_inputs
    state, scanned = list(inputs[:kept]), []
    for t in range(len(inputs[kept])):
        outputs = run_graph(body, [*state, *(x[t] for x in inputs[kept:])], context)
        state, more = outputs[:kept], outputs[kept:]
        scanned.append(more)
    return (*state, *(np.stack(parts) for parts in zip(*scanned, strict=True)))


def _newer(context):
    return type(context)(context.values, context.functions, 9)


@operator("SequenceMap")
@in_context
def sequence_map(sequence, *others, body, context):
    rows = [
        run_graph(body, [x, *(o[i] if isinstance(o, list) else o for o in others)], context)
        for i, x in enumerate(sequence)
    ]
    return tuple(map(list, zip(*rows, strict=True)))


OPERATORS["SequenceConstruct"] = lambda *xs: list(xs)
OPERATORS["SequenceEmpty"] = lambda dtype=None: []
OPERATORS["SequenceLength"] = lambda xs: np.array(len(xs), "int64")
OPERATORS["SequenceAt"] = lambda xs, i: xs[int(i)]
OPERATORS["SequenceErase"] = lambda xs, i=None: [
    x for k, x in enumerate(xs) if k != (len(xs) - 1 if i is None else int(i) % len(xs))
]
OPERATORS["OptionalHasElement"] = lambda x=None: np.array(x is not None)
OPERATORS["OptionalGetElement"] = lambda x: x


@operator("SequenceInsert")
def sequence_insert(xs, x, i=None):
    xs, place = list(xs), len(xs) if i is None else int(np.ravel(i)[0])
    xs.insert(place if place >= 0 else place + len(xs), x)
    return xs


@operator("ConcatFromSequence")
def concat_from_sequence(xs, axis, new_axis=0):
    return np.stack(xs, axis) if new_axis else np.concatenate(xs, axis)


@operator("SplitToSequence")
def split_to_sequence(x, sizes=None, axis=0, keepdims=1):
    length = x.shape[axis]
    if sizes is None:
        parts = np.split(x, length, axis)
        return parts if keepdims else [np.squeeze(p, axis) for p in parts]
    sizes = ints(sizes) if np.ndim(sizes) else [min(int(sizes), length - i) for i in range(0, length, int(sizes))]
    return list(F.split(x, sizes=tuple(sizes), axis=axis))
