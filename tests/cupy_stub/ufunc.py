"""Elementwise functions with the types of CuPy's, and the operators of arrays, which are such functions."""

import functools

import numpy as np

from tests.cupy_stub.array import API, Library, host_index, ndarray, on_device, on_host

KINDS = {"b": 0, "i": 1, "u": 1, "f": 2}
DTYPES_ADDED_ATOMICALLY = "int32", "uint32", "uint64", "float16", "float32", "float64"


class Ufunc:
    """An elementwise function of CuPy's, which uses the first of its loops to whose types all arguments can be cast."""

    def __init__(self, name: str, types: str, numpy_function):
        self.__name__, self.numpy = f"cupy_{name}", numpy_function
        self.loops = [tuple(tuple(map(np.dtype, part)) for part in loop.split("->")) for loop in types.split()]
        self.nin = len(self.loops[0][0])
        self.scattered = name in API["scattered"]

    def __call__(self, *arguments, out=None, casting="same_kind"):
        *arguments, out = arguments if len(arguments) > self.nin else (*arguments, out)
        hosts = [on_host(a) for a in arguments]
        if len(hosts) != self.nin or not all(isinstance(h, np.ndarray | np.generic | int | float) for h in hosts):
            raise TypeError(f"{self.__name__}: Unsupported types {[type(h) for h in hosts]}")
        takes, gives = self.loop(hosts)
        results = self.numpy(*(np.asarray(h).astype(t, copy=False) for h, t in zip(hosts, takes, strict=True)))
        results = results if isinstance(results, tuple) else (results,)
        results = [np.asarray(y).astype(t, copy=False) for y, t in zip(results, gives, strict=True)]
        if out is not None:
            return self.write(results[0], out, casting)
        return ndarray(results[0]) if len(results) == 1 else tuple(map(ndarray, results))

    def write(self, result: np.ndarray, out: ndarray, casting: str) -> ndarray:
        """Write the result into another array and return that."""
        if not np.can_cast(result.dtype, out.dtype, casting):
            raise TypeError(f"{self.__name__}: output {result.dtype} cannot be cast to {out.dtype}")
        if result.shape != out.shape:
            raise ValueError(f"{self.__name__}: Out shape is mismatched")
        out._host[...] = result
        return out

    def loop(self, hosts):
        """The types of arguments and results. Python numbers are weak unless they are of a higher kind (NEP 50)."""
        dtypes = [np.asarray(h).dtype for h in hosts]
        kinds = [KINDS[dtype.kind] for dtype in dtypes]
        weak = [type(h) in (int, float) for h in hosts]
        if max((k for k, w in zip(kinds, weak, strict=True) if not w), default=-1) < max(kinds):
            weak = [False] * len(hosts)

        def fits(host, dtype, weak, wanted) -> bool:
            return np.result_type(type(host)(0), wanted) == wanted if weak else np.can_cast(dtype, wanted)

        for takes, gives in self.loops:
            if all(map(fits, hosts, dtypes, weak, takes)):
                return takes, gives
        raise TypeError(f"{self.__name__}: Wrong types {dtypes} of arguments")

    def at(self, array, index, value) -> None:
        """Apply the function in place at an index, with repeated indices counted each time, as `numpy.ufunc.at`."""
        if not self.scattered:
            raise NotImplementedError(f"{self.__name__} has no at")
        if array.dtype.name not in DTYPES_ADDED_ATOMICALLY:
            raise TypeError(f"{self.__name__}: at does not support {array.dtype}")
        self.numpy.at(array._host, host_index(index), on_host(value))


def _leaves_it_to(other) -> bool:
    """Whether another operand implements the operation itself, as a Tensor does."""
    return not isinstance(other, ndarray) and getattr(other, "__array_ufunc__", 0) is None


def _attach(name: str, function) -> None:
    """Give arrays a binary operator, also its reflected and in-place forms if CuPy has them."""
    setattr(ndarray, f"__{name}__", lambda a, b: NotImplemented if _leaves_it_to(b) else function(a, b))
    if f"__r{name}__" in API["operators"]:
        setattr(ndarray, f"__r{name}__", lambda a, b: function(b, a))
    if f"__i{name}__" in API["operators"]:
        setattr(ndarray, f"__i{name}__", lambda a, b: function(a, b, out=a))


def _ufunc(name: str) -> Ufunc:
    return Ufunc(name, API["ufuncs"][f"cupy.{name}"], getattr(np, name))


for _name, _function in {
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
}.items():
    _attach(_name, _ufunc(_function))


def _matmul(a, b):
    Library.check("matmul")
    return on_device(np.matmul(on_host(a), on_host(b)))


_attach("matmul", _matmul)
for _name, _function in {"neg": "negative", "abs": "absolute", "invert": "invert"}.items():
    setattr(ndarray, f"__{_name}__", functools.partialmethod(_ufunc(_function)))
