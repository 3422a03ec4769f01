"""Arrays that refuse what CuPy's refuse, on the memory of the host: NumPy computes what they hold.

Source: CuPy 14, `cupy/_core` (core.pyx, _kernel.pyx, _routines_indexing.pyx), and `api.json`, see `record.py`. In two
things they are stricter than CuPy's: a function of NumPy on them is refused, where CuPy would run its own in its place,
and so is what this stub has no need of. In one they are not as lenient: CuPy wraps integer arrays that index beyond the
end, here they are an error.
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
"""What would have waited for the device, call by call."""


class ndarray:
    """What the name says in CuPy; `_host` is the NumPy array that holds the values."""

    __module__ = "cupy"
    __slots__ = ("__weakref__", "_host")
    __hash__ = None
    __array_ufunc__ = None  # NumPy's ufuncs refuse it, and leave operators with NumPy's arrays and scalars to it

    def __init__(self, host: np.ndarray):
        self._host = host

    def __array_function__(self, function, types, arguments, keywords):
        raise TypeError(f"numpy.{function.__name__} was given an array of CuPy's")

    def __array__(self, dtype=None, copy=None):
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`")

    def __getattr__(self, name: str):
        if name in API["methods"] or name in API["attributes"]:
            raise NotImplementedError(f"the stub has no ndarray.{name}; CuPy has")
        raise AttributeError(f"an array of CuPy's has no {name!r}")

    flags = property(lambda self: SimpleNamespace(**{k: self._host.flags[k.upper()] for k in FLAGS}))

    def __len__(self) -> int:
        return len(self._host)

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index):
        index = host_index(index)
        part = self._host[index]
        if isinstance(part, np.generic):  # CuPy makes a view of no axes
            part = self._host[(*index, ...) if isinstance(index, tuple) else (index, ...)]
        return ndarray(part)

    def __setitem__(self, index, value):
        self._host[host_index(index)] = on_host(value)

    # What waits for the device

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
    """What NumPy computes with in the place of an argument; TypeError for an array of NumPy's."""
    if isinstance(value, ndarray):
        return value._host
    if isinstance(value, np.ndarray):
        raise TypeError(f"Unsupported type {type(value)}")
    return type(value)(map(on_host, value)) if isinstance(value, list | tuple) else value


def on_device(result):
    """NumPy's result as CuPy would give it: its scalars are arrays without axes."""
    if isinstance(result, np.ndarray | np.generic):
        return ndarray(np.asarray(result))
    return type(result)(map(on_device, result)) if isinstance(result, list | tuple) else result


def host_index(index):
    """An index as NumPy takes it. CuPy copies arrays of NumPy's to the device; it must count the true in a mask."""
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


# Of the functions that take any keyword, and then refuse some. Source: CuPy's own.
KEYWORDS = {
    "einsum": {"dtype", "optimize"},
    "meshgrid": {"indexing", "sparse", "copy"},
    "pad": {"mode", "constant_values", "end_values", "stat_length", "reflect_type"},
}


def check_call(name: str, parameters: str, arguments, keywords) -> None:
    """TypeError for a call that a function with these parameters does not take."""
    try:
        signature(parameters).bind(*arguments, **keywords)
    except TypeError as error:
        raise TypeError(f"{name} of CuPy: {error}") from None
    if "**" in parameters and (unknown := keywords.keys() - KEYWORDS[name]):
        raise TypeError(f"{name} of CuPy takes no {min(unknown)!r}")


