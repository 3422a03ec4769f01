"""Recording what a step does on the CPU, so that it can be done again without the Python in between (`replay.py`).

While a `Recording` is active in a thread, three things write down what they do, in order: each launch of the pool, each
function of NumPy on a `Recorded` array, and each call that is to be made again (`Recording.call`).

Every array that a step computes is `Recorded`: kernels allocate with `memory.empty`, which takes memory of the
recording while there is one, and what NumPy computes from a recorded array is recorded too. An array that is no longer
used gives its memory back at once, so that a replay touches no more memory than the step itself.
"""

import ctypes
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from .target import LINE

active: "Recording | None" = None
"""The recording in progress, in whichever thread."""


def current() -> "Recording | None":
    """The recording of this thread, None if there is none or if it is paused."""
    return active if active is not None and active.thread == threading.get_ident() and not active.paused else None


def each_time(function: Callable[[], Any]) -> Any:
    """Call a function, and if this thread's step is being recorded, again in each replay."""
    recording = current() if active is not None else None
    return function() if recording is None else recording.call(function)


class Block:
    """The memory of one array of a recording. It is given back when no array uses it any more."""

    def __init__(self, free: list, memory: Any, size: int):
        self.free, self.memory = free, memory
        start = ctypes.addressof(memory)
        start += -start % LINE
        self.__array_interface__ = {"version": 3, "typestr": "|u1", "shape": (size,), "data": (start, False)}

    def __del__(self):
        self.free.append(self.memory)


