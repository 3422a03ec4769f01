"""Which cores the helper threads of the pool run on (Linux). It matters where other processes keep the cores busy.

Helpers keep off the core of the thread that launches: otherwise the system would wake some on it, and both would take
turns there. But when a launching thread has nothing left to do and waits for a helper that the system has taken off its
core in the middle of a task, it lends that helper its own core and sleeps meanwhile, instead of waiting until other
processes have had their turn, which takes milliseconds. Beside one busy process each of the two makes training steps
1.1 to 1.2 times as fast (measured).
"""

import platform
import sys

from numba import types

from .atomic import load, store
from .ir import int64
from .jit import jit
from .target import LINE

SET_AFFINITY = {"x86_64": 203, "aarch64": 122, "riscv64": 122}.get(platform.machine())  # the system call's number
CORES = 1024  # size of a set of cores: one bit for each
SET_BYTES = CORES // 8

# A team: offsets from its beginning.
THREADS = 0  # how many helpers there are
ALLOWED = LINE  # the set of cores that this process may use
FIRST_HELPER = ALLOWED + SET_BYTES

# A helper: offsets from its beginning.
IDENTIFIER = 0  # the system's number of the thread
INSIDE_OF = 8  # the job that it is inside of, 0 if it is in none
HELPER_BYTES = LINE

# A launching thread: offsets from its beginning.
CORE = 0  # 1 + the core that helpers keep off; 0 if the next launch must move them again
CORE_SET = LINE
LAUNCHER_BYTES = CORE_SET + SET_BYTES

_current_core = types.ExternalFunction("sched_getcpu", types.int32())
_syscall = types.ExternalFunction("syscall", int64(*[int64] * 4))


@jit
def keep_off_this_core(team, launcher):
    """Move all helpers off the core of the calling thread, unless its last call did so for the same core."""
    core = int64(_current_core())
    if core + 1 == load(launcher + CORE) or not 0 <= core < CORES:
        return
    store(launcher + CORE, core + 1)
    for k in range(CORES // 64):
        cores = load(team + ALLOWED + 8 * k)  # 64 of the bits
        store(launcher + CORE_SET + 8 * k, cores & ~(1 << (core & 63)) if k == core >> 6 else cores)
    for k in range(load(team + THREADS)):
        helper = team + FIRST_HELPER + k * HELPER_BYTES
        _syscall(SET_AFFINITY, load(helper + IDENTIFIER), SET_BYTES, launcher + CORE_SET)


@jit
def lend_this_core(team, launcher, job):
    """Move the helpers inside a job to the core of the calling thread, which should sleep now.

    Its next `keep_off_this_core` sends them away again.
    """
    core = int64(_current_core())
    store(launcher + CORE, 0)
    for k in range(CORES // 64):
        store(launcher + CORE_SET + 8 * k, 1 << (core & 63) if k == core >> 6 else 0)
    for k in range(load(team + THREADS)):
        helper = team + FIRST_HELPER + k * HELPER_BYTES
        if load(helper + INSIDE_OF) == job:
            _syscall(SET_AFFINITY, load(helper + IDENTIFIER), SET_BYTES, launcher + CORE_SET)


@jit
def _do_not_keep_off(team, launcher):
    pass


@jit
def _do_not_lend(team, launcher, job):
    pass


AVAILABLE = sys.platform == "linux" and SET_AFFINITY is not None
if not AVAILABLE:
    keep_off_this_core, lend_this_core = _do_not_keep_off, _do_not_lend


def team_bytes(threads: int) -> int:
    """The size in bytes of a team of `threads` helpers."""
    return FIRST_HELPER + threads * HELPER_BYTES


def core_set(cores: set[int]) -> bytes:
    """A set of cores in the system's format: bit k stands for core k."""
    return sum(1 << core for core in cores if core < CORES).to_bytes(SET_BYTES, "little")
