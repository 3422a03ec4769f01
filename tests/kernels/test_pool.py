"""The pool of threads: its protocol in a model and in the code, and its behaviour under system limits and signals."""

import itertools
import os
import sys
import threading

import numpy as np
import pytest

from tests.kernels.pool_model import FAULTS, Model, Violation
from tests.kernels.processes import finish, run, start

pytest.importorskip("tinygen.kernels.cpu", reason="needs numba")
from tests.kernels.pool_hammer import Hammer, variant
from tinygen.kernels import cores, cpu
from tinygen.kernels.cpu import placement, pool, system_sleep

# The protocol


@pytest.mark.parametrize(
    "sizes",
    [
        {"helpers": 1, "tasks": 3, "launches": 3},
        {"helpers": 2, "tasks": 2, "launches": 2, "spurious": True},
        {"helpers": 1, "tasks": 2, "launches": 1, "launching": 2},
        pytest.param({"helpers": 2, "tasks": 3, "launches": 2}, marks=pytest.mark.slow),
        pytest.param({"helpers": 3, "tasks": 2, "launches": 1}, marks=pytest.mark.slow),
        pytest.param({"helpers": 1, "tasks": 2, "launches": 2, "launching": 2}, marks=pytest.mark.slow),
    ],
    ids=str,
)
def test_no_interleaving_of_the_model_breaks_the_protocol(sizes):
    assert Model(**sizes).search() > 1000


@pytest.mark.parametrize("fault", FAULTS)
def test_the_search_finds_every_fault(fault):
    with pytest.raises(Violation):
        Model(helpers=2, tasks=2, fault=fault).search()


SLEEPS = {"futex": (system_sleep.futex_wait, system_sleep.futex_wake)} if system_sleep.FUTEX else {}
if sys.platform != "win32":
    SLEEPS["condition variables"] = system_sleep.condition_wait, system_sleep.condition_wake


@pytest.mark.parametrize("idle", [0, 50], ids=["sleeping at once", "searching for a while"])
@pytest.mark.parametrize("delayed", [False, True], ids=["at full speed", "delayed at every step"])
@pytest.mark.parametrize("sleep", SLEEPS)
def test_every_task_of_every_launch_is_done_once(sleep, delayed, idle):
    """Three helpers, and one or two threads that launch at the same time."""
    with Hammer(variant(*SLEEPS[sleep], delayed), 3, idle_turns=idle, patience=idle) as hammer:
        assert hammer.run(launches=3_000) == [3_000]
        assert hammer.run(launches=1_000, launching=2) == [1_000, 1_000]


@pytest.mark.slow
@pytest.mark.parametrize("delayed", [False, True], ids=["at full speed", "delayed at every step"])
@pytest.mark.parametrize("sleep", SLEEPS)
def test_every_task_of_ten_million_launches_is_done_once(sleep, delayed):
    launches = 5_000_000 // len(SLEEPS)
    with Hammer(variant(*SLEEPS[sleep], delayed), 1, idle_turns=20, patience=20) as hammer:
        assert hammer.run(launches=launches) == [launches]


@pytest.mark.parametrize("sleep", SLEEPS)
def test_sleeping_helpers_are_woken(sleep):
    """Tasks that wait for each other end only if as many threads do them at once."""
    with Hammer(variant(*SLEEPS[sleep], False), 2, idle_turns=0, patience=0) as hammer:
        assert hammer.run(launches=300, tasks=3, together=True) == [300]


# Limits and events of the system

LAUNCH = """
import numpy as np
from tinygen.kernels.cpu import KERNELS, pool

x = np.random.default_rng(0).standard_normal(1_000_000, np.float32)
right = KERNELS["exp"](x)

def launch():
    assert np.array_equal(KERNELS["exp"](x), right)
"""


def test_the_pool_follows_the_affinity_of_the_process():
    """There is a helper for each further core that the process may use, and helpers run only on such cores."""
    if not placement.AVAILABLE or cores.most_threads() < 2:
        pytest.skip("needs Linux and two cores")
    program = """
import os
every = os.sched_getaffinity(0)
for allowed in ({min(every)}, every, {max(every)}):
    os.sched_setaffinity(0, allowed)
    pool._pool.look_again = 0.0
    launch()
    assert pool._pool.helpers == len(allowed) - 1, (pool._pool.helpers, allowed)
    if len(allowed) > 1:
        assert all(os.sched_getaffinity(thread.native_id) < allowed for thread in pool._pool.threads)
"""
    run(LAUNCH + program)


