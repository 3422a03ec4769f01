"""A pool of threads that does not wait: a launch ends as soon as its tasks are done, whoever did them.

Every kernel is a worker function that does the tasks of a launch. Tasks are cut by shape, never by the number of
threads, and threads take them one after another from a counter: so results do not depend on the threads at all.

The thread that launches a job takes tasks of it itself. Helper threads join a job through its gate, take tasks until
the counter has none left, and leave. The launching thread waits for those helpers alone that are inside then. A helper
that the system has not scheduled in time is not inside, and costs nothing; a barrier, as OpenMP's, would wait for it.

      launching thread                         the job's gate                 helper thread
      ----------------                         --------------                 -------------
      write the job, counter = 0
      open the gate              ------>   OPEN | 0 inside
      wake sleeping helpers                                          see the gate open and tasks left
      take tasks                           OPEN | 1 inside   <----   join: compare and swap inside -> inside + 1
         :                                      :                    take tasks
      no task left: close it     ------>   1 inside                     :
      spin, then sleep until               0 inside          <----   no task left: leave, inside - 1,
      nobody is inside                                               and wake the launching thread if it sleeps
      return

What makes this safe:
- A job is written only while its gate is closed and nobody is inside. A helper reads it only after it has joined, and
  it can join only while the gate is open.
- A helper that is late finds the gate closed, or no task left, and keeps looking. If another launch has opened the gate
  by then, it joins that one: nothing that it read before it joined is used afterwards.
- A helper that goes to sleep counts itself as a sleeper first, and then looks for a job once more; a launching thread
  opens its gate first, and then looks for sleepers. One of the two sees the other. Even a helper that stayed asleep
  would only cost time: the launching thread can do all tasks itself.

Each Python thread that launches has a job of its own, so that several launch at the same time. A model of this
protocol, all of whose interleavings are searched, is in `tests/kernels/pool_model.py`.
"""

import atexit
import contextlib
import ctypes
import functools
import os
import threading
import time

import numpy as np
from numba import types

from ..cores import most_threads, thread_count
from ..notices import note
from . import placement, recording, system_sleep
from .atomic import add, compare_and_swap, keep_bits, load, pause, set_bits, store
from .ir import call_worker, flush_denormals, restore_denormals
from .jit import Worker, compiled, int64, jit
from .memory import address
from .numba_pool import NumbaPool
from .placement import FIRST_HELPER, HELPER_BYTES, INSIDE_OF, keep_off_this_core, lend_this_core
from .system_sleep import WORD_BYTES, wait, wake
from .target import LINE

MOST_JOBS = 32  # Python threads that can launch at the same time; further ones do their tasks alone

# A job: offsets of its numbers from its beginning, in bytes. Those that different threads write lie in cache lines of
# their own.
GATE = 0  # how many helpers are inside, and the bits OPEN and ASLEEP
COUNTER = WORD_BYTES  # the next task
WORKER, ARGUMENTS, TASKS, HELPERS = (COUNTER + LINE + 8 * k for k in range(4))  # written while the gate is closed
LAUNCHER = WORKER + LINE  # where the launching thread runs
JOB_BYTES = LAUNCHER + placement.LAUNCHER_BYTES

# The board is what all threads share: offsets from its beginning.
JOBS = 0  # bit k: the gate of job k is open; STOP: helpers are to end
SLEEPERS = LINE  # helpers that sleep, or are about to
IDLE_TURNS = 2 * LINE  # how often a helper looks for a job before it sleeps; constant
PATIENCE = IDLE_TURNS + 8  # how often a launching thread looks whether all have left before it sleeps; constant
BELL = 3 * LINE  # changes at each launch that finds sleepers, who wait for that
FIRST_JOB = BELL + WORD_BYTES
TEAM = FIRST_JOB + MOST_JOBS * JOB_BYTES  # the helpers, and the cores that they may use

EVERY_JOB = (1 << MOST_JOBS) - 1
STOP = 1 << MOST_JOBS

INSIDE = (1 << 16) - 1
OPEN = 1 << 16
ASLEEP = 1 << 17  # the launching thread sleeps until nobody is inside


