"""A program: kernels on arrays that end, or begin, at memory that nobody may touch. A stray access kills it.

Run by `test_guard_pages`. All that is not given a value is NaN, and results must be the same to the bit as in common
memory: so what is read without having been written shows too.
"""

import ctypes
import mmap

import numpy as np

from tests.kernels.calls import Call, arrays_in, calls, drawn, matrix_products
from tinygen.kernels import cpu
from tinygen.kernels.cpu import memory, narrow, products, weight_sums, winograd, winograd_sums

PAGE = mmap.PAGESIZE
DRAWN = 40  # convolutions of random shapes

_protect = ctypes.CDLL(None, use_errno=True).mprotect
_protect.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
MAKERS = {name: getattr(np, name) for name in "empty empty_like zeros full array arange ascontiguousarray".split()}


def guarded(array: np.ndarray, at_end: bool) -> np.ndarray:
    """A copy of the same layout, with an inaccessible page right after its end, or right before its beginning."""
    if not array.flags.c_contiguous:
        return guarded(array.T, at_end).T
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
    """What kernels allocate is guarded too, from now on."""

    def guarding(name, make):
        def made(*arguments, **options):
            array = make(*arguments, **options)
            if not array.nbytes or array.dtype.hasobject or not array.flags.c_contiguous or array is arguments[0]:
                return array
            copy = guarded(array, at_end)
            if name.startswith("empty") and copy.dtype.kind == "f":
                copy.fill(np.nan)
            return copy

        return made

    for name, make in MAKERS.items():
        setattr(np, name, guarding(name, make))


def forget() -> None:
    """Plans and scratch memory are made anew."""
    memory.forget_scratch()
    for room in (narrow, products, weight_sums, winograd, winograd_sums):
        for name in {"forward_plan", "adjoint_plan", "weight_plan"} & vars(room).keys():
            getattr(room, name).cache_clear()


def cases() -> list[Call]:
    """The sample calls, and convolutions and products of random shapes."""
    rng = np.random.default_rng(0)
    found = [call for call in calls() if call.name in cpu.KERNELS]
    for _ in range(DRAWN):
        found += drawn(lambda low, high: int(rng.integers(low, high + 1))).calls()
        found += matrix_products(*rng.integers(1, 70, 3).tolist())
    return found


def main() -> None:
    """Run everything in common memory, which compiles it, and then twice in guarded memory."""
    todo = cases()
    expected = [call.copied() for call in todo]
    for at_end in (True, False):
        guard_new_arrays(at_end)
        for call, right in zip(todo, expected, strict=True):
            shapes = [array.shape for array in arrays_in(call.arguments)]
            print(call.name, shapes, call.static, "at the end" if at_end else "at the beginning", flush=True)
            forget()
            placed = call.with_arrays(lambda array: guarded(array, at_end) if array.size else array)  # noqa: B023
            for ours, other in zip(placed.run(), right, strict=True):
                np.testing.assert_array_equal(ours, other)


if __name__ == "__main__":
    main()