def test_the_pool_follows_a_changing_quota(monkeypatch):
    monkeypatch.setattr(pool, "most_threads", lambda: 4)
    new_pool = pool.Pool()
    try:
        for granted in (1, 3, 2, 9):
            monkeypatch.setattr(pool, "thread_count", lambda granted=granted: granted)
            new_pool.adapt()
            assert new_pool.helpers == min(granted, 4) - 1
        assert len(new_pool.threads) == 3
    finally:
        new_pool.stop()
    assert not any(thread.is_alive() for thread in new_pool.threads)


def test_kernels_run_in_the_calling_thread_if_no_thread_can_be_started(monkeypatch):
    def refused(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(pool, "most_threads", lambda: 4)
    monkeypatch.setattr(pool, "thread_count", lambda: 4)
    new_pool = pool.Pool()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refused)
        new_pool.adapt()
    assert (new_pool.helpers, new_pool.threads) == (0, [])
    with monkeypatch.context() as patch:
        patch.setattr(pool, "_pool", new_pool)
        x = np.ones(1_000_000, np.float32)
        np.testing.assert_array_equal(cpu.KERNELS["exp"](x), cpu.KERNELS["exp"](x[:1]).repeat(x.size))


def test_without_a_known_way_to_sleep_numbas_threads_are_used_with_one_notice():
    program = """
import sys
from tinygen.kernels.cpu import pool, system_sleep

def missing(word):
    raise OSError("the system has no POSIX threads")

system_sleep.FUTEX, system_sleep.prepare_condition = None, missing
"""
    _, message = run(
        program + LAUNCH + "launch()\nassert type(pool._pool).__name__ == 'NumbaPool'", TINYGEN_THREADS="2"
    )
    assert message == (
        "tinygen: note: the system has no POSIX threads, so numba's threads are used (slower on a busy machine)\n"
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_child_forked_during_launches_starts_its_own_pool():
    program = """
import os, signal, threading
busy = True

def go_on():
    while busy:
        launch()

threads = [threading.Thread(target=go_on) for _ in range(2)]
for thread in threads:
    thread.start()
for _ in range(5):
    child = os.fork()
    if not child:
        signal.alarm(60)  # ends a child that hangs
        launch()
        os._exit(0 if pool._pool.helpers == 1 and pool._pool.threads[0].is_alive() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
busy = False
for thread in threads:
    thread.join()
"""
    run(LAUNCH + program, TINYGEN_THREADS="2", PYTHONWARNINGS="ignore::DeprecationWarning")


ENDINGS = ("pass", "time.sleep(0.1)", "sys.exit()", "atexit.register(launch)", "start(go_on)")


def test_the_interpreter_exits_in_every_state_of_the_pool():
    """It exits after a launch, with helpers asleep, by sys.exit, with a launch at exit, and while a thread launches."""
    program = """
import atexit, sys, threading, time

def go_on():
    while True:
        launch()

def start(target):
    threading.Thread(target=target, daemon=True).start()

launch()
"""
    for ending in [start(LAUNCH + program + before, TINYGEN_THREADS="3") for before in ENDINGS]:
        finish(ending)


@pytest.mark.skipif(sys.platform == "win32", reason="sends a signal")
def test_the_pool_works_after_a_keyboard_interrupt():
    program = """
import os, signal, threading
signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs of a shell ignore SIGINT otherwise
for _ in range(5):
    threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
    try:
        while True:
            launch()
    except KeyboardInterrupt:
        launch()
"""
    run(LAUNCH + program, TINYGEN_THREADS="2")


def test_more_python_threads_may_launch_than_there_are_jobs():
    program = """
import threading
ready = threading.Barrier(pool.MOST_JOBS + 8)

def work():
    ready.wait()
    for _ in range(3):
        launch()

threads = [threading.Thread(target=work) for _ in range(pool.MOST_JOBS + 8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
launch()
assert len(pool._pool.free_jobs) == pool.MOST_JOBS - 1, "threads that have ended have given their jobs back"
"""
    run(LAUNCH + program, TINYGEN_THREADS="2")


def test_helpers_do_not_run_on_the_core_of_the_launching_thread():
    if not placement.AVAILABLE or len(os.sched_getaffinity(0)) < 2:
        pytest.skip("needs Linux and two cores")
    program = """
import os
for core in sorted(os.sched_getaffinity(0)) * 2:
    every = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})  # moves this thread
    os.sched_setaffinity(0, every)
    launch()
    (helper,) = pool._pool.threads
    assert len(os.sched_getaffinity(helper.native_id)) == len(every) - 1
"""
    run(LAUNCH + program, TINYGEN_THREADS="2")


def test_a_set_of_cores_has_the_layout_of_the_systems_affinity_mask():
    written = placement.core_set({0, 9, 1023, 5000})
    assert len(written) == 128
    bits = [k for k, byte in itertools.product(range(1024), [written]) if byte[k // 8] >> k % 8 & 1]
    assert bits == [0, 9, 1023]
