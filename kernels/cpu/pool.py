"""One pool of threads, numba's: every kernel is a worker function that does the tasks of a launch.

Tasks are cut by shape, never by the number of threads, and lanes take them one after another: so results do not
depend on how many threads there are, and a lane that is held up does not hold up the others. Launches from several
Python threads take turns: numba gives up the interpreter's lock while its threads run, and they share scratch memory.
"""

import ctypes
import functools
import os
import threading

import numba
import numpy as np
from numba import prange, types

from ..cores import thread_count
from .ir import call_worker, flush_denormals, restore_denormals, take
from .jit import Worker, compiled

_int64 = types.int64


def _in_lanes(worker, arguments, tasks, lanes, counter):
    for lane in prange(lanes):
        before = flush_denormals()
        task = take(counter)
        while task < tasks:
            call_worker(worker, arguments, task, lane)
            task = take(counter)
        restore_denormals(before)


def _one_after_another(worker, arguments, tasks):
    before = flush_denormals()
    for task in range(tasks):
        call_worker(worker, arguments, task, 0)
    restore_denormals(before)


@functools.cache
def _parallel():
    return compiled(_in_lanes, types.void(*[_int64] * 5), parallel=True)


@functools.cache
def _serial():
    return compiled(_one_after_another, types.void(*[_int64] * 3))


_forked = False
turn = threading.RLock()


def _after_fork() -> None:
    """A forked child has none of its parent's threads, and OpenMP ends a process that asks for them again."""
    global _forked, turn
    _forked, turn = True, threading.RLock()  # nobody is left to give the old one back


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def lanes(tasks: int) -> int:
    """How many threads a launch of so many tasks uses."""
    return 1 if _forked else min(tasks, thread_count(), numba.config.NUMBA_NUM_THREADS)


ALL = 1 << 16  # lanes


def run(worker: Worker, arguments: ctypes.Structure, tasks: int, most: int = ALL) -> None:
    """Call a worker once for each task, in as many lanes as there are threads (or `most`); denormals are zero then."""
    width = min(lanes(tasks), most) if tasks > 1 else tasks
    if width > 1:
        counter = ctypes.c_int64(0)
        launch, place = _parallel(), worker.address
        with turn:
            launch(place, ctypes.addressof(arguments), tasks, width, ctypes.addressof(counter))
    elif width:
        launch, place = _serial(), worker.address
        with turn:
            launch(place, ctypes.addressof(arguments), tasks)


_word_at = ctypes.c_size_t.from_address
_POINTER = object.__basicsize__  # in CPython the pointer to the elements comes first in an ndarray, after its head


def _address(array: np.ndarray) -> int:
    """Where the elements of an array lie."""
    return _word_at(id(array) + _POINTER).value


def _address_by_interface(array: np.ndarray) -> int:
    """The same by NumPy's published interface, which takes five times as long."""
    return array.__array_interface__["data"][0]


_probe = np.zeros(1)
address = _address if _address(_probe) == _address_by_interface(_probe) else _address_by_interface

LINE = 64  # bytes of a cache line: vectors that lie across two of them cost up to a fifth of a kernel (measured)


def aligned(size: int) -> np.ndarray:
    """float32 (size,), uninitialised, from the beginning of a cache line on."""
    room = np.empty(size, np.float32)
    if address(room) % LINE:
        room = np.empty(size + LINE // 4 - 1, np.float32)
        first = -address(room) % LINE // 4
        room = room[first : first + size]
    return room


_arena = aligned(0)


def scratch(lane_bytes: int) -> np.ndarray:
    """Memory for each lane, uninitialised; the caller holds the array until its launch is over."""
    global _arena
    size = lane_bytes // 4 * thread_count()
    if _arena.size < size:
        _arena = aligned(size)
    return _arena
