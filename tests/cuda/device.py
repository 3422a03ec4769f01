"""The device of our launchers, the emulator or a GPU, for NumPy arrays."""

import functools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from tests.cuda.emulator import build
from tests.cuda.emulator.stand_in import Emulator
from tests.kernels.calls import over_arrays
from tinygen.backend import device_of, to_numpy
from tinygen.kernels import reference
from tinygen.kernels.cuda import KERNELS, runtime


def instantiations(text: str, architecture: int) -> list[str]:
    """All kernels that launchers use of a source on an architecture."""
    sources = [s for s in runtime.Source.every if s.text == text and s.architecture <= architecture]
    return [name for source in sources for name in source.names]


def whole_emulator(**options) -> Emulator:
    """An emulator that has compiled every source, several at a time; one with an error says so when it is used."""
    xp = Emulator(instantiations=instantiations, **options)
    build.load_machine(xp.check)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for text in {source.text for source in runtime.Source.every}:
            pool.submit(xp.RawModule, text)
    return xp


@functools.cache
def emulator(architecture: int) -> Emulator:
    """The one emulator of an architecture."""
    return whole_emulator(architecture=architecture)


def install(xp: Emulator, assign: Callable = setattr) -> None:
    """Put an emulator in CuPy's place."""
    assign(runtime, "_library", xp)
    for source in runtime.Source.every:
        source._kernels.clear()


def room(name: str) -> Callable:
    """The kernel that serves on the device, made one of NumPy arrays: what it changes in them comes back to them."""
    kernel = KERNELS.get(name) or getattr(reference, name)

    def on_device(*arguments, **static):
        sent = []

        def send(array):
            sent.append((array, runtime.cupy().asarray(array)))
            return sent[-1][1]

        results = kernel(*over_arrays(send, arguments), **static)
        for here, there in sent:
            if device_of(there) == "cuda":  # the emulator's arrays are those of the host
                here[...] = to_numpy(there)
        return over_arrays(to_numpy, results)

    return on_device
