"""Helpers for calls of the operations in the op table: arguments on a device, Tensors, outputs and gradients."""

import numpy as np

import tinygen as tg
from tests.ops.table import NON_DIFFERENTIABLE
from tinygen.backend import is_array, to_device, to_numpy


def is_float(x) -> bool:
    return isinstance(x, np.ndarray) and x.dtype.kind == "f"


def moved(arguments, device):
    """The arguments with their arrays on a device."""
    return [to_device(x, device) if isinstance(x, np.ndarray) else x for x in arguments]


def as_tensors(arguments, requires_grad=True):
    """The arguments with float arrays as Tensors."""
    return [
        tg.tensor(x, x.dtype, requires_grad=requires_grad) if is_array(x) and x.dtype.kind == "f" else x
        for x in arguments
    ]


def outputs(y):
    """The outputs of an operation, as a tuple."""
    return y if isinstance(y, tuple) else (y,)


def arrays(y):
    """The outputs of an operation, as a list of arrays."""
    return [o.data if isinstance(o, tg.Tensor) else o for o in outputs(y)]


def on_host(y):
    """The values of an array on any device, or of a number, as a NumPy array."""
    return to_numpy(y) if is_array(y) else np.asarray(y)


def first_gradients(case, dtype, device):
    """Outputs of a case in a dtype, and gradients of a random combination of them in the float arguments, as arrays."""
    arguments = [x.astype(dtype) if is_float(x) else x for x in case.arguments]
    static = {k: dtype if k == "dtype" else v for k, v in case.static.items()}
    xs = as_tensors(moved(arguments, device))
    ys = outputs(case.function(*xs, **static))
    if case.kind == NON_DIFFERENTIABLE or not any(y.requires_grad for y in ys):
        return arrays(ys), []
    rng = np.random.default_rng(2)
    total = tg.tensor(0.0, dtype, device=device)
    for y in ys:
        total = total + (tg.tensor(rng.standard_normal(y.shape), dtype, device=device) * y).sum()
    return [y.data for y in ys], [g.data for g in tg.grad(total, [x for x in xs if isinstance(x, tg.Tensor)])]
