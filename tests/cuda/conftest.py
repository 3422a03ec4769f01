"""The emulator in the place of CuPy."""

import pytest

from tests.cuda.device import device_kernel, emulator, install
from tests.cuda.emulator import build
from tests.cuda.emulator.stand_in import ORDERS
from tinygen.kernels.cuda import runtime


@pytest.fixture(params=list(ORDERS))
def order(request) -> str:
    """Each order of the threads in turn."""
    return request.param


@pytest.fixture
def emulated(monkeypatch):
    """`emulated(order, architecture=80)`: puts the emulator in CuPy's place; returns a function name -> kernel.

    Those kernels take and give NumPy arrays: `call.run_on_copies(emulated("random"))`.
    """
    if build.no_compiler:
        pytest.skip(build.no_compiler)

    def choose(order: str, architecture: int = 80):
        xp = emulator(architecture)
        xp.order = order
        install(xp, monkeypatch.setattr)
        return device_kernel

    yield choose
    runtime.set_precision("float32")
