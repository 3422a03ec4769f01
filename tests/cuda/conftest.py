"""The emulator in the place of CuPy."""

import functools

import pytest

from tests.cuda.emulator import build
from tests.cuda.emulator.stand_in import ORDERS, Emulator
from tests.kernels.calls import over_arrays
from tinygen.kernels.cuda import KERNELS, runtime


def instantiations(text: str):
    """All kernels that launchers use of a source."""
    return [name for source in runtime.Source.every if source.text == text for name in source.names]


@functools.cache
def emulator(architecture: int) -> Emulator:
    """The one emulator of an architecture: what it has compiled serves every test."""
    return Emulator(architecture=architecture, instantiations=instantiations)


@pytest.fixture(params=list(ORDERS))
def order(request) -> str:
    """Each order of the threads in turn."""
    return request.param


@pytest.fixture
def emulated(monkeypatch):
    """`emulated(order, architecture=80)`: puts the emulator in CuPy's place; returns a function name -> kernel.

    Those kernels take and give NumPy arrays: `call.copied(emulated("random"))`.
    """
    if build.no_compiler:
        pytest.skip(build.no_compiler)

    def choose(order: str, architecture: int = 80):
        xp = emulator(architecture)
        xp.order = order
        monkeypatch.setattr(runtime, "cupy", lambda: xp)
        for source in runtime.Source.every:
            source._kernels.clear()

        def room(name: str):
            return lambda *arguments, **static: KERNELS[name](*over_arrays(xp.asarray, arguments), **static)

        return room

    yield choose
    for source in runtime.Source.every:
        source._kernels.clear()
    runtime.set_precision("float32")