@jit
def do_tasks(job, lane):
    """Take tasks until there is none left. `lane` tells the threads of a launch apart: 0 is the launching one."""
    worker, arguments, tasks = load(job + WORKER), load(job + ARGUMENTS), load(job + TASKS)
    before = flush_denormals()
    task = add(job + COUNTER, 1)
    while task < tasks:
        call_worker(worker, arguments, task, lane)
        task = add(job + COUNTER, 1)
    restore_denormals(before)


# The launching thread


def launch(board, number, worker, arguments, tasks, helpers):
    """Do all tasks of a job, with at most `helpers` helpers inside at once."""
    job = board + FIRST_JOB + number * JOB_BYTES
    keep_off_this_core(board + TEAM, job + LAUNCHER)
    store(job + WORKER, worker)
    store(job + ARGUMENTS, arguments)
    store(job + TASKS, tasks)
    store(job + HELPERS, helpers)
    store(job + COUNTER, 0)
    set_bits(job + GATE, OPEN)
    set_bits(board + JOBS, 1 << number)
    if load(board + SLEEPERS):
        add(board + BELL, 1)
        wake(board + BELL, min(helpers, tasks - 1))
    do_tasks(job, 0)
    keep_bits(board + JOBS, ~(1 << number))
    if keep_bits(job + GATE, ~OPEN) & INSIDE:
        wait_until_left(board, job)


def launch_all(board, number, launches, count, helpers):
    """Do one launch after another. `launches` has a row for each: worker, arguments, tasks, most threads."""
    for i in range(count):
        row = launches + 32 * i
        worker, arguments, tasks, most = load(row), load(row + 8), load(row + 16), load(row + 24)
        if tasks > 1 and most > 1 and helpers > 0:
            _launch(board, number, worker, arguments, tasks, min(helpers, most - 1))
        else:
            _alone_in_order(worker, arguments, tasks)


@jit
def wait_until_left(board, job):
    """Wait until nobody is inside a closed gate."""
    gate = job + GATE
    for _ in range(load(board + PATIENCE)):
        if not load(gate):
            return
        pause()
    lend_this_core(board + TEAM, job + LAUNCHER, job)
    state = set_bits(gate, ASLEEP) | ASLEEP
    while state & INSIDE:
        wait(gate, state)
        state = load(gate)
    store(gate, 0)


# A helper thread


def help_until_stopped(board, lane):
    """Join one job after another, and sleep while there is none, until the pool is stopped."""
    idle, helper = 0, board + TEAM + FIRST_HELPER + (lane - 1) * HELPER_BYTES
    while not load(board + JOBS) & STOP:
        job = job_to_join(board)
        if job and join(job):
            store(helper + INSIDE_OF, job)
            do_tasks(job, lane)
            store(helper + INSIDE_OF, 0)
            if leave(job + GATE):
                sleep(board)  # the thread that it has woken may need this core
            idle = 0
        elif idle < load(board + IDLE_TURNS):
            idle += 1
            pause()
        else:
            sleep(board)
            idle = 0


@jit
def job_to_join(board):
    """The address of a job that is open, with a task left and room for one more helper; 0 if there is none."""
    jobs, job = load(board + JOBS) & EVERY_JOB, board + FIRST_JOB
    while jobs:
        if jobs & 1 and load(job + COUNTER) < load(job + TASKS) and load(job + GATE) & INSIDE < load(job + HELPERS):
            return job
        jobs >>= 1
        job += JOB_BYTES
    return 0


@jit
def join(job):
    """Step inside, if the gate is open and nobody else changes it at the same moment."""
    state = load(job + GATE)
    return state & OPEN and compare_and_swap(job + GATE, state, state + 1)


@jit
def leave(gate):
    """Step outside. The last one wakes the launching thread if it sleeps; returns whether this was so."""
    if add(gate, -1) - 1 != ASLEEP:
        return False
    wake(gate, 1)
    return True


