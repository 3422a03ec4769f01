"""What all tests share."""

import contextlib
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


def pytest_sessionstart(session):
    """When all tests run, another process compiles the kernels meanwhile: where there is no cache this saves a minute.

    Compiling keeps one core busy, and so do most tests.
    """
    if session.config.option.file_or_dir or session.config.option.collectonly:
        return
    command, folder, nowhere = [sys.executable, "-c", COMPILE_KERNELS], Path(__file__).parents[1], subprocess.DEVNULL
    compiling = subprocess.Popen(command, cwd=folder, stdout=nowhere, stderr=nowhere)
    session.config.add_cleanup(compiling.wait)
    session.config.add_cleanup(compiling.kill)


@pytest.fixture(scope="session", autouse=True)
def notices_have_been_told():
    """What there is to note about this machine is told before the first test, none of which then meets it."""
    select_device()
    kernel("philox", "cpu")


@pytest.fixture
def untold(monkeypatch):
    """Nothing has been noted yet."""
    monkeypatch.setattr(notices, "_told", set())


@pytest.fixture(autouse=True)
def process_streams():
    """Each test begins with the process's random streams at seed 0, and leaves them as they were."""
    before = random.get_state()
    random.seed(0)
    yield
    random.set_state(before)


CUDA = ["stub", "gpu"] if gpu_problem() is None else ["stub"]


@pytest.fixture(params=CUDA)
def cuda(request):
    """The device "cuda": on a stub of CuPy, and on a GPU where one is usable."""
    with installed() if request.param == "stub" else contextlib.nullcontext():
        yield "cuda"


@pytest.fixture(params=["cpu", *CUDA])
def device(request):
    """Every device: "cpu", and "cuda" as the fixture `cuda` has it."""
    with installed() if request.param == "stub" else contextlib.nullcontext():
        yield "cpu" if request.param == "cpu" else "cuda"


def pytest_report_header():
    """Says what the tests of the device "cuda" run on."""
    problem = gpu_problem()
    return "cuda: tested on a stub of CuPy " + (f"alone, since {problem}" if problem else "and on the GPU")
