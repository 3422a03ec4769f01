"""Compilation at first use, kept on disk between processes.

Each function has a folder of its own. If several processes start together, one compiles the function, and the
others wait for it. numba alone would mix up the variants of a function, since it numbers their files in the order of
compilation.
"""

import ctypes
import functools
import hashlib
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import get_type_hints

import llvmlite.binding as llvm
import numba
import numpy as np
from numba import types

from ..notices import explain_wait
from .target import FEATURES

if sys.platform != "win32":
    import fcntl

int64 = types.int64
KERNELS = Path(__file__).parents[1]
CHOSEN_FOLDER = numba.config.CACHE_DIR  # the user's, read before `_caching_in` changes the setting for all threads
PATIENCE = 1500  # times 20 ms: the longest wait for a process that may have been stopped while it compiled


@functools.cache
def cache_folder() -> Path:
    """The folder of compiled code, in the user's cache or in NUMBA_CACHE_DIR, named by all that the code depends on.

    These are the kernel sources and where they lie, the versions of Python and numba, and the processor. So a changed
    kernel is never served stale, which numba itself does not notice where the change is in another file than the
    compiled function; and nothing is left in an installed package. OSError if the user has no home folder.
    """
    processor = os.environ.get("NUMBA_CPU_NAME") or llvm.get_host_cpu_name(), *sorted(FEATURES)
    digest = hashlib.blake2b(repr((sys.version, numba.__version__, processor, str(KERNELS))).encode(), digest_size=8)
    for source in sorted(KERNELS.rglob("*.py")):
        digest.update(source.read_bytes())
    caches = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA") or os.path.expanduser("~/.cache")
    if not CHOSEN_FOLDER and caches.startswith("~"):
        raise OSError("the user has no home folder")
    return Path(CHOSEN_FOLDER or caches, "tinygen", f"kernels-{digest.hexdigest()}")


def _folder_of(function) -> Path:
    """The folder of a function's compiled code; variants of a function differ in the numbers in their closures."""
    constants = [cell.cell_contents for cell in function.__closure__ or ()]
    variant = hashlib.blake2b(repr(constants).encode(), digest_size=4).hexdigest() if constants else "0"
    return cache_folder() / f"{function.__module__.rpartition('.')[2]}.{function.__name__}-{variant}"


def _is_compiled(folder: Path) -> bool:
    """Whether the folder holds a compiled function, and its files are as they were written."""
    try:
        return (folder / "checksum").read_text() == _checksum(folder)
    except OSError:
        return False


def _checksum(folder: Path) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for file in _files(folder):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def _files(folder: Path) -> list[Path]:
    """The files that numba has written for a function."""
    return sorted(folder.glob("*/*.nb?"))


_one_at_a_time = threading.RLock()  # held while a function is compiled: numba's settings are those of all threads
_waited = False  # whether this process has waited for another one, which has printed the notice


@contextmanager
def _caching_in(folder: Path) -> Iterator[None]:
    """A context in which numba caches in a folder; until the function there is compiled, one process at a time.

    Files that were damaged, or not written to their end, are removed first: numba would run what they hold.
    """
    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = str(folder)
    try:
        if _is_compiled(folder):
            if not os.access(folder, os.W_OK):
                raise PermissionError  # numba would use another folder
            yield
        else:
            folder.mkdir(parents=True, exist_ok=True)
            with open(folder / "lock", "w") as lock:
                _wait_for(lock)
                if not (compiled_elsewhere := _is_compiled(folder)):
                    for file in _files(folder):
                        file.unlink(missing_ok=True)
                    if not _waited:
                        explain_wait("compiling kernels for this processor; later runs find them compiled")
                yield
                if not compiled_elsewhere:
                    (folder / "checksum").write_text(_checksum(folder))
    finally:
        numba.config.CACHE_DIR = before


def _wait_for(lock) -> None:
    """Lock a file until it is closed; give up where another process takes too long, or the system has no locks.

    Giving up is safe: numba replaces whole files, and both processes would write the same.
    """
    global _waited
    if sys.platform != "win32":
        with suppress(OSError):
            for _ in range(PATIENCE):
                with suppress(BlockingIOError):
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return
                _waited = True
                time.sleep(0.02)