@jit
def sleep(board):
    """Sleep until the next launch, unless there is a job to join by now."""
    add(board + SLEEPERS, 1)
    bell = load(board + BELL)
    if not (job_to_join(board) or load(board + JOBS) & STOP):
        wait(board + BELL, bell)
    add(board + SLEEPERS, -1)


# The pool of this process

# How long a helper looks for a job before it sleeps: longer than Python takes between most launches of a training step.
# With 50 us steps on a quiet machine took 2 to 3 % longer, with 400 us those beside one busy process 4 % (measured).
# How long a launching thread looks whether all have left before it sleeps: longer than a task takes; where it cannot
# lend its core, as long as the system lets other processes run, since one that sleeps may lose its own (measured).
IDLE_SECONDS, PATIENCE_SECONDS = 150e-6, 0.2e-3 if placement.AVAILABLE else 4e-3
LOOK_SECONDS = 1.0  # how often the process's affinity and quota are read again


def pauses(count):
    """Pause `count` times."""
    for _ in range(count):
        pause()


def _turns_in(seconds: float) -> int:
    """How many turns of a waiting loop take `seconds`; measured, since a pause takes 10 to 200 cycles by processor."""
    turns, take_turns, times = 1000, compiled(pauses, types.void(int64)), []
    for _ in range(5):
        start = time.perf_counter()
        take_turns(turns)
        times.append(time.perf_counter() - start)
    return 1 + int(turns * seconds / min(times))


def stop_helpers(board):
    """Have all helpers end once they are outside a job."""
    set_bits(board + JOBS, STOP)
    add(board + BELL, 1)
    wake(board + BELL, INSIDE)


