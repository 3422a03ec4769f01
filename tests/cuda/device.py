"""The kernels of the device "cuda", an emulator or a GPU, as functions of NumPy arrays."""

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
    """All kernels of a source that launchers use on an architecture."""
    sources = [s for s in runtime.Source.every if s.text == text and s.architecture <= architecture]
    return [name for source in sources for name in source.names]


def emulator_with_all_kernels(**options) -> Emulator:
    """An emulator that has compiled all sources in parallel; an error of one is raised when a kernel of it is used."""
    xp = Emulator(instantiations=instantiations, **options)
    build.load_machine(xp.check)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for text in {source.text for source in runtime.Source.every}:
            pool.submit(xp.RawModule, text)
    return xp


@functools.cache
def emulator(architecture: int) -> Emulator:
    """The emulator of an architecture, the same one at every call."""
    return emulator_with_all_kernels(architecture=architecture)


def install(xp: Emulator, assign: Callable = setattr) -> None:
    """Let the launchers use an emulator instead of CuPy."""
    assign(runtime, "_library", xp)
    for source in runtime.Source.every:
        source._kernels.clear()


def device_kernel(name: str) -> Callable:
    """The device's kernel of a name as a function of NumPy arrays; changes of its arguments are copied back to them."""
    kernel = KERNELS.get(name) or getattr(reference, name)

    def on_device(*arguments, **static):
        moved = []

        def send(array):
            moved.append((array, runtime.cupy().asarray(array)))
            return moved[-1][1]

        results = kernel(*over_arrays(send, arguments), **static)
        for array, on_gpu in moved:
            if device_of(on_gpu) == "cuda":  # arrays of the emulator share the host's memory
                array[...] = to_numpy(on_gpu)
        return over_arrays(to_numpy, results)

    return on_device
