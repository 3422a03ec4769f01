"""Kernels with any number of threads, called from several threads, after a fork, and beside PyTorch."""

import os

import numpy as np
import pytest

from tests.kernels.calls import calls, cpu_kernel
from tests.kernels.processes import finish, run, start
from tinygen.backend import dispatch
from tinygen.errors import UsageError
from tinygen.kernels import choice, cores
from tinygen.kernels.geometry import Geometry

pytest.importorskip("tinygen.kernels.cpu", reason="needs numba")
from tinygen.kernels.cpu.target import X86


def run_all(program: str, settings: list[dict[str, str]]) -> list[str]:
    """Run a program in several environments at the same time; return what each prints."""
    programs = [start(program, **environment) for environment in settings]
    try:
        return [finish(started)[0] for started in programs]
    finally:
        for started in programs:
            started.kill()


# The number of threads


DIGESTS = """
from tests.kernels.calls import Shape, calls
from tinygen.kernels.geometry import Geometry

large = [Shape(10, (30, 30), channels, (3, 3), 32, Geometry(padding=((1, 1), (1, 1)))) for channels in (20, 32)]
for call in [*calls(), *(call for shape in large for call in shape.calls())]:
    print(call.name, call.digest())
"""


NUMBA_THREADS = """
from tinygen.kernels.cpu import numba_pool, pool
pool._pool = numba_pool.NumbaPool()
"""


def test_results_are_the_same_to_the_bit_for_any_number_of_threads():
    """Four numbers of threads of the pool, and five of numba's own threads, which a machine of fewer cores runs too."""
    one, two, three, four = run_all(DIGESTS, [{"TINYGEN_THREADS": str(threads)} for threads in (1, 2, 3, 4)])
    numbas = run(NUMBA_THREADS + DIGESTS, TINYGEN_THREADS="5", NUMBA_NUM_THREADS="5")[0]
    assert one.count("\n") > len(calls())
    assert one == two == three == four == numbas


@pytest.fixture
def threads_not_yet_counted():
    """Let the number of threads be read again in this test and after it."""
    caches = cores.requested_threads, dispatch.kernel, choice.kernel, choice.cpu_kernels
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()


@pytest.mark.parametrize("value", ["two", "0", "-1", "1.5", " "])
def test_an_impossible_number_of_threads_is_refused_in_one_line(value, threads_not_yet_counted, monkeypatch):
    monkeypatch.setenv("TINYGEN_THREADS", value)
    with pytest.raises(UsageError, match=f"^TINYGEN_THREADS is '{value}'; it must be a whole number of at least 1$"):
        dispatch.kernel("conv2d", "cpu")


def test_the_requested_number_of_threads_is_used(threads_not_yet_counted, monkeypatch):
    monkeypatch.setenv("TINYGEN_THREADS", "3")
    assert cores.thread_count() == 3


def test_by_default_there_are_as_many_threads_as_cores_or_as_joblib_grants(threads_not_yet_counted, monkeypatch):
    """joblib sets NUMBA_NUM_THREADS in the processes that it starts."""
    monkeypatch.delenv("TINYGEN_THREADS", raising=False)
    monkeypatch.delenv("NUMBA_NUM_THREADS", raising=False)
    assert cores.thread_count() == cores.available_cores() >= 1
    monkeypatch.setattr(cores, "available_cores", lambda: 8)
    for granted, threads in (("3", 3), ("99", 8), ("many", 8)):
        monkeypatch.setenv("NUMBA_NUM_THREADS", granted)
        assert cores.thread_count() == threads


VERSION_1 = "cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"


@pytest.mark.parametrize(
    ("files", "granted"),
    [
        ({"cpu.max": "200000 100000\n"}, 2),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "max 100000\n"}, cores.UNLIMITED),
        (dict(zip(VERSION_1, ("300000\n", "100000\n"), strict=True)), 3),
        (dict(zip(VERSION_1, ("250000\n", "100000\n"), strict=True)), 3),
        (dict(zip(VERSION_1, ("-1\n", "100000\n"), strict=True)), cores.UNLIMITED),
        ({VERSION_1[0]: "300000\n"}, cores.UNLIMITED),
        ({"cpu.max": ""}, cores.UNLIMITED),
        ({}, cores.UNLIMITED),
    ],
)
def test_the_quota_of_a_control_group_is_read(files, granted, tmp_path):
    (tmp_path / "cpu").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert cores._quota(str(tmp_path)) == granted


