"""A program that runs kernels on arrays next to inaccessible memory, where an access outside an array ends it.

`test_guard_pages` runs it. Unwritten floats are NaN, and results must be bit-identical to those in ordinary memory, so
that reads of unwritten memory are noticed too.
"""

import ctypes
import mmap

import numpy as np

from tests.kernels.calls import Call, arrays_in, calls, matrix_products, random_shape
from tinygen.kernels import cpu
from tinygen.kernels.cpu import matrix, memory, problem

PAGE = mmap.PAGESIZE
RANDOM_SHAPES = 40  # number of convolutions of random shapes

_protect = ctypes.CDLL(None, use_errno=True).mprotect
_protect.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
MAKERS = {name: getattr(np, name) for name in "empty empty_like zeros full array arange ascontiguousarray".split()}


def guarded(array: np.ndarray, at_end: bool) -> np.ndarray:
    """A copy with the same order of axes, and an inaccessible page right after it, or right before it."""
    if not array.flags.c_contiguous:
        order = sorted(range(array.ndim), key=lambda axis: -array.strides[axis])
        ordered = array.transpose(order)
        ordered = ordered if ordered.flags.c_contiguous else MAKERS["ascontiguousarray"](ordered)
        return guarded(ordered, at_end).transpose([order.index(axis) for axis in range(array.ndim)])
    pages = -(-array.nbytes // PAGE)
    memory = mmap.mmap(-1, (pages + 1) * PAGE)
    memory.write(b"\xff" * pages * PAGE if at_end else b"\xff" * (pages + 1) * PAGE)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    if _protect(start + pages * PAGE if at_end else start, PAGE, 0):
        raise OSError(ctypes.get_errno(), "mprotect")
    offset = pages * PAGE - array.nbytes if at_end else PAGE
    copy = np.ndarray(array.shape, array.dtype, memory, offset)
    copy[...] = array
    return copy


def guard_new_arrays(at_end: bool) -> None:
    """Replace NumPy's functions that make arrays by ones that make guarded arrays."""

    def guarding(name, make):
        def make_guarded(*arguments, **options):
            array = make(*arguments, **options)
            if not array.nbytes or array.dtype.hasobject or not array.flags.c_contiguous or array is arguments[0]:
                return array
            copy = guarded(array, at_end)
            if name.startswith("empty") and copy.dtype.kind == "f":
                copy.fill(np.nan)
            return copy

        return make_guarded

    for name, make in MAKERS.items():
        setattr(np, name, guarding(name, make))


def forget_plans() -> None:
    """Clear the caches of plans and scratch memory, so that new ones are made."""
    memory.forget_scratch()
    problem.plan_of.cache_clear()
    matrix.plan.cache_clear()


def cases() -> list[Call]:
    """The sample calls, and convolutions and products of random shapes."""
    rng = np.random.default_rng(0)
    cases = [call for call in calls() if call.name in cpu.KERNELS]
    for _ in range(RANDOM_SHAPES):
        cases += random_shape(lambda low, high: int(rng.integers(low, high + 1))).calls()
        cases += matrix_products(*rng.integers(1, 70, 3).tolist())
    return cases


def main() -> None:
    """Run all calls in ordinary memory, which compiles the kernels, then with each of the two places of guard pages."""
    sample_calls = cases()
    expected = [call.run_on_copies() for call in sample_calls]
    for at_end in (True, False):
        guard_new_arrays(at_end)
        for call, right in zip(sample_calls, expected, strict=True):
            shapes = [array.shape for array in arrays_in(call.arguments)]
            print(call.name, shapes, call.static, "at the end" if at_end else "at the beginning", flush=True)
            forget_plans()
            guarded_call = call.with_arrays(lambda array: guarded(array, at_end) if array.size else array)  # noqa: B023
            for ours, other in zip(guarded_call.run(), right, strict=True):
                np.testing.assert_array_equal(ours, other)


if __name__ == "__main__":
    main()
