"""The emulator in the place of CuPy."""

import functools
import os
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.cuda.emulator import build
from tests.cuda.emulator.stand_in import ORDERS, Emulator
from tests.kernels.calls import over_arrays
from tinygen.kernels import reference
from tinygen.kernels.cuda import KERNELS, runtime


def instantiations(text: str):
    """All kernels that launchers use of a source."""
    return [name for source in runtime.Source.every if source.text == text for name in source.names]


def whole_emulator(**options) -> Emulator:
    """An emulator that has compiled every source, several at a time; one with an error says so when it is used."""
    xp = Emulator(instantiations=instantiations, **options)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for text in {source.text for source in runtime.Source.every}:
            pool.submit(xp.RawModule, text)
    return xp


@functools.cache
def emulator(architecture: int) -> Emulator:
    """The one emulator of an architecture."""
    return whole_emulator(architecture=architecture)


def room_of(xp: Emulator, assign=setattr):
    """Puts an emulator in CuPy's place; returns a function name -> kernel of NumPy arrays."""
    assign(runtime, "cupy", lambda: xp)
    for source in runtime.Source.every:
        source._kernels.clear()

    def room(name: str):
        kernel = KERNELS.get(name) or getattr(reference, name)
        return lambda *arguments, **static: kernel(*over_arrays(xp.asarray, arguments), **static)

    return room


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
        return room_of(xp, monkeypatch.setattr)

    yield choose
    runtime.set_precision("float32")