def test_a_quota_limits_the_number_of_cores_to_at_least_one(monkeypatch):
    monkeypatch.setattr(cores, "_quota", lambda: 1)
    assert cores.available_cores() == 1
    monkeypatch.setattr(cores, "_quota", lambda: 0)
    assert cores.available_cores() == 1


# From several threads, and after a fork


def test_several_python_threads_may_call_kernels_at_once():
    """The first calls, which compile or load kernels, are among them; BLAS uses threads at the same time."""
    program = """
import sys
from concurrent.futures import ThreadPoolExecutor
import numpy as np
from tests.kernels.calls import CONVOLUTIONS, matrix_products

sys.setswitchinterval(1e-5)
calls = [call for shape in CONVOLUTIONS.values() for call in shape.calls()] + matrix_products(200, 300, 250)
starts = [0, 6, 12, 18] * 3

def results(k):
    return [call.run_on_copies()[0] for call in calls[k:] + calls[:k]]

with ThreadPoolExecutor(4) as threads:
    found = list(threads.map(results, starts))
right = results(0)
for k, mine in zip(starts, found, strict=True):
    for a, b in zip(mine, right[k:] + right[:k], strict=True):
        np.testing.assert_array_equal(a, b)
"""
    run_all(program, [{"TINYGEN_THREADS": threads, "OPENBLAS_NUM_THREADS": "2"} for threads in ("2", "5")])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_forked_child_can_run_kernels_too():
    program = """
import os
import signal
from tests.kernels.calls import CONVOLUTIONS, matrix_products

calls = [*CONVOLUTIONS["direct"].calls(), *CONVOLUTIONS["winograd, stride 2"].calls(), *matrix_products(200, 300, 400)]
before = [call.digest() for call in calls]
child = os.fork()
if not child:
    signal.alarm(60)  # ends a child that hangs
after = [call.digest() for call in calls]
if not child:
    os._exit(0 if after == before else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert after == before
"""
    run(program, TINYGEN_THREADS="2", PYTHONWARNINGS="ignore::DeprecationWarning")


# The floating-point mode of the process


def test_denormal_numbers_are_zero_in_kernels_and_nowhere_else():
    tiny = np.full((300, 300), 1e-39, np.float32)
    x = np.ones((2, 40, 40, 1), np.float32)
    for images in (1, 2):  # one image is computed in one thread, two in two if there are so many
        y = cpu_kernel("conv2d")(x[:images], tiny[:3, :3].reshape(3, 3, 1, 1), Geometry())
        assert not (y.any() and X86)
        assert (tiny * np.float32(0.5) > 0).all()
        assert (np.linspace(1e-39, 2e-39, 7, dtype=np.float32) + np.float32(1e-39) > 0).all()


def test_kernels_and_pytorch_alternate_in_one_process():
    """Results of both are right, and PyTorch's floating-point mode is kept."""
    pytest.importorskip("torch")
    program = """
import torch
import numpy as np
from tests.kernels.calls import Shape, cpu_kernel
from tinygen.kernels.geometry import Geometry

call = Shape(4, (20, 20), 32, (3, 3), 32, Geometry(padding=((1, 1), (1, 1)))).calls(bias=False, slope=1.0)[0]
x, w = call.arguments[:2]
theirs = torch.from_numpy(x.transpose(0, 3, 1, 2).copy()), torch.from_numpy(w.transpose(3, 2, 0, 1).copy())
for flush in (False, True):
    torch.set_flush_denormal(flush)
    for _ in range(3):
        ours = call.run()[0]
        other = torch.nn.functional.conv2d(*theirs, padding=1).permute(0, 2, 3, 1).numpy()
        np.testing.assert_allclose(ours, other, rtol=0, atol=1e-3)
        rows, columns = x.reshape(-1, 32), theirs[1].reshape(32, -1)
        product = torch.from_numpy(rows) @ columns
        np.testing.assert_allclose(cpu_kernel("matmul")(rows, columns.numpy()), product, rtol=0, atol=1e-4)
        assert bool(torch.full((9,), 1e-39).mul(0.5).sum() > 0) != flush, "the floating-point mode is PyTorch's"
"""
    run(program, TINYGEN_THREADS="2")
