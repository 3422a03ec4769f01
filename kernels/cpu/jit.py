"""Compilation at first use, kept on disk between processes."""

import ctypes
import functools
import hashlib
import os
import shutil
import sys
from contextlib import contextmanager
from pathlib import Path

import llvmlite.binding as llvm
import numba
import numpy as np
from numba import types

from .target import FEATURES

int64 = types.int64


@functools.cache
def cache_folder() -> str:
    """Where compiled code is kept: a folder of the user's, named by a hash of all that it depends on.

    These are the kernel sources, numba's version and the processor. So a changed kernel is never served stale, which
    numba itself does not notice where the change is in another file than the compiled function; and nothing is left
    in an installed package.
    """
    processor = os.environ.get("NUMBA_CPU_NAME") or llvm.get_host_cpu_name(), *sorted(FEATURES)
    digest = hashlib.blake2b(repr((numba.__version__, processor)).encode(), digest_size=8)
    for source in sorted(Path(__file__).parents[1].rglob("*.py")):
        digest.update(source.read_bytes())
    caches = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA") or os.path.expanduser("~/.cache")
    return os.path.join(caches, "tinygen", f"kernels-{digest.hexdigest()}")


@contextmanager
def _cache_in_folder():
    """numba reads its cache folder from its configuration while a function is declared."""
    chosen = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = chosen or cache_folder()
    try:
        yield
    finally:
        numba.config.CACHE_DIR = chosen


def _declared(decorator, function, *signature, **options):
    """The function under a decorator of numba's, kept on disk where a folder can be written."""
    options["error_model"] = "numpy"  # IEEE 754: Python's check for a zero divisor would keep loops from vectorising
    for attempt in range(2):
        try:
            with _cache_in_folder():
                return decorator(*signature, cache=True, **options)(function)
        except Exception as error:
            if isinstance(error, (RuntimeError, OSError)):  # the folder cannot be written
                break
            if not attempt:  # a file of it is damaged, where it is not our function
                shutil.rmtree(cache_folder(), ignore_errors=True)
    return decorator(*signature, **options)(function)  # compiled afresh in each process


def jit(function):
    """A function that is compiled at its first call."""
    return _declared(numba.njit, function)


def compiled(function, signature, **options):
    """A function compiled for one signature, at once."""
    made = _declared(numba.njit, function, signature, **options)
    if not made.stats.cache_hits:
        tell_compiling()
    return made


def inlined(function):
    """A function that becomes part of the compiled functions that call it."""
    return numba.njit(error_model="numpy", inline="always")(function)


def summing(function):
    """A function whose sums may be taken in any order, which vectors need, as part of those that call it."""
    return numba.njit(error_model="numpy", fastmath={"reassoc"})(function)


@functools.cache
def tell_compiling() -> None:
    """Say on stderr, once in a process, why it takes a while."""
    print("tinygen: compiling kernels for this processor; this happens once", file=sys.stderr, flush=True)


_keep = []  # compiled code lives as long as the object that numba made for it


def address_of(function, signature) -> int:
    """The address of a function, compiled for a signature as a C function."""
    made = _declared(numba.cfunc, function, signature)
    if not made.cache_hits:
        tell_compiling()
    _keep.append(made)
    return made.address


class Record:
    """A C structure of int64 `numbers` (counts, addresses) and float32 `floats`, known to Python and to numba."""

    def __init__(self, numbers: str, floats: str = ""):
        fields = [(name, ctypes.c_int64) for name in numbers.split()]
        fields += [(name, ctypes.c_float) for name in floats.split()]
        self.Structure = type("Arguments", (ctypes.Structure,), {"_fields_": fields})
        self.type = numba.from_dtype(np.dtype(self.Structure))

    def table(self, rows: list[dict]) -> np.ndarray:
        """An array of records."""
        names = [name for name, _ in self.Structure._fields_]
        return np.array([tuple(row[name] for name in names) for row in rows], np.dtype(self.Structure))


class Worker:
    """A function `(arguments, task, lane)` that does one task of a kernel; made by the decorator `worker`.

    `arguments` points to its record; the function reads it as `numba.carray(arguments, 1)[0]`.
    """

    def __init__(self, function, record: Record):
        self.function, self.record, self.Arguments = function, record, record.Structure

    @functools.cached_property
    def address(self) -> int:
        """Where the compiled function lies; it is compiled, or loaded, when this is first asked for."""
        return address_of(self.function, types.void(types.CPointer(self.record.type), int64, int64))


def worker(numbers: str, floats: str = ""):
    """Declare a worker by the names of its int64 arguments and of its float32 arguments."""
    return lambda function: Worker(function, Record(numbers, floats))