class Pool:
    """A board and its helper threads."""

    def __init__(self):
        self.memory = np.zeros(LINE + TEAM + placement.team_bytes(most_threads()), np.uint8)
        self.board = -(-address(self.memory) // LINE) * LINE
        if not system_sleep.FUTEX:
            for offset in (BELL, *range(FIRST_JOB + GATE, TEAM, JOB_BYTES)):
                system_sleep.prepare_condition(self.board + offset)
        self.launch = compiled(launch, types.void(*[int64] * 6), nogil=True)
        self.help = compiled(help_until_stopped, types.void(int64, int64), nogil=True)
        self.stop_helpers = compiled(stop_helpers, types.void(int64))
        self.write(IDLE_TURNS, _turns_in(IDLE_SECONDS))
        self.write(PATIENCE, _turns_in(PATIENCE_SECONDS))
        self.threads: list[threading.Thread] = []
        self.helpers = 0  # at most so many help in a launch
        self.allowed: set[int] = set()  # the cores that this process may use
        self.lock, self.look_again = threading.Lock(), 0.0
        self.free_jobs = list(range(MOST_JOBS))
        self.of_this_thread = threading.local()

    def write(self, offset: int, value: int) -> None:
        """Write the int64 at an offset of the board."""
        ctypes.c_int64.from_address(self.board + offset).value = value

    def run(self, worker: Worker, arguments: int, tasks: int, most: int) -> bool:
        """Launch a job; False if too many Python threads are launching."""
        job = self.job()
        if job is None:
            return False
        self.launch(self.board, job, worker.address, arguments, tasks, min(self.helpers, most - 1))
        return True

    def run_all(self, launches: int, count: int) -> bool:
        """Launch `count` jobs of a table (`launch_all`), one after another; False if too many threads are launching."""
        job = self.job()
        if job is None:
            return False
        self.launch_all(self.board, job, launches, count, self.helpers)
        return True

    @functools.cached_property
    def launch_all(self):
        """The compiled `launch_all`."""
        return compiled(launch_all, types.void(*[int64] * 5), nogil=True)

    def job(self) -> int | None:
        """The number of the calling thread's job, None if too many Python threads are launching."""
        if time.monotonic() >= self.look_again:
            self.adapt()
        try:
            return self.of_this_thread.job.number
        except AttributeError:
            job = self.of_this_thread.job = _ReservedJob(self.free_jobs)
            return job.number

    def adapt(self) -> None:
        """Adapt the number of helpers to the cores that the process may use now, and let them run on these."""
        with self.lock:
            self.look_again = time.monotonic() + LOOK_SECONDS
            wanted = min(thread_count(), most_threads()) - 1
            with contextlib.suppress(RuntimeError):  # the system grants no further thread: go on with those there are
                while len(self.threads) < wanted:
                    self.start_helper()
            self.helpers = min(wanted, len(self.threads))
            if placement.AVAILABLE and (allowed := os.sched_getaffinity(0)) != self.allowed:
                self.allowed = allowed
                cores = placement.core_set(allowed)
                ctypes.memmove(self.board + TEAM + placement.ALLOWED, cores, len(cores))
                for launcher in range(FIRST_JOB + LAUNCHER, TEAM, JOB_BYTES):
                    self.write(launcher, 0)  # the next launch of each Python thread places the helpers again

    def start_helper(self) -> None:
        """Start one more helper. RuntimeError if the system grants no thread."""
        lane = len(self.threads) + 1
        thread = threading.Thread(target=self.help, args=(self.board, lane), name=f"tinygen helper {lane}", daemon=True)
        thread.start()
        self.threads.append(thread)
        self.write(TEAM + FIRST_HELPER + (lane - 1) * HELPER_BYTES + placement.IDENTIFIER, thread.native_id)
        self.write(TEAM + placement.THREADS, lane)

    def stop(self) -> None:
        """End the helpers; launches go on without any."""
        with self.lock:
            self.look_again, self.helpers = float("inf"), 0
            self.stop_helpers(self.board)
            for thread in self.threads:
                thread.join(1.0)


class _ReservedJob:
    """The number of a job, reserved until the Python thread that took it ends; None if all are taken."""

    def __init__(self, free: list[int]):
        self.free, self.number = free, None
        with contextlib.suppress(IndexError):
            self.number = free.pop(0)

    def __del__(self):
        if self.number is not None:
            self.free.append(self.number)


_launch = jit(launch)


def alone(worker, arguments, tasks):
    """Do all tasks in the calling thread."""
    before = flush_denormals()
    for task in range(tasks):
        call_worker(worker, arguments, task, 0)
    restore_denormals(before)


_alone_in_order = jit(alone)


@functools.cache
def _alone():
    return compiled(alone, types.void(*[int64] * 3))


_pool: Pool | NumbaPool | None = None
_starting = threading.Lock()


def _started() -> Pool | NumbaPool:
    """The pool of this process, which the first call starts."""
    global _pool
    with _starting:
        if _pool is None:
            try:
                _pool = Pool()
            except OSError as error:
                note(f"{error}, so numba's threads are used (slower on a busy machine)")
                _pool = NumbaPool()
    return _pool


def _after_fork() -> None:
    """Forget the pool in a forked child, which has none of its parent's threads: its first launch makes a new one."""
    global _pool, _starting
    _pool, _starting = None, threading.Lock()


def _at_exit() -> None:
    if _pool is not None:
        _pool.stop()


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


UNLIMITED = 1 << 16  # threads


def run(worker: Worker, arguments: ctypes.Structure, tasks: int, most: int = UNLIMITED) -> None:
    """Call a worker once for each task, in all threads or at most `most`; denormal numbers are zero meanwhile."""
    address = ctypes.addressof(arguments)
    if not (tasks > 1 and most > 1 and (_pool or _started()).run(worker, address, tasks, most)):
        _alone()(worker.address, address, tasks)
    if recording.active is not None and (now := recording.current()) is not None:
        now.launched(worker, arguments, tasks, most)


class Launches:
    """Launches that are repeated one after another, by one call of compiled code."""

    def __init__(self, launches):
        """Each of `launches` has the arguments of `run`; those that point to arrays keep pointing there."""
        self.launches = launches
        self.table = np.array(
            [(worker.address, ctypes.addressof(arguments), *rest) for worker, arguments, *rest in launches], np.int64
        )

    def __call__(self) -> None:
        pool = _pool or _started()
        if isinstance(pool, Pool) and pool.run_all(address(self.table), len(self.table)):
            return
        for launch in self.launches:
            run(*launch)
