"""Addresses of arrays, arrays for results, arrays on cache lines, and scratch memory for the threads of a launch."""

import ctypes
import threading

import numpy as np

from ..cores import most_threads
from . import recording
from .target import LINE

_size_t_at = ctypes.c_size_t.from_address
_POINTER = object.__basicsize__  # in CPython the pointer to the elements comes first in an ndarray, after its head


def _address(array: np.ndarray) -> int:
    """The address of the elements of an array."""
    return _size_t_at(id(array) + _POINTER).value


def _address_by_interface(array: np.ndarray) -> int:
    """`_address` by NumPy's public interface, which takes five times as long."""
    return array.__array_interface__["data"][0]


_probe = np.zeros(1)
address = _address if _address(_probe) == _address_by_interface(_probe) else _address_by_interface


def write_addresses(record, **arrays) -> None:
    """Write the addresses of arrays into the fields of a record that have their names."""
    for name, array in arrays.items():
        setattr(record, name, address(array))


def empty(shape, dtype=np.float32) -> np.ndarray:
    """An uninitialised array for the result of a kernel; of the recording, while a step is recorded."""
    if recording.active is None or (now := recording.current()) is None:
        return np.empty(shape, dtype)
    return now.empty(shape, dtype)


def zeros(shape, dtype=np.float32) -> np.ndarray:
    """An array of zeros, to which a kernel adds."""
    if recording.active is None or (now := recording.current()) is None:
        return np.zeros(shape, dtype)
    array = now.empty(shape, dtype)
    array.fill(0)
    return array


def contiguous(array, dtype=None) -> np.ndarray:
    """The array itself if it is contiguous and of that dtype, which is by default its own; otherwise a copy."""
    if recording.active is None or (now := recording.current()) is None:
        return np.ascontiguousarray(array, dtype)
    if array.flags.c_contiguous and dtype in (None, array.dtype) and array.ndim:
        return array
    copy = now.empty(array.shape or 1, dtype or array.dtype)
    np.copyto(copy, array, casting="unsafe")
    return copy


def int64_table(values) -> np.ndarray:
    """Numbers that a compiled function reads one after the other."""
    return np.ascontiguousarray(values, np.int64).reshape(-1)


def aligned(size: int) -> np.ndarray:
    """An uninitialised float32 array (size,) that begins at the beginning of a cache line.

    Vectors that lie across two cache lines can take a fifth of a kernel's time (measured).
    """
    if recording.active is not None and (now := recording.current()) is not None:
        return now.empty(size)
    array = np.empty(size, np.float32)
    if address(array) % LINE:
        array = np.empty(size + LINE // 4 - 1, np.float32)
        first = -address(array) % LINE // 4
        array = array[first : first + size]
    return array


_of_this_thread = threading.local()


def scratch(lane_bytes: int) -> np.ndarray:
    """Uninitialised memory, `lane_bytes` for each lane of a launch; the caller keeps a reference during the launch.

    Each Python thread has its own, since launches of several threads run at the same time.
    """
    size = lane_bytes // 4 * most_threads()
    if recording.active is not None and (now := recording.current()) is not None:
        return now.empty(size)
    buffer = getattr(_of_this_thread, "buffer", None)
    if buffer is None or buffer.size < size:
        buffer = _of_this_thread.buffer = aligned(size)
    return buffer


def forget_scratch() -> None:
    """Release the calling thread's scratch memory; the next launch that needs some allocates it anew."""
    _of_this_thread.buffer = None
