"""The stub of CuPy behaves like CuPy where that differs from NumPy, so that tests on the stub are meaningful."""

import operator
import sys

import numpy as np
import pytest

from tests.cupy_stub.array import API, WAITS, ndarray
from tests.cupy_stub.module import installed
from tinygen import backend


@pytest.fixture
def cupy():
    with installed():
        yield sys.modules["cupy"]


@pytest.fixture
def x(cupy):
    return cupy.asarray(np.arange(6, dtype=np.float32).reshape(2, 3))


HOST = np.ones((2, 3), np.float32)
REFUSED = {
    "a NumPy array on the right": lambda cp, x: x + HOST,
    "a NumPy array on the left": lambda cp, x: HOST * x,
    "a NumPy array without axes": lambda cp, x: x * np.asarray(1.0),
    "a NumPy array in place": lambda cp, x: x.__iadd__(HOST),
    "a NumPy array compared": lambda cp, x: operator.lt(HOST, x),
    "a NumPy array in a function": lambda cp, x: cp.maximum(x, HOST),
    "a NumPy array in a list": lambda cp, x: cp.concatenate([x, HOST]),
    "a NumPy array in a method": lambda cp, x: x.clip(0, HOST),
    "a NumPy array assigned": lambda cp, x: x.__setitem__(..., HOST),
    "a ufunc of NumPy's": lambda cp, x: np.sqrt(x),
    "a function of NumPy's": lambda cp, x: np.concatenate([x]),
    "a reduction of NumPy's": lambda cp, x: np.sum(x),
    "a conversion": lambda cp, x: np.asarray(x),
    "an assignment to NumPy": lambda cp, x: HOST.copy().__setitem__(..., x),
    "a keyword of NumPy's function": lambda cp, x: cp.sum(x, where=x > 0),
    "a keyword of NumPy's method": lambda cp, x: x.sum(initial=1),
    "a keyword of NumPy's ufunc": lambda cp, x: cp.exp(x, order="C"),
    "a keyword that CuPy's function refuses itself": lambda cp, x: cp.einsum("ij->ji", x, order="C"),
    "an output of a lesser dtype": lambda cp, x: cp.add(x, 1.0, out=cp.zeros((2, 3), "int32")),
    "a lesser dtype in place": lambda cp, x: cp.zeros((2, 3), "int32").__iadd__(x),
    "a type without a loop": lambda cp, x: x << 1,
    "an atomic sum of int64": lambda cp, x: cp.add.at(cp.zeros(3, "int64"), cp.asarray([0, 0]), 1),
}


@pytest.mark.parametrize("what", REFUSED)
def test_the_stub_refuses_what_cupy_refuses(what, cupy, x):
    with pytest.raises(TypeError):
        REFUSED[what](cupy, x)


def test_the_stub_lacks_what_cupy_lacks(cupy, x):
    for name in ("frompyfunc", "random_integers", "array_split_"):
        assert not hasattr(cupy, name)
    for name in ("ctypes", "newbyteorder", "itemset", "setflags"):
        assert not hasattr(x, name)
    with pytest.raises(AttributeError):
        cupy.where(True, x, x)  # its condition must be an array
    with pytest.raises(ValueError, match="mismatched"):
        cupy.add(x, 1, out=cupy.zeros((1, 2, 3), "float32"))
    for call in (lambda: cupy.exp.at(x, 0, 1), lambda: cupy.RawModule, lambda: cupy.random, lambda: x.data):
        with pytest.raises(NotImplementedError):
            call()


def test_the_stub_offers_no_more_than_cupy(cupy):
    names = {*API["methods"], *API["attributes"], *API["operators"], "_host", "__weakref__"}
    assert set(vars(ndarray)) <= names | {"__getattr__"}  # which stands for what is refused
    members = {f"cupy.{name}" for name in vars(cupy) if not name.startswith("_") and name != "numpy"}
    assert members <= {*API["functions"], *API["others"]}


@pytest.mark.parametrize(
    ("operand", "dtype"),
    [(2, "float32"), (2.0, "float32"), (np.float32(2), "float32"), (np.float64(2), "float64"), (True, "float32")],
)
def test_scalars_promote_as_in_cupy(x, operand, dtype):
    for y in (x * operand, operand * x):
        assert type(y) is ndarray
        assert y.dtype == dtype


def test_results_have_the_types_of_cupys_loops(cupy, x):
    integers = cupy.arange(3)
    assert (integers * 2.0).dtype == (integers / 2).dtype == "float64"
    assert (integers > 1).dtype == bool
    assert (x * (x > 1)).dtype == "float32"
    assert cupy.where(x > 1, 1.0, x).dtype == "float32"
    assert cupy.where(x > 1, 1.0, 0.0).dtype == "float64"


def test_scalars_are_arrays_parts_are_views_and_transfers_are_copies(cupy, x):
    for y in (x.sum(), x[1, 2], x[0].max(), cupy.zeros(()) + 1, -x[0, 0]):
        assert type(y) is ndarray
        assert y.shape == ()
    x[1, 2][...] = 9
    assert backend.to_numpy(x)[1, 2] == 9
    host = HOST.copy()
    on_gpu = cupy.asarray(host)
    on_gpu += 1
    assert (host == 1).all()
    back = on_gpu.get()
    back += 1
    assert (on_gpu.get() == 2).all()


def test_new_memory_is_nan(cupy):
    assert np.isnan(cupy.empty(3, "float32").get()).all()


def test_calls_that_wait_for_the_device_are_recorded(cupy, x):
    assert bool(x[0, 1]) and int(x[0, 1]) == float(x[0, 1]) == x[0, 1].item() == 1
    x.get(), x.tolist(), x[x > 1], x.nonzero(), repr(x)
    cupy.cuda.get_current_stream().synchronize()
    assert " ".join(WAITS) == "bool int float item get tolist mask nonzero repr synchronize"
    WAITS.clear()
    x[cupy.asarray([1, 0])], x[::2], x + 1, x.sum(), cupy.exp(x), x.astype("float64"), x[0] == x[1]
    assert not WAITS
