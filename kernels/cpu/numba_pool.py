"""numba's own threads, for systems that offer no sleep that `system_sleep` knows. A launch waits for all of them."""

import ctypes
import functools
import threading

import numba
from numba import prange, types

from ..cores import thread_count
from .atomic import add
from .ir import call_worker, flush_denormals, restore_denormals
from .jit import compiled, int64


def _in_lanes(worker, arguments, tasks, lanes, counter):
    """Do all tasks in `lanes` threads; a task gets the number of its thread, `lane`, which selects scratch memory."""
    for lane in prange(lanes):
        before = flush_denormals()
        task = add(counter, 1)
        while task < tasks:
            call_worker(worker, arguments, task, lane)
            task = add(counter, 1)
        restore_denormals(before)


@functools.cache
def _launch():
    return compiled(_in_lanes, types.void(*[int64] * 5), parallel=True)


_turn = threading.Lock()  # numba's threads serve one launch at a time


class NumbaPool:
    """Runs launches on numba's threads, with the interface of `pool.Pool`."""

    def run(self, worker, arguments: int, tasks: int, most: int) -> bool:
        """Launch a job, and wait until it is done; always True."""
        lanes = min(tasks, most, thread_count(), numba.config.NUMBA_NUM_THREADS)
        counter = ctypes.c_int64(0)
        with _turn:
            _launch()(worker.address, arguments, tasks, lanes, ctypes.addressof(counter))
        return True

    def stop(self) -> None:
        """numba ends its threads itself."""
