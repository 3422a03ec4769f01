"""Compiles and launches CUDA sources. The only file of `kernels.cuda` that touches CuPy.

Arrays are C-contiguous, and a kernel sees no more of one than its address: `Source` refuses what CuPy would take
without a word, strided arrays and Python's own numbers (which it passes in 64 bits).
"""

import functools
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

import numpy as np

from .. import reference

FOLDER = Path(__file__).parent
FLOAT32 = np.dtype(np.float32)
OPTIONS = ("-std=c++17",)
PRECISIONS = ("float32", "tf32", "bfloat16")
TENSOR_CORES = 80  # the first architecture whose tensor cores take TF32 and bfloat16

_precision = "float32"
_library = None  # the module CuPy, after its first use


def cupy():
    """The module CuPy, which the first kernel imports."""
    global _library
    if _library is None:
        import cupy

        _library = cupy
    return _library


def architecture() -> int:
    """The compute capability of the current device: 80 for 8.0."""
    return int(cupy().cuda.Device().compute_capability)


def empty(shape, dtype=np.float32):
    """An uninitialised array of a shape."""
    return cupy().empty(shape, dtype)


def set_precision(name: str) -> None:
    """Choose the arithmetic of matrix products and convolutions; arrays stay float32.

    "float32" is exact; "tf32" and "bfloat16" round the operands and multiply them on tensor cores. Raises ValueError
    for another name.
    """
    global _precision
    if name not in PRECISIONS:
        raise ValueError(f"unknown precision {name!r}: use one of {', '.join(map(repr, PRECISIONS))}")
    _precision = name


def precision() -> str:
    """The chosen arithmetic. RuntimeError if the device does not have it."""
    if _precision != "float32" and architecture() < TENSOR_CORES:
        raise RuntimeError(
            f"precision {_precision!r} needs a GPU of compute capability 8.0 or newer, this one has "
            f"{architecture() / 10}: use 'float32'"
        )
    return _precision


_retained: list | None = None


@contextmanager
def retaining() -> Iterator[list]:
    """A context that yields a list of all plans used in it: a CUDA graph reads their tables at each replay."""
    global _retained
    outside, _retained = _retained, []
    try:
        yield _retained
    finally:
        _retained = outside


def plan(most: int):
    """Keep the `most` latest results of a function that makes plans; one in use within `retaining` lives as long."""

    def decorate(function):
        cached = functools.lru_cache(most)(function)

        @functools.wraps(function)
        def make(*arguments):
            made = cached(*arguments)
            if _retained is not None:
                _retained.append(made)
            return made

        make.cache_clear = cached.cache_clear
        return make

    return decorate


def upload(values: np.ndarray):
    """An array on the device, which kernels on any stream may read from now on."""
    array = cupy().asarray(values)
    cupy().cuda.get_current_stream().synchronize()
    return array


def single(function):
    """Extend a kernel for contiguous float32 arrays to all arrays.

    Where an array of floats is of another dtype, or the first argument, or the first of its list, has no elements,
    `kernels.reference` serves. Arrays that are not contiguous are copied.
    """
    plain = getattr(reference, function.__name__)

    @functools.wraps(function)
    def kernel(*arguments, **static):
        first = arguments[0]
        if isinstance(first, (list, tuple)):
            first = first[0]
        if first.dtype != FLOAT32 or not first.size or any(map(_is_other_float, arguments)):
            return plain(*arguments, **static)
        return function(*map(contiguous, arguments), **{name: contiguous(value) for name, value in static.items()})

    return kernel


def _is_other_float(argument) -> bool:
    """Whether an argument is an array of floats that a kernel would read as if they were float32."""
    return isinstance(argument, cupy().ndarray) and argument.dtype.kind == "f" and argument.dtype != FLOAT32


def contiguous(value):
    """An array as a contiguous one, a list of arrays likewise; anything else as it is."""
    if isinstance(value, list):
        return [contiguous(part) for part in value]
    if not isinstance(value, cupy().ndarray) or value.flags.c_contiguous:
        return value
    return cupy().ascontiguousarray(value)


class Source:
    """A .cu file of this folder, and the kernels in it.

    `names` are all that launchers use, templates as they are instantiated: "products<float, 128, 64>". `architecture`
    is the oldest that has the instructions they need. `source[name](grid, block, arguments, shared_bytes=0)` compiles
    that one, once for each device, and launches it on the current stream with that much dynamic shared memory.
    """

    every: ClassVar[list["Source"]] = []

    def __init__(self, file: str, *names: str, architecture: int = 75):
        self.file, self.names, self.architecture = file, names, architecture
        self._kernels: dict = {}
        Source.every.append(self)

    @functools.cached_property
    def text(self) -> str:
        """The file with its local includes pasted in: CuPy's cache of compiled kernels hashes nothing else."""
        return pasted(self.file, set())

    def __getitem__(self, name: str):
        return functools.partial(self._launch, name)

    def _launch(self, name, grid, block, arguments, shared_bytes=0):
        for index, argument in enumerate(arguments):
            _check(name, index, argument)
        self._kernel(name, shared_bytes)(tuple(grid), tuple(block), tuple(arguments), shared_mem=shared_bytes)

    def _kernel(self, name: str, shared_bytes: int):
        key = cupy().cuda.Device().id, name
        kernel = self._kernels.get(key)
        if kernel is None:
            if name not in self.names:
                raise KeyError(f"{self.file} is not declared to hold a kernel {name!r}")
            module = cupy().RawModule(code=self.text, options=OPTIONS, name_expressions=(name,))
            kernel = self._kernels[key] = module.get_function(name)
        if shared_bytes > kernel.max_dynamic_shared_size_bytes:
            kernel.max_dynamic_shared_size_bytes = shared_bytes
        return kernel


def pasted(file: str, included: set[str]) -> str:
    """The text of a file; a local include becomes the text of its file, the first time that it is met.

    Lines keep their numbers, for the compilers' messages.
    """
    included.add(file)
    lines = [f'#line 1 "{file}"']
    for number, line in enumerate((FOLDER / file).read_text("utf-8").splitlines(), 1):
        include = re.fullmatch(r'#include "(.+)"', line)
        if include and include[1] not in included:
            lines += [pasted(include[1], included), f'#line {number + 1} "{file}"']
        else:
            lines.append("" if include or line == "#pragma once" else line)
    return "\n".join(lines)


def _check(name: str, index: int, argument) -> None:
    if argument is None or isinstance(argument, np.generic):
        return
    if type(argument) is np.ndarray and argument.dtype.names and argument.size == 1:
        return  # a structure, which CuPy passes by value
    if not isinstance(argument, cupy().ndarray):
        kind = type(argument).__name__
        raise TypeError(f"{name}: argument {index} is of type {kind}: pass an array of CuPy, np.int32, np.float32, ...")
    if argument.device.id != (current := cupy().cuda.Device().id):
        raise ValueError(f"{name}: argument {index} lies on device {argument.device.id}, the current one is {current}")
    if not argument.flags.c_contiguous:
        raise ValueError(f"{name}: argument {index} is an array that is not C-contiguous")