def _compile_or_load(decorator, function, signature, **options):
    """Compile a function for one signature with a decorator of numba's, or load it from the disk."""
    options["error_model"] = "numpy"  # IEEE 754: Python's check for a zero divisor would keep loops from vectorising
    try:
        folder = _folder_of(function)
    except OSError as error:
        why = str(error)
    else:
        try:
            with _one_at_a_time, _caching_in(folder):
                return decorator(signature, cache=True, **options)(function)
        except (RuntimeError, OSError):
            why = f"{cache_folder()} cannot be used"
    explain_wait(f"compiling kernels for this run alone, since {why}")
    return decorator(signature, **options)(function)


def jit(function):
    """Decorate a function that is called from compiled functions."""
    return numba.njit(error_model="numpy")(function)


def compiled(function, signature, **options):
    """Compile a function for one signature now, or load it from the disk."""
    return _compile_or_load(numba.njit, function, signature, **options)


def inlined(function):
    """Decorate a function that is inlined into the compiled functions that call it."""
    return numba.njit(error_model="numpy", inline="always")(function)


def summing(function):
    """`jit` for a function whose sums may be taken in any order, as vector instructions need."""
    return numba.njit(error_model="numpy", fastmath={"reassoc"})(function)


_keep = []  # compiled code lives as long as the object that numba made for it


def address_of(function, signature) -> int:
    """The address of a function, compiled for a signature as a C function."""
    compiled_function = _compile_or_load(numba.cfunc, function, signature)
    _keep.append(compiled_function)
    return compiled_function.address


Address = int  # a field of a record that holds an address
C_TYPES = {int: ctypes.c_int64, bool: ctypes.c_int64, float: ctypes.c_float}


def _fields(parts) -> list[tuple[str, type]]:
    """The fields of a record, with their types in C."""
    if isinstance(parts[0], str):
        fields = [(name, kind) for names, kind in zip(parts, (int, float), strict=False) for name in names.split()]
    else:
        fields = [field for part in parts for field in get_type_hints(part).items()]
    return [(name, C_TYPES[kind]) for name, kind in fields]


class Record:
    """A C structure of int64 and float32 numbers, known to Python and to numba.

    Classes declare its fields, one after the other: an annotation each, `int` (of 64 bits), `Address` or `float` (of 32
    bits), and a comment that says what it is. Frozen dataclasses can be such parts, and are then computed as a whole:

        class Rows:
            x: Address  # the images (N, H, W, C)
            row_bytes: int  # of a row of an image
            slope: float  # of the leaky ReLU

    Where the names say all, strings are enough: `Record("x row_bytes", "slope")`, the second for float32.
    """

    def __init__(self, *parts: type | str):
        # Without the slots a misspelt field would become an attribute that no compiled function reads.
        self.Structure = type("Arguments", (ctypes.Structure,), {"__slots__": (), "_fields_": _fields(parts)})
        self.type = numba.from_dtype(np.dtype(self.Structure))

    def filled(self, *parts, **fields) -> ctypes.Structure:
        """A structure with the fields of some dataclasses, and further ones; those that are not named are 0."""
        for part in parts:
            fields.update(vars(part))
        return self.Structure(**fields)

    def table(self, rows: list) -> np.ndarray:
        """An array of records, from a dataclass or a dict for each."""
        names = [name for name, _ in self.Structure._fields_]
        fields = [row if isinstance(row, dict) else vars(row) for row in rows]
        return np.array([tuple(row[name] for name in names) for row in fields], np.dtype(self.Structure))


class Worker:
    """A function `(arguments, task, lane)` that does one task of a kernel; made by the decorator `worker`.

    `arguments` points to its record; the function reads it as `numba.carray(arguments, 1)[0]`.
    """

    def __init__(self, function, record: Record):
        self.function, self.record, self.Arguments = function, record, record.Structure

    @functools.cached_property
    def address(self) -> int:
        """The address of the compiled function, which is compiled, or loaded, at the first access."""
        return address_of(self.function, types.void(types.CPointer(self.record.type), int64, int64))


def worker(*parts: type | str):
    """Declare a worker by its arguments, which are the fields of a `Record`."""
    return lambda function: Worker(function, Record(*parts))