class Ufunc:
    """An elementwise function of CuPy's, with its loops: the first that all arguments can be cast to serves."""

    def __init__(self, name: str, types: str, numpy_function, scattered: bool):
        self.__name__, self.numpy, self.scattered = name, numpy_function, scattered
        self.loops = [tuple(tuple(map(np.dtype, part)) for part in loop.split("->")) for loop in types.split()]
        self.nin = len(self.loops[0][0])

    def __call__(self, *arguments, out=None, casting="same_kind"):
        *arguments, out = arguments if len(arguments) > self.nin else (*arguments, out)
        hosts = [on_host(a) for a in arguments]
        if len(hosts) != self.nin or not all(isinstance(h, np.ndarray | np.generic | int | float) for h in hosts):
            raise TypeError(f"cupy_{self.__name__}: Unsupported types {[type(h) for h in hosts]}")
        takes, gives = self.loop(hosts)
        results = self.numpy(*(np.asarray(h).astype(t, copy=False) for h, t in zip(hosts, takes, strict=True)))
        results = results if isinstance(results, tuple) else (results,)
        results = [np.asarray(y).astype(t, copy=False) for y, t in zip(results, gives, strict=True)]
        if out is None:
            return ndarray(results[0]) if len(results) == 1 else tuple(map(ndarray, results))
        if not np.can_cast(gives[0], out.dtype, casting):
            raise TypeError(f"cupy_{self.__name__}: output {gives[0]} cannot be cast to {out.dtype}")
        if results[0].shape != out.shape:
            raise ValueError(f"cupy_{self.__name__}: Out shape is mismatched")
        out._host[...] = results[0]
        return out

    def loop(self, hosts):
        """The types of arguments and results. Python's numbers are weak unless they are of a higher kind (NEP 50)."""
        weak = [type(h) if type(h) in (int, float) else None for h in hosts]
        kinds = [("biuf".index(np.asarray(h).dtype.kind) + 1) // 2 for h in hosts]
        strong = max((k for k, w in zip(kinds, weak, strict=True) if w is None), default=-1)
        if strong < max(kinds):
            weak = [None] * len(hosts)

        def fits(host, weak, wanted) -> bool:
            if weak is None:
                return np.can_cast(np.asarray(host).dtype, wanted)
            return np.result_type(weak(0), wanted) == wanted

        for takes, gives in self.loops:
            if all(map(fits, hosts, weak, takes)):
                return takes, gives
        raise TypeError(f"Wrong types {[np.asarray(h).dtype for h in hosts]} of arguments for cupy_{self.__name__}")

    def at(self, array, index, value) -> None:
        """In place and unbuffered; of few types, for which the device has atomic operations."""
        if not self.scattered:
            raise NotImplementedError(f"cupy_{self.__name__} has no at")
        if array.dtype.name not in ("int32", "uint32", "uint64", "float16", "float32", "float64"):
            raise TypeError(f"scatter_add of CuPy does not support {array.dtype}")
        self.numpy.at(array._host, host_index(index), on_host(value))


UFUNCS = {
    path.split(".")[1]: Ufunc(path.split(".")[1], types, getattr(np, path.split(".")[1]), path in API["scattered"])
    for path, types in API["ufuncs"].items()
    if path.startswith("cupy.") and path.count(".") == 1 and hasattr(np, path.split(".")[1])
}


def matmul(a, b):
    """The matrix product."""
    return on_device(np.matmul(on_host(a), on_host(b)))


def _leaves_it_to(other) -> bool:
    """Whether another operand wants to do the operation itself, as a Tensor does."""
    return not isinstance(other, ndarray) and getattr(other, "__array_ufunc__", 0) is None


def _operators(name: str, function):
    """The methods of a binary operator: forward, reflected, in place."""
    setattr(ndarray, f"__{name}__", lambda a, b: NotImplemented if _leaves_it_to(b) else function(a, b))
    if f"__r{name}__" in API["operators"]:
        setattr(ndarray, f"__r{name}__", lambda a, b: function(b, a))
    if f"__i{name}__" in API["operators"]:
        setattr(ndarray, f"__i{name}__", lambda a, b: function(a, b, out=a))


def _method(name: str):
    """A method of an array, as NumPy's computes it."""

    def method(self, *arguments, **keywords):
        check_call(name, API["methods"][name], arguments, keywords)
        if name == "nonzero":
            WAITS.append(name)
        result = getattr(self._host, name)(*map(on_host, arguments), **{k: on_host(v) for k, v in keywords.items()})
        return keywords["out"] if keywords.get("out") is not None else on_device(result)

    setattr(ndarray, name, method)


BINARY = {
    "add": "add",
    "sub": "subtract",
    "mul": "multiply",
    "truediv": "true_divide",
    "floordiv": "floor_divide",
    "mod": "remainder",
    "pow": "power",
    "and": "bitwise_and",
    "or": "bitwise_or",
    "xor": "bitwise_xor",
    "lshift": "left_shift",
    "rshift": "right_shift",
    "eq": "equal",
    "ne": "not_equal",
    "lt": "less",
    "le": "less_equal",
    "gt": "greater",
    "ge": "greater_equal",
}
for _name, _ufunc in BINARY.items():
    _operators(_name, UFUNCS[_ufunc])
_operators("matmul", matmul)
for _name, _ufunc in {"neg": "negative", "abs": "absolute", "invert": "invert"}.items():
    setattr(ndarray, f"__{_name}__", lambda a, ufunc=UFUNCS[_ufunc]: ufunc(a))
for _name in API["methods"]:
    if not hasattr(ndarray, _name) and hasattr(np.ndarray, _name) and _name not in ("dump", "dumps", "tofile"):
        _method(_name)
for _name in "T dtype itemsize mT nbytes ndim shape size strides".split():
    setattr(ndarray, _name, property(lambda self, get=operator.attrgetter(f"_host.{_name}"): on_device(get(self))))
