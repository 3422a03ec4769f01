"""A stand-in for the module CuPy whose kernels run on the CPU; it has what our launchers use.

Its arrays are NumPy arrays of a separate class. A launch refuses what CuPy would misread or a GPU could not run: an
array of the host, a number of the wrong width, an array of another dtype than the kernel's.
"""

import ctypes
import math
from collections.abc import Callable, Iterable
from types import SimpleNamespace

import numpy as np

from tests.cuda.emulator import build

ORDERS = {"ascending": 0, "descending": 1, "random": 2}
MOST_THREADS = 1024
TURING_SHARED, MOST_SHARED = (
    64 * 1024,
    99 * 1024,
)  # bytes a block on the smallest devices before and from compute capability 8.0


class ndarray(np.ndarray):
    """An array of the device."""

    @property
    def data(self):
        """Its memory, whose address is `ptr`."""
        return SimpleNamespace(ptr=self.ctypes.data)

    device = SimpleNamespace(id=0)


class Device:
    """The current device."""

    id = 0

    def __init__(self, architecture: int, multiprocessors: int):
        self.compute_capability = str(architecture)
        self.attributes = {"MultiProcessorCount": multiprocessors}


class Emulator:
    """The module that stands in for `cupy`.

    `order` is that of the threads of a block, and of the blocks; `instantiations` gives, for the text of a source and
    an architecture, all kernels that will be asked of it, so that it is compiled once. `check` is None, "memory" in a
    process of `build.sanitizer_environment`, or "races".
    """

    ndarray = ndarray

    def __init__(
        self,
        order: str = "ascending",
        architecture: int = 80,
        instantiations: Callable[[str, int], Iterable[str]] = lambda text, architecture: (),
        check: str | None = None,
    ):
        self.order, self.architecture, self.instantiations = order, architecture, instantiations
        self.check = check
        self.multiprocessors = 1  # so few that large tiles are chosen for small shapes
        self.launched: dict[str, set[str]] = {}  # the barriers that each kernel has met: "__syncthreads file:line"
        stream = SimpleNamespace(synchronize=lambda: None)
        self.cuda = SimpleNamespace(
            Device=lambda: Device(architecture, self.multiprocessors), get_current_stream=lambda: stream
        )
        self._libraries: dict = {}

    def empty(self, shape, dtype=np.float32):
        """An array whose bytes are all 0xff, which is NaN in floats, to show reads of unwritten memory."""
        array = np.empty(shape, dtype)
        array.reshape(-1).view(np.uint8)[...] = 0xFF
        return array.view(ndarray)

    def zeros(self, shape, dtype=np.float32):
        return np.zeros(shape, dtype).view(ndarray)

    def asarray(self, values, dtype=None):
        return np.asarray(values, dtype).view(ndarray)

    def ascontiguousarray(self, values, dtype=None):
        return np.ascontiguousarray(values, dtype).view(ndarray)

    def RawModule(self, code, options=(), name_expressions=()):
        """A source whose kernels are `name_expressions`."""
        names = tuple(dict.fromkeys((*self.instantiations(code, self.architecture), *name_expressions)))
        if (code, names) not in self._libraries:
            self._libraries[code, names] = build.load_kernels(code, names, self.architecture, self.check)
        return Module(self, self._libraries[code, names], names)


class Module:
    """A compiled source."""

    def __init__(self, emulator, library, names):
        self.emulator, self.library, self.names = emulator, library, names

    def get_function(self, name):
        """The kernel of a name expression."""
        return Kernel(self.emulator, self.library, self.names.index(name), name)


class Kernel:
    """A kernel, which is launched as in CuPy."""

    def __init__(self, emulator, library, index, name):
        self.emulator, self.name = emulator, name
        self.max_dynamic_shared_size_bytes = 48 * 1024
        text = ctypes.create_string_buffer(4096)
        getattr(library, f"parameters_{index}")(text)
        self.parameters = text.value.decode().split()
        self._launch = getattr(library, f"launch_{index}")
        self._launch.restype = ctypes.c_char_p

    def __call__(self, grid, block, args, *, shared_mem=0):
        self._check_size(grid, block, shared_mem)
        if len(args) != len(self.parameters):
            raise TypeError(f"{self.name} takes {len(self.parameters)} arguments, not {len(args)}")
        values = [self._value(*pair) for pair in enumerate(args)]
        error = self._launch(
            (ctypes.c_void_p * len(values))(*map(ctypes.addressof, values)),
            (ctypes.c_uint * 6)(*grid, *(1,) * (3 - len(grid)), *block, *(1,) * (3 - len(block))),
            ctypes.c_size_t(shared_mem),
            ctypes.c_uint(ORDERS[self.emulator.order]),
        )
        if error:
            raise RuntimeError(f"{self.name}: {build.located(error.decode())}")
        met = build.load_machine(self.emulator.check).visited_barriers().decode().splitlines()
        self.emulator.launched.setdefault(self.name, set()).update(met)

    def _check_size(self, grid, block, shared_bytes):
        if not isinstance(grid, tuple) or not isinstance(block, tuple):
            raise TypeError(f"{self.name}: grid and block are tuples, not {grid} and {block}")
        if not all(0 < n <= limit for n, limit in zip(grid, (2**31 - 1, 65535, 65535), strict=False)):
            raise ValueError(f"{self.name}: a grid of {grid} blocks")
        if not 0 < math.prod(block) <= MOST_THREADS or min(block) < 1 or (len(block) == 3 and block[2] > 64):
            raise ValueError(f"{self.name}: a block of {block} threads")
        limit = MOST_SHARED if self.emulator.architecture >= 80 else TURING_SHARED
        if shared_bytes > min(self.max_dynamic_shared_size_bytes, limit):
            raise ValueError(f"{self.name}: {shared_bytes} bytes of dynamic shared memory")

    def _value(self, index, argument):
        """The argument as ctypes passes it to the kernel: an address, or a number of the parameter's type."""
        parameter = self.parameters[index]
        if argument is None:
            kind, value = "*", ctypes.c_void_p(None)
        elif isinstance(argument, ndarray):
            kind, value = "*" + argument.dtype.str[1:], ctypes.c_void_p(argument.ctypes.data)
        elif isinstance(argument, np.generic) or (type(argument) is np.ndarray and argument.size == 1):
            kind, value = argument.dtype.str[1:], ctypes.create_string_buffer(argument.tobytes(), argument.nbytes)
        elif isinstance(argument, int):  # as CuPy
            kind, value = "i8", ctypes.c_longlong(argument)
        else:
            raise TypeError(f"{self.name}: argument {index} is of type {type(argument).__name__}, not of the device")
        untyped = parameter.startswith("*V") and kind.startswith("*")
        if not (kind == parameter or untyped or (kind == "*" and parameter[0] == "*")):
            raise TypeError(f"{self.name}: argument {index} is {kind}, its parameter {parameter}")
        return value
