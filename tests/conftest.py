"""Fixtures of all tests: notices, random streams and devices."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cupy_stub.module import installed
from tinygen import random
from tinygen.backend import gpu_problem, kernel, select_device
from tinygen.kernels import notices

COMPILE_KERNELS = """
from tests.kernels.calls import calls
for call in calls():
    call.run()
"""


def pytest_xdist_auto_num_workers(config):
    """No further processes for chosen files, which would wait for them to start; else one for each core."""
    if config.option.file_or_dir:
        return 0
    os.environ.setdefault("TINYGEN_THREADS", "1")  # the processes share the cores
    return None


def pytest_sessionstart(session):
    """Let another process compile the kernels while all tests begin; without a cache this saves a minute."""
    is_worker = hasattr(session.config, "workerinput")
    if is_worker or session.config.option.file_or_dir or session.config.option.collectonly:
        return
    command, folder, nowhere = [sys.executable, "-c", COMPILE_KERNELS], Path(__file__).parents[1], subprocess.DEVNULL
    compiling = subprocess.Popen(command, cwd=folder, stdout=nowhere, stderr=nowhere)
    session.config.add_cleanup(compiling.wait)
    session.config.add_cleanup(compiling.kill)


@pytest.fixture(scope="session", autouse=True)
def notices_are_given_before_the_tests():
    """Print all notices about this machine before the first test, since each is printed once in a process."""
    select_device()
    kernel("philox", "cpu")


@pytest.fixture
def no_notices_yet(monkeypatch):
    """Let notices be printed again during a test, as in a new process."""
    monkeypatch.setattr(notices, "_printed", set())


@pytest.fixture(autouse=True)
def process_streams():
    """Set the process's random streams to seed 0 for each test, and restore them afterwards."""
    before = random.get_state()
    random.seed(0)
    yield
    random.set_state(before)


CUDA = ["stub", "gpu"] if gpu_problem() is None else ["stub"]


@pytest.fixture(params=CUDA)
def cuda(request):
    """The device "cuda": on a stub of CuPy, and also on a GPU where one can be used."""
    with installed() if request.param == "stub" else contextlib.nullcontext():
        yield "cuda"


@pytest.fixture(params=["cpu", *CUDA])
def device(request):
    """Every device: "cpu", and "cuda" as in the fixture `cuda`."""
    with installed() if request.param == "stub" else contextlib.nullcontext():
        yield "cpu" if request.param == "cpu" else "cuda"


def pytest_report_header():
    """Say in the header of pytest what the tests of the device "cuda" run on."""
    problem = gpu_problem()
    return "cuda: tested on a stub of CuPy " + (f"alone, since {problem}" if problem else "and on the GPU")
