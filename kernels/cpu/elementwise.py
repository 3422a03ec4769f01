"""Elementwise kernels, declared by formulas: what a result is, made of the elements of the arguments at one place.

`function`, `forward` and `backward` register a kernel under the name of its reference; where it has two results, there
is a formula for each. Its arguments are float32 arrays of one shape (float64 ones where there are formulas for
`doubles`), and for some kernels a `number` after them. The reference serves all else, and arrays of fewer than `least`
elements.

`ulp` bounds the error of each result y in float32: |y - exact| <= ulp 2^-23 max(1, |exact|). For a backward kernel this
holds while the gradients that it is given are at most 1. The tests hold the kernels to their bounds.
"""

import functools
import inspect

import numpy as np
from numba import carray

from .. import reference
from . import memory, pool
from .blocks import block, block_count, double_block
from .jit import Address, Record, Worker, inlined
from .memory import address
from .registry import FLOAT32, registered

ndarray = np.ndarray
ERRORS: dict[str, float] = {}
"""The bounds on the errors of the kernels in ulp, by name."""


class Fields:
    """What a worker is told: one record for all, since numba takes records whose names begin alike for each other."""

    size: int  # elements of each array
    array0: Address  # the arguments, then the results
    array1: Address
    array2: Address
    array3: Address
    array4: Address
    number: float  # the last argument, if it is no array


RECORD = Record(Fields)
LOOP = """
def {name}(arguments, task, lane):
    a = carray(arguments, 1)[0]
    number = a.number
    {blocks}
    for i in range(x0.size):
        {elements} = {elements_at_i}
        {results}
"""


def function(name: str, formula, ulp: float | None = None, **options) -> None:
    """Declare a kernel that returns its result; the bound on its error may be the formula's own."""
    _declare(name, [formula], formula.ulp if ulp is None else ulp, lambda arrays, count: arrays[count], **options)


def forward(name: str, *formulas, ulp: float, **options) -> None:
    """Declare the forward pass of a fused operation: the result, and what its backward pass needs.

    This is the second result, or where there is none the arguments.
    """
    _declare(name, formulas, ulp, _with_residuals, **options)


def _with_residuals(arrays, count):
    return arrays[count], tuple(arrays[count + 1 :] or arrays[:count])


def backward(name: str, *formulas, ulp: float, **options) -> None:
    """Declare the backward pass of a fused operation, which returns a tuple of gradients."""
    _declare(name, formulas, ulp, lambda arrays, count: tuple(arrays[count:]), **options)


def _declare(name: str, formulas, ulp: float, returned, least: int = 0, number: bool = False, doubles=()) -> None:
    """Register a kernel, which returns what `returned` makes of `count` arguments and the results that follow them."""
    plain, count = getattr(reference, name), _arity(formulas[0]) - number
    has_two_results, last = len(formulas) == 2, [*inspect.signature(plain).parameters.values()][-1]
    workers = {FLOAT32: _worker(name, formulas, count, block)}
    if doubles:
        workers[np.dtype(np.float64)] = _worker(f"{name}_of_doubles", doubles, count, double_block)

    @registered
    @functools.wraps(plain)
    def kernel(*arguments, **static):
        x = arguments[0]
        if not isinstance(x, ndarray) or (size := x.size) < least or (worker := workers.get(x.dtype)) is None:
            return plain(*arguments, **static)
        shape, dtype, arrays = x.shape, x.dtype, []
        for a in arguments[:count]:
            if a is not x and (not isinstance(a, ndarray) or a.shape != shape or a.dtype != dtype):
                return plain(*arguments, **static)
            arrays.append(a if a.flags.c_contiguous else memory.contiguous(a))
        arrays.append(memory.empty(shape, dtype))
        if has_two_results:
            arrays.append(memory.empty(shape, dtype))
        call = worker.Arguments(size, *map(address, arrays))
        if number:
            call.number = arguments[count] if len(arguments) > count else static.get(last.name, last.default)
        pool.run(worker, call, block_count(size))
        return returned(arrays, count)

    ERRORS[name] = ulp


def _arity(formula) -> int:
    return len(inspect.signature(getattr(formula, "py_func", formula)).parameters)


def _worker(name: str, formulas, arrays: int, block) -> Worker:
    """A worker that applies formulas; numba, which has no loop over the arrays of a tuple, needs its source written."""
    inputs, outputs = [f"x{i}" for i in range(arrays)], [f"y{i}" for i in range(len(formulas))]
    elements = [f"e{i}" for i in range(arrays)]
    given = elements + ["number"] * (_arity(formulas[0]) - arrays)
    source = LOOP.format(
        name=name,
        blocks="; ".join(f"{x} = block(a, a.array{i}, task)" for i, x in enumerate(inputs + outputs)),
        elements=", ".join(elements),
        elements_at_i=", ".join(f"{x}[i]" for x in inputs),
        results="; ".join(f"{y}[i] = {y}_formula({', '.join(given)})" for y in outputs),
    )
    scope = {"__name__": __name__, "carray": carray, "block": block}
    scope |= {f"{y}_formula": inlined(getattr(f, "py_func", f)) for y, f in zip(outputs, formulas, strict=True)}
    exec(compile(source, __file__, "exec"), scope)
    return Worker(scope[name], RECORD)