class Recording:
    """What a step does: functions to call, and launches as the arguments of `pool.run`, in order."""

    def __init__(self) -> None:
        self.thread, self.paused = threading.get_ident(), False
        self.steps: list[Any] = []
        self.kept: list[Any] = []
        """What launches refer to by address alone: plans, tables, numbers."""
        self.free: dict[int, list[Any]] = {}
        """Memory that is free again, by its size."""
        self.persistent: dict[int, np.ndarray] = {}
        """The arrays from outside that the step reads or changes, such as parameters, by identity."""
        self.reads: list[str] = []
        """The methods by which the step read values in Python, after which it might go on differently."""

    @contextmanager
    def recording(self) -> Iterator[None]:
        """A context in which what this thread does is recorded."""
        global active
        if active is not None:
            raise RuntimeError("a step is being recorded already")
        active = self
        try:
            yield
        finally:
            active = None

    @contextmanager
    def pausing(self) -> Iterator[None]:
        """A context in which nothing is recorded."""
        self.paused = True
        try:
            yield
        finally:
            self.paused = False

    @contextmanager
    def part(self, wrap: Callable[[list], Callable[[], Any]]) -> Iterator[None]:
        """A context whose steps become one: `wrap` makes a function of them."""
        before, self.steps = self.steps, []
        try:
            yield
        finally:
            before.append(wrap(self.steps))
            self.steps = before

    def empty(self, shape, dtype=np.float32, strides=None) -> "Recorded":
        """An uninitialised array in memory of the recording, on a cache line."""
        dtype = np.dtype(dtype)
        elements = int(np.prod(shape, dtype=np.int64))
        size = max(1, -(-elements * dtype.itemsize // LINE)) * LINE
        free = self.free.setdefault(size, [])
        memory = free.pop() if free else (ctypes.c_char * (size + LINE))()
        return np.ndarray(shape, dtype, np.asarray(Block(free, memory, size)), 0, strides).view(Recorded)

    def outside(self, value: Any) -> Any:
        """Arrays that were made before the step as recorded ones, in lists too; anything else as it is."""
        if isinstance(value, list):
            return [self.outside(each) for each in value]
        if not isinstance(value, np.ndarray) or isinstance(value, Recorded):
            return value
        self.persistent.setdefault(id(value), value)
        return value.view(Recorded)

    def launched(self, worker, arguments, tasks: int, most: int) -> None:
        """Note a launch of the pool, and keep what the function that made it refers to."""
        self.steps.append((worker, type(arguments).from_buffer_copy(arguments), tasks, most))
        self.kept.extend(v for v in sys._getframe(2).f_locals.values() if not isinstance(v, Recorded))

    def call(self, function: Callable[[], Any]) -> Any:
        """Call a function, which is called again in each replay; its result becomes a recorded array."""
        with self.pausing():
            value = function()
        if value is None:
            self.steps.append(function)
            return None
        return self._computed(value, function)

    def apply(self, function: Callable, arguments, keywords) -> Any:
        """Call a function of NumPy. Views of arguments need no step, as memory stays where it is."""
        arrays = [*_arrays_in(arguments), *_arrays_in(keywords.values())]
        for array in arrays:
            self.outside(array)
        plain, named = unrecorded(arguments), {name: unrecorded(value) for name, value in keywords.items()}
        value = function(*plain, **named)
        again = partial(function, *_lasting(arguments), **{name: _lasting(each) for name, each in keywords.items()})
        if value is None:
            self.steps.append(again)
        elif isinstance(value, tuple | list):
            return type(value)(
                self._view_or_computed(each, arrays, lambda i=i: again()[i]) for i, each in enumerate(value)
            )
        elif isinstance(value, np.ndarray | np.generic):
            return self._view_or_computed(value, arrays, again)
        return value

    def _view_or_computed(self, value, arrays, again):
        if any(np.may_share_memory(value, array) for array in arrays):
            return value.view(Recorded)
        return self._computed(value, again)

    def _computed(self, value, again: Callable[[], Any]) -> "Recorded":
        """A result as a recorded array, which each replay computes by `again`."""
        target = self._like(value)
        self.steps.append(partial(_refill, _lasting(target), again))
        return target

    def ufunc(self, ufunc: np.ufunc, method: str, arguments, out, keywords) -> Any:
        """Call a ufunc, which each replay calls with the same memory for its results."""
        for array in (*_arrays_in(arguments), *_arrays_in(out or ())):
            self.outside(array)
        function, plain = getattr(ufunc, method), unrecorded(arguments)
        keywords = {name: unrecorded(value) for name, value in keywords.items()}
        if method != "at" and out is None:
            values = function(*plain, **keywords)
            out = tuple(map(self._like, values if isinstance(values, tuple) else (values,)))
            results = {"out": _lasting(out)}
        else:
            results = {"out": _lasting(out)} if out else {}
            function(*plain, **({"out": unrecorded(out)} if out else {}), **keywords)
        self.steps.append(partial(function, *_lasting(arguments), **results, **keywords))
        return None if out is None else out[0] if len(out) == 1 else out

    def _like(self, value) -> "Recorded":
        """A recorded copy of an array or number, with the same order of its axes in memory."""
        value = np.asarray(value)
        strides = value.strides if value.flags.owndata else None
        target = self.empty(value.shape, value.dtype, strides)
        np.copyto(target.view(np.ndarray), value)
        return target


def _refill(target: np.ndarray, function: Callable[[], Any]) -> None:
    target[...] = function()


def _arrays_in(values) -> Iterator[np.ndarray]:
    for value in values:
        if isinstance(value, np.ndarray):
            yield value
        elif isinstance(value, tuple | list):
            yield from _arrays_in(value)


def _in_all(convert: Callable[["Recorded"], np.ndarray], value: Any) -> Any:
    """`value` with its recorded arrays converted, in tuples and lists too."""
    if isinstance(value, Recorded):
        return convert(value)
    if type(value) in (tuple, list):
        return type(value)(_in_all(convert, each) for each in value)
    return value


def unrecorded(value: Any) -> Any:
    """Recorded arrays as plain ones."""
    return _in_all(lambda array: array.view(np.ndarray), value)


def _lasting(value: Any) -> Any:
    """Recorded arrays as plain ones on the same memory that do not keep the recording from using it again."""
    return _in_all(_on_its_memory, value)


def _on_its_memory(array: "Recorded") -> np.ndarray:
    owner: Any = array
    while isinstance(owner, np.ndarray):
        owner = owner.base
    if not isinstance(owner, Block) or not array.size:
        return array.view(np.ndarray)
    offset = array.ctypes.data - ctypes.addressof(owner.memory)
    return np.ndarray(array.shape, array.dtype, owner.memory, offset, array.strides)


NOT_OF_VALUES = {np.shape, np.ndim, np.size, np.may_share_memory, np.shares_memory, np.result_type, np.can_cast}
"""Functions whose result does not depend on the values of arrays."""
READING = "item tolist tobytes __float__ __int__ __bool__ __index__ __complex__ __contains__".split()
COMPUTING = (
    "__getitem__ all any argmax argmin argpartition argsort astype clip copy cumprod cumsum diagonal dot flatten max "
    "mean min nonzero prod ravel repeat reshape round searchsorted std sum swapaxes take trace transpose var"
).split()
CHANGING = "__setitem__ fill partition put sort".split()


class Recorded(np.ndarray):
    """An array whose values differ in each replay: what NumPy does with it is recorded."""

    def __array_ufunc__(self, ufunc, method, *inputs, out=None, **keywords):
        if any(hasattr(each, "__array_ufunc__") and not isinstance(each, np.ndarray | np.generic) for each in inputs):
            return NotImplemented  # what is not an array of NumPy's decides itself
        if (recording := current()) is not None:
            return recording.ufunc(ufunc, method, inputs, out, keywords)
        if out is not None:
            keywords["out"] = unrecorded(out)
        return getattr(ufunc, method)(*unrecorded(inputs), **{k: unrecorded(value) for k, value in keywords.items()})

    def __array_function__(self, function, types, arguments, keywords):
        recording = current()
        if recording is None or function in NOT_OF_VALUES:
            return function(*unrecorded(arguments), **{name: unrecorded(value) for name, value in keywords.items()})
        if function is np.empty_like:
            like = function(*unrecorded(arguments), **keywords)
            return recording.empty(like.shape, like.dtype)
        return recording.apply(function, arguments, keywords)


def _recorded_method(name: str) -> Callable:
    plain = getattr(np.ndarray, name)

    def method(self, *arguments, **keywords):
        recording = current()
        if recording is None or name in READING:
            if recording is not None:
                recording.reads.append(name)
            return plain(*unrecorded((self, *arguments)), **{k: unrecorded(value) for k, value in keywords.items()})
        return recording.apply(plain, (self, *arguments), keywords)

    method.__name__ = name
    return method


for _name in (*READING, *COMPUTING, *CHANGING):
    setattr(Recorded, _name, _recorded_method(_name))
