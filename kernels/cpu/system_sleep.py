"""Sleep in the operating system until a word changes, in one of two ways: Linux's futex, or POSIX condition variables.

`wait(word, value)` returns once the word at that address may no longer be `value`: at the latest when somebody changes
it and then calls `wake(word, threads)`. It may also return without a reason, so callers look at the word again.
"""

import ctypes
import platform
import sys

from numba import types

from .atomic import load
from .ir import int64
from .jit import jit
from .target import LINE

WORD_BYTES = 4 * LINE  # a word to wait for, and space after it for a mutex and a condition variable
MUTEX, CONDITION = LINE, 2 * LINE

# Linux: the number of the system call, of FUTEX_WAIT and of FUTEX_WAKE, both among the threads of one process.
FUTEX = {"x86_64": 202, "aarch64": 98, "riscv64": 98}.get(platform.machine()) if sys.platform == "linux" else None
FUTEX_WAIT, FUTEX_WAKE = 128, 129

_syscall = types.ExternalFunction("syscall", int64(*[int64] * 7))
_lock = types.ExternalFunction("pthread_mutex_lock", types.int32(int64))
_unlock = types.ExternalFunction("pthread_mutex_unlock", types.int32(int64))
_wait_for_signal = types.ExternalFunction("pthread_cond_wait", types.int32(int64, int64))
_signal_all = types.ExternalFunction("pthread_cond_broadcast", types.int32(int64))


@jit
def futex_wait(word, value):
    """The kernel compares the lower half of the word with the value, and sleeps if they agree, in one step."""
    _syscall(FUTEX, word, FUTEX_WAIT, value, 0, 0, 0)


@jit
def futex_wake(word, threads):
    _syscall(FUTEX, word, FUTEX_WAKE, threads, 0, 0, 0)


@jit
def condition_wait(word, value):
    _lock(word + MUTEX)
    if load(word) == value:
        _wait_for_signal(word + CONDITION, word + MUTEX)
    _unlock(word + MUTEX)


@jit
def condition_wake(word, threads):
    """The mutex is taken so that nobody is between the comparison and the sleep when the signal is sent."""
    _lock(word + MUTEX)
    _unlock(word + MUTEX)
    _signal_all(word + CONDITION)


def prepare_condition(word: int) -> None:
    """Initialise the mutex and the condition variable that lie after a word. OSError if there are none."""
    try:
        library = ctypes.CDLL(None)
        failed = library.pthread_mutex_init(ctypes.c_void_p(word + MUTEX), None)
        failed = failed or library.pthread_cond_init(ctypes.c_void_p(word + CONDITION), None)
    except (AttributeError, TypeError) as error:  # TypeError: Windows has no library of the process itself
        raise OSError("the system has no POSIX threads") from error
    if failed:
        raise OSError("the system makes no mutex or condition variable")


wait, wake = (futex_wait, futex_wake) if FUTEX else (condition_wait, condition_wake)
