"""What all tests share."""

import contextlib

import pytest

from tests.cupy_stub.module import installed
from tinygen import random
from tinygen.backend import gpu_problem


@pytest.fixture(autouse=True)
def process_streams():
    """Each test begins with the process's random streams at seed 0, and leaves them as they were."""
    before = random.get_state()
    random.seed(0)
    yield
    random.set_state(before)


@pytest.fixture(params=["stub", "gpu"] if gpu_problem() is None else ["stub"])
def cuda(request):
    """The device "cuda": a stub of CuPy on the host, and the GPU where one is usable."""
    with installed() if request.param == "stub" else contextlib.nullcontext():
        yield "cuda"


@pytest.fixture
def waits():
    """What waited for the device, by name: a stub of CuPy that counts."""
    with installed() as names:
        yield names


def pytest_report_header():
    """Says whether the tests of the device "cuda" run on a GPU too."""
    problem = gpu_problem()
    return f"cuda: a stub of CuPy {'alone, since ' + problem if problem else 'and the GPU'}"
