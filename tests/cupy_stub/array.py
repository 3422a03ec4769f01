"""Arrays that refuse what CuPy's arrays refuse; they are in the host's memory, and NumPy computes their values.

Source: CuPy 14, `cupy/_core` (core.pyx, _kernel.pyx, _routines_indexing.pyx), and `api.json`, see `record.py`.

They are stricter than CuPy's where the engine does not need more: a function of NumPy on them is an error, where CuPy
would run its own, and so is an index out of range in an array of integers, which CuPy wraps round. Members that the
engine does not use are missing.
"""

import functools
import inspect
import json
import operator
from pathlib import Path
from types import SimpleNamespace

import numpy as np

API = json.loads(Path(__file__).with_name("api.json").read_text())

WAITS: list[str] = []
"""The names of the calls that would have waited for the device, in order."""


class Library:
    """What CuPy does about calls of cuBLAS: it refuses them while a stream is being captured."""

    capturing = False
    in_kernel = False
    """Whether a reference stands in for one of our own kernels, which do not call cuBLAS."""

    @classmethod
    def check(cls, name: str) -> None:
        if cls.capturing and not cls.in_kernel:
            raise NotImplementedError(f"calling cuBLAS API during stream capture is currently unsupported ({name})")


class ndarray:
    """The class `cupy.ndarray`; `_host` is the NumPy array of the values."""

    __module__ = "cupy"
    __slots__ = ("__weakref__", "_host")
    __hash__ = None
    __array_ufunc__ = None  # NumPy's ufuncs refuse it, and operators with NumPy's arrays and scalars call its methods

    def __init__(self, host: np.ndarray):
        self._host = host

    def __array_function__(self, function, types, arguments, keywords):
        raise TypeError(f"numpy.{function.__name__} was given an array of CuPy's")

    def __array__(self, dtype=None, copy=None):
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`")

    def __getattr__(self, name: str):
        if name in API["methods"] or name in API["attributes"]:
            raise NotImplementedError(f"the stub has no ndarray.{name}, but CuPy has one")
        raise AttributeError(f"an array of CuPy's has no {name!r}")

    flags = property(lambda self: SimpleNamespace(**{k: self._host.flags[k.upper()] for k in FLAGS}))

    def __len__(self) -> int:
        return len(self._host)

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index):
        index = host_index(index)
        part = self._host[index]
        if isinstance(part, np.generic):  # CuPy returns a view without axes
            part = self._host[(*index, ...) if isinstance(index, tuple) else (index, ...)]
        return ndarray(part)

    def __setitem__(self, index, value):
        self._host[host_index(index)] = on_host(value)

    # Methods that wait for the device

    def get(self) -> np.ndarray:
        WAITS.append("get")
        return self._host.copy()

    def item(self):
        WAITS.append("item")
        return self._host.item()

    def tolist(self):
        WAITS.append("tolist")
        return self._host.tolist()

    def __bool__(self) -> bool:
        WAITS.append("bool")
        return bool(self._host)

    def __int__(self) -> int:
        WAITS.append("int")
        return int(self._host)

    def __float__(self) -> float:
        WAITS.append("float")
        return float(self._host)

    def __repr__(self) -> str:
        WAITS.append("repr")
        return repr(self._host)


FLAGS = "c_contiguous", "f_contiguous", "owndata"


def on_host(value):
    """An argument with arrays of the stub replaced by their NumPy arrays; TypeError for an array of NumPy's."""
    if isinstance(value, ndarray):
        return value._host
    if isinstance(value, np.ndarray):
        raise TypeError(f"Unsupported type {type(value)}")
    return type(value)(map(on_host, value)) if isinstance(value, list | tuple) else value


def on_device(result):
    """A result of NumPy's as arrays of the stub; scalars become arrays without axes, as in CuPy."""
    if isinstance(result, np.ndarray | np.generic):
        return ndarray(np.asarray(result))
    if hasattr(result, "_fields"):  # a named tuple
        return tuple(map(on_device, result))
    return type(result)(map(on_device, result)) if isinstance(result, list | tuple) else result


def host_index(index):
    """An index for NumPy. CuPy accepts arrays of NumPy's here, and waits for the number of trues in a mask."""
    if isinstance(index, tuple):
        return tuple(map(host_index, index))
    index = index._host if isinstance(index, ndarray) else index
    if isinstance(index, np.ndarray) and index.dtype == bool:
        WAITS.append("mask")
    return index


@functools.cache
def signature(parameters: str) -> inspect.Signature:
    """The signature of a function with parameters as `api.json` gives them."""
    return inspect.signature(eval(f"lambda {parameters}: None"))


# Keywords that functions with **keywords accept in CuPy, from its source.
KEYWORDS = {
    "einsum": {"dtype", "optimize"},
    "meshgrid": {"indexing", "sparse", "copy"},
    "pad": {"mode", "constant_values", "end_values", "stat_length", "reflect_type"},
}


def check_call(name: str, parameters: str, arguments, keywords) -> None:
    """Raise TypeError if a function with these parameters does not accept the call."""
    try:
        signature(parameters).bind(*arguments, **keywords)
    except TypeError as error:
        raise TypeError(f"{name} of CuPy: {error}") from None
    if "**" in parameters and (unknown := keywords.keys() - KEYWORDS.get(name, set())):
        raise TypeError(f"{name} of CuPy takes no {min(unknown)!r}")


def _method(name: str):
    """A method of an array that NumPy's method of the same name computes."""

    def method(self, *arguments, **keywords):
        check_call(name, API["methods"][name], arguments, keywords)
        if name == "nonzero":
            WAITS.append(name)
        result = getattr(self._host, name)(*map(on_host, arguments), **{k: on_host(v) for k, v in keywords.items()})
        return on_device(result) if keywords.get("out") is None else keywords["out"]

    return method


for _name in API["methods"].keys() - {"dump", "dumps", "tofile"}:
    if not hasattr(ndarray, _name) and hasattr(np.ndarray, _name):
        setattr(ndarray, _name, _method(_name))
for _name in "T dtype itemsize mT nbytes ndim shape size strides".split():
    setattr(ndarray, _name, property(lambda self, get=operator.attrgetter(f"_host.{_name}"): on_device(get(self))))
