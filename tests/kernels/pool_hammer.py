"""Many launches through the pool's own code, with all tasks counted and optional delays between its steps."""

import ctypes
import functools
import importlib.util
import threading

import numba
import numpy as np
import pytest
from numba import carray, types

from tinygen.kernels.cpu import atomic, jit, pool, system_sleep
from tinygen.kernels.cpu.atomic import add, load, pause

give_way = types.ExternalFunction("sched_yield", types.int32())
DELAYED = ("load", "store", "add", "set_bits", "keep_bits", "compare_and_swap")


@numba.njit
def delay(place):
    """Pause for a time that looks random: a hash of an address and the number there, which other threads change."""
    mixed = (place >> 3) ^ (load(place) * 0x9E3779B1)
    turns = (mixed ^ (mixed >> 7)) & 31
    if turns == 31:
        give_way()
    for _ in range(turns):
        pause()


def _delayed(name: str):
    """An atomic operation with a delay before it."""
    operation = getattr(atomic, name)
    arguments = {"load": "place", "compare_and_swap": "place, a, b"}.get(name, "place, a")
    scope = {"operation": operation, "delay": delay}
    exec(f"def delayed({arguments}):\n    delay(place)\n    return operation({arguments})", scope)
    return numba.njit(scope["delayed"])


@functools.cache
def _compiled_without_cache(function, *signature, **options):
    """`jit.compiled` and `jit.jit` without the disk cache, since names have other meanings in a variant of the pool."""
    return numba.njit(*signature, error_model="numpy", **options)(function)


@functools.cache
def variant(wait, wake, delayed: bool):
    """A copy of the module `pool` with these functions to sleep and wake, and optional delays at atomic operations."""
    spec = importlib.util.spec_from_file_location("tinygen.kernels.cpu.pool_variant", pool.__file__)
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jit, "compiled", _compiled_without_cache)
        patch.setattr(jit, "jit", _compiled_without_cache)
        patch.setattr(system_sleep, "wait", wait)
        patch.setattr(system_sleep, "wake", wake)
        patch.setattr(system_sleep, "FUTEX", system_sleep.FUTEX if wait is system_sleep.futex_wait else None)
        for name in DELAYED if delayed else ():
            patch.setattr(atomic, name, _delayed(name))
        spec.loader.exec_module(module)
    return module


work = jit.Record("counts started together")


def _count(arguments, task, lane):
    """Count a task; one that waits for the others of its launch ends when all of them have begun."""
    a = carray(arguments, 1)[0]
    add(a.counts + 8 * task, 1)
    if a.together:
        begun = add(a.started, 1) // a.together
        while load(a.started) < (begun + 1) * a.together:
            give_way()


count = jit.Worker(_count, work)


@functools.cache
def compiled_launches(launch):
    """A compiled loop of launches, which ends early if a task was not done exactly once."""

    @numba.njit(nogil=True)
    def hammer(board, number, helpers, worker, arguments, counts, launches, tasks):
        for done in range(launches):
            launch(board, number, worker, arguments, tasks, helpers)
            for task in range(tasks):
                if load(counts + 8 * task) != done + 1:
                    return done
        return launches

    return hammer


class Hammer:
    """A pool with a number of helpers, and threads that launch through it; a context that ends the helpers."""

    def __init__(self, module, helpers: int, *, idle_turns: int, patience: int):
        module.most_threads = lambda: helpers + 1  # the board has room for so many, whatever TINYGEN_THREADS says
        self.pool, self.helpers = module.Pool(), helpers
        self.pool.write(module.IDLE_TURNS, idle_turns)
        self.pool.write(module.PATIENCE, patience)
        for _ in range(helpers):
            self.pool.start_helper()

    def __enter__(self) -> "Hammer":
        return self

    def __exit__(self, *error) -> None:
        self.pool.stop()
        assert not any(thread.is_alive() for thread in self.pool.threads)

    def run(self, *, launches: int, tasks: int = 5, launching: int = 1, together: bool = False) -> list[int]:
        """For each launching thread, how many launches ended with every task done exactly once."""
        results = [-1] * launching

        def go(number):
            counts, started = np.zeros(tasks, np.int64), np.zeros(1, np.int64)
            arguments = work.Structure(counts.ctypes.data, started.ctypes.data, tasks if together else 0)
            launched = self.pool.board, number, self.helpers, count.address, ctypes.addressof(arguments)
            results[number] = compiled_launches(self.pool.launch)(*launched, counts.ctypes.data, launches, tasks)

        threads = [threading.Thread(target=go, args=(number,), daemon=True) for number in range(launching)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(600)
        return results
