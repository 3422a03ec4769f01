"""Which cores the helper threads of the pool run on (Linux): any that this process may use, but the launching thread's.

Where every core is busy, the system would else wake a helper on the core of the thread that launches, and the two would
take turns there: beside one busy process a step took 1.2 times as long (measured).
"""

import platform
import sys

from numba import types

from .atomic import LINE, load, store
from .ir import int64
from .jit import jit

SET_AFFINITY = {"x86_64": 203, "aarch64": 122, "riscv64": 122}.get(platform.machine())  # the system call's number
CORES = 1024  # of a set of cores, which is as many bits
SET_BYTES = CORES // 8

# A team: offsets from its beginning.
THREADS = 0  # how many helper threads there are
ALLOWED = LINE  # the set of cores that this process may use
IDS = ALLOWED + SET_BYTES  # the system's number of each thread

_current_core = types.ExternalFunction("sched_getcpu", types.int32())
_syscall = types.ExternalFunction("syscall", int64(*[int64] * 4))


@jit
def _keep_off_this_core(team, place):
    """Have all helpers leave the core of the calling thread, if that is another one than at its last call.

    `place` is a word, which holds 1 + that core, and room for a set of cores after it.
    """
    core = int64(_current_core())
    if core + 1 == load(place) or not 0 <= core < CORES:
        return
    store(place, core + 1)
    cores = place + LINE
    for k in range(CORES // 64):
        word = load(team + ALLOWED + 8 * k)
        store(cores + 8 * k, word & ~(1 << (core & 63)) if k == core >> 6 else word)
    for k in range(load(team + THREADS)):
        _syscall(SET_AFFINITY, load(team + IDS + 8 * k), SET_BYTES, cores)


@jit
def _leave_it_to_the_system(team, place):
    pass


AVAILABLE = sys.platform == "linux" and SET_AFFINITY is not None
keep_off_this_core = _keep_off_this_core if AVAILABLE else _leave_it_to_the_system
PLACE_BYTES = LINE + SET_BYTES


def team_bytes(threads: int) -> int:
    """Room for a team of so many threads."""
    return IDS + 8 * threads


def core_set(cores: set[int]) -> bytes:
    """A set of cores as the system writes it: bit k stands for core k."""
    return sum(1 << core for core in cores if core < CORES).to_bytes(SET_BYTES, "little")
