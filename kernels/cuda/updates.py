"""Updates of parameters: one pass measures the gradient, another clips and applies it. Nothing waits for the device.

Parameters and their state lie in flat buffers, gradients where backward left them: a launch takes up to `ARRAYS`.
"""

import functools
from math import ceil
from typing import NamedTuple

import numpy as np

from .. import reference, rules
from .runtime import FLOAT32, Source, contiguous, empty, single

ARRAYS, BLOCK_NUMBERS, THREADS = 128, 4096, 256  # as in updates.cu

ADDRESSES = np.dtype([("of", np.uint64, ARRAYS)])
CUTS = np.dtype([("begin", np.int64, ARRAYS + 1), ("block", np.int32, ARRAYS + 1), ("arrays", np.int32)], align=True)

_source = Source(
    "updates.cu",
    *(f"update<{rule.__name__}>" for rule in (rules.Sgd, rules.Adagrad, rules.RmsProp, rules.Adam)),
    *("ema", "sum_squares", "root_of_sum"),
)


class Batch(NamedTuple):
    """Arrays [first, last) of a launch, how they are cut, and into how many blocks."""

    first: int
    last: int
    cuts: np.ndarray
    blocks: int


@functools.lru_cache(64)
def batches(sizes: tuple[int, ...]) -> tuple[Batch, ...]:
    """The launches that cover arrays of these sizes."""
    begins = np.concatenate([[0], np.cumsum(sizes)])
    blocks = np.concatenate([[0], np.cumsum([ceil(n / BLOCK_NUMBERS) for n in sizes])])
    launches = []
    for first in range(0, len(sizes), ARRAYS):
        last = min(first + ARRAYS, len(sizes))
        cuts, part = np.zeros(1, CUTS), slice(0, last - first + 1)
        cuts["begin"][0, part], cuts["block"][0, part] = begins[first : last + 1], blocks[first : last + 1]
        cuts["arrays"] = last - first
        launches.append(Batch(first, last, cuts, int(blocks[last] - blocks[first])))
    return tuple(launches)


def _sizes(arrays) -> tuple[int, ...]:
    return tuple([a.size for a in arrays])


def _addresses(arrays) -> np.ndarray:
    table = np.zeros(1, ADDRESSES)
    table["of"][0, : len(arrays)] = [a.data.ptr for a in arrays]
    return table


def _launch(name: str, lists, *arguments) -> None:
    """Launch a kernel over the numbers of lists of arrays; corresponding arrays of all lists have the same size."""
    for first, last, cuts, blocks in batches(_sizes(lists[0])):
        if blocks:
            tables = [_addresses(arrays[first:last]) for arrays in lists]
            _source[name]((blocks,), (THREADS,), (*tables, cuts, *arguments))


def _plain(arrays) -> list:
    """The arrays, as contiguous float32."""
    return [contiguous(a.astype(FLOAT32, copy=False)) for a in arrays]


def _on_device(value):
    """The array of one float32 that holds a number, which a captured step may change; None for a Python number."""
    return None if isinstance(value, (int, float, np.generic)) else value


def _update(rule: type, parameter, gradients, states, numbers) -> None:
    """Launch a rule: the structure of this name in updates.cu, which takes its numbers in the order of its fields."""
    gradients = _plain(gradients)
    if {sum(_sizes(gradients)), *_sizes(states)} != {parameter.size}:
        raise ValueError(f"an update of {parameter.size} parameters: gradients and states must have as many numbers")
    first, second = (*states, None)[:2]
    _launch(f"update<{rule.__name__}>", [gradients], parameter, first, second, numbers)


@single
def sgd(parameter, gradients, velocity, numbers):
    """Stochastic gradient descent, as `kernels.rules.sgd`."""
    _update(rules.Sgd, parameter, gradients, [velocity], numbers)


@single
def adagrad(parameter, gradients, square, numbers):
    """Adagrad, as `kernels.rules.adagrad`."""
    _update(rules.Adagrad, parameter, gradients, [square], numbers)


@single
def rmsprop(parameter, gradients, square, numbers):
    """RMSProp, as `kernels.rules.rmsprop`."""
    _update(rules.RmsProp, parameter, gradients, [square], numbers)


@single
def adam(parameter, gradients, mean, square, numbers):
    """Adam and AdamW, as `kernels.rules.adam`."""
    _update(rules.Adam, parameter, gradients, [mean, square], numbers)


@single
def norm(gradients, bound):
    """The joint norm of some arrays, as `kernels.rules.norm`, but on the device: an array of shape ().

    `bound` may be an array of one float32, too.
    """
    gradients = _plain(gradients)
    blocks = sum(batch.blocks for batch in batches(_sizes(gradients)))
    sums, root = empty(blocks, np.float64), empty(())
    device_bound = _on_device(bound)
    _launch("sum_squares", [gradients], np.float32(bound if device_bound is None else 0), device_bound, sums)
    _source["root_of_sum"]((1,), (THREADS,), (np.int32(blocks), sums, root))
    return root


def ema(averages, parameters, decay):
    """Move averages towards parameters, as `kernels.rules.ema`; `decay` may be an array of one float32, too."""
    if any(a.dtype != FLOAT32 or not a.flags.c_contiguous for a in averages):
        reference.ema(averages, parameters, decay)
        return
    if _sizes(averages) != _sizes(parameters):
        raise ValueError("averages and parameters have different sizes")
    device_decay = _on_device(decay)
    _launch("ema", [averages, _plain(parameters)], np.float32(1 - decay if device_decay is None else 0), device_decay)
