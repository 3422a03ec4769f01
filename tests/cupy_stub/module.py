"""The modules of the stub, and the context in which `import cupy` gives them."""

import functools
import math
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest

from tests.cupy_stub.array import API, WAITS, Library, check_call, ndarray, on_device, on_host
from tests.cupy_stub.ufunc import Ufunc
from tinygen.backend import device, dispatch
from tinygen.kernels import reference

FROM_HOST = {"array", "asarray", "asanyarray", "ascontiguousarray", "asfortranarray"}  # they copy to the device
CUBLAS = {"matmul", "dot", "vdot", "inner", "tensordot", "einsum"}
WAITING = {"nonzero", "argwhere", "flatnonzero", "unique"}  # they wait for the device to learn the size of the result


def function(name: str, parameters: str, numpy_function):
    """A function of CuPy's that NumPy's function computes."""

    def converted(value):
        return value.copy() if isinstance(value, np.ndarray) and name in FROM_HOST else on_host(value)

    @functools.wraps(numpy_function)
    def call(*arguments, **keywords):
        check_call(name, parameters, arguments, keywords)
        if name in WAITING:
            WAITS.append(name)
        if name in CUBLAS and len(arguments) > 1 + (name == "einsum"):  # an einsum of one operand only sums
            Library.check(name)
        keywords.pop("blocking", None)
        out = keywords.get("out")
        result = numpy_function(*map(converted, arguments), **{k: on_host(v) for k, v in keywords.items()})
        if name.startswith("empty"):
            result.fill(np.nan if result.dtype.kind == "f" else 77)  # new memory is not zero
        return on_device(result) if out is None else out

    return call


def where(condition, x, y):
    """`cupy.where`, which is a ufunc, and needs a condition that is an array."""
    return _where(condition.astype("?", copy=False), x, y)


_where = Ufunc("where", API["ufuncs"]["cupy.where"], np.where)


class Namespace(types.ModuleType):
    """A module of the stub; it has only the names that `api.json` lists."""

    def __init__(self, name: str, numpy_module, **members):
        super().__init__(name)
        self.numpy = numpy_module
        vars(self).update(members)

    def __getattr__(self, name: str):
        path = f"{self.__name__}.{name}"
        if not any(path in API[kind] for kind in ("ufuncs", "functions", "others")):
            raise AttributeError(f"CuPy has no {path}")
        value = getattr(self.numpy, name, self)
        if value is self or isinstance(value, types.ModuleType):
            raise NotImplementedError(f"the stub has no {path}, but CuPy has one")
        if path in API["ufuncs"]:
            value = Ufunc(name, API["ufuncs"][path], value)
        elif path in API["functions"]:
            value = function(name, API["functions"][path], value)
        setattr(self, name, value)
        return value


def modules() -> dict[str, types.ModuleType]:
    """The modules of the stub by name; their one device only records what waits for it."""
    stream = SimpleNamespace(synchronize=lambda: WAITS.append("synchronize"))
    runtime = SimpleNamespace(getDeviceCount=lambda: 1, getDeviceProperties=lambda _: {"name": b"a stub of CuPy"})
    device = SimpleNamespace(runtime=runtime, Device=lambda: SimpleNamespace(id=0), get_current_stream=lambda: stream)
    tricks = Namespace("cupy.lib.stride_tricks", np.lib.stride_tricks)
    special = Namespace("cupyx.scipy.special", SimpleNamespace(erf=np.vectorize(math.erf, otypes="d")))
    cupy = Namespace(
        "cupy",
        np,
        ndarray=ndarray,
        where=where,
        cuda=device,
        linalg=Namespace("cupy.linalg", np.linalg),
        lib=SimpleNamespace(stride_tricks=tricks),
    )
    packages = {name: types.ModuleType(name) for name in ("cupyx", "cupyx.scipy")}
    return {"cupy": cupy, **packages, "cupyx.scipy.special": special}


def on_reference(name: str, function):
    """The kernel for the stub: the reference instead of a kernel that needs a real device."""
    if ".cuda" not in getattr(function, "__module__", ""):
        return function
    stand_in = getattr(reference, name)

    @functools.wraps(stand_in)
    def kernel(*arguments, **static):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Library, "in_kernel", True)
            return stand_in(*arguments, **static)

    return kernel


@contextmanager
def installed() -> Iterator[None]:
    """Context in which `import cupy` gives the stub, the device "cuda" can be used, and `WAITS` is empty at first."""
    with pytest.MonkeyPatch.context() as patch, dispatch.wrapped(on_reference):
        for name, module in modules().items():
            patch.setitem(sys.modules, name, module)
        _forget()
        try:
            assert device.gpu_problem() is None  # its probe waits
            WAITS.clear()
            yield
        finally:
            _forget()


def _forget() -> None:
    """Clear what was found out about the GPU, and `WAITS`."""
    device.gpu_problem.cache_clear()
    WAITS.clear()
