"""The module between launchers and CuPy: sources, launches, and the choice of a precision."""

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from tests.cuda.emulator.stand_in import Emulator
from tests.kernels.processes import ROOT
from tinygen.kernels.cuda import KERNELS, runtime

SCALE = """
#include "factor.cuh"
template <int n>
__global__ void scale(float* x, int count)
{
    DYNAMIC_SHARED(float, tile);
    tile[threadIdx.x] = x[threadIdx.x];
    if (threadIdx.x < count) x[threadIdx.x] = n * FACTOR * tile[threadIdx.x];
}
"""


@pytest.fixture
def source(emulated, tmp_path, monkeypatch) -> runtime.Source:
    """A source in a temporary folder."""
    emulated("ascending")
    (tmp_path / "scale.cu").write_text(SCALE)
    (tmp_path / "factor.cuh").write_text("#pragma once\n#define FACTOR 10\n")
    monkeypatch.setattr(runtime, "FOLDER", tmp_path)
    monkeypatch.setattr(runtime.Source, "every", [])
    return runtime.Source("scale.cu", "scale<2>", "scale<3>")


def numbers(count: int = 4):
    return runtime.cupy().asarray(np.arange(count, dtype=np.float32))


def test_a_kernel_is_launched(source):
    x = numbers()
    source["scale<3>"]([1], [4], [x, np.int32(3)], 16)
    assert x.tolist() == [0, 30, 60, 3]


def test_a_kernel_is_compiled_once(source, monkeypatch):
    compiled = []
    original = Emulator.RawModule
    monkeypatch.setattr(
        Emulator,
        "RawModule",
        lambda *given, **named: compiled.append(named["name_expressions"]) or original(*given, **named),
    )
    for name in ("scale<3>", "scale<2>", "scale<3>"):
        source[name]((1,), (4,), (numbers(), np.int32(3)), 16)
    assert compiled == [("scale<3>",), ("scale<2>",)]


def test_a_launch_may_use_more_shared_memory_than_the_default_limit(source):
    x = numbers()
    source["scale<2>"]((1,), (4,), (x, np.int32(4)), 60_000)
    source["scale<2>"]((1,), (4,), (x, np.int32(4)), 16)
    assert x.tolist() == [0, 400, 800, 1200]


REFUSED = {
    "of type int: pass an array of CuPy, np.int32": lambda: (numbers(), 3),
    "of type float": lambda: (numbers(), 3.0),
    "argument 0 is of type ndarray": lambda: (np.zeros(4, np.float32), np.int32(3)),
    "argument 0 is an array that is not C-contiguous": lambda: (numbers(8)[::2], np.int32(3)),
}


@pytest.mark.parametrize("message", REFUSED)
def test_arguments_that_cupy_would_misread_are_refused(source, message):
    with pytest.raises((TypeError, ValueError), match=message):
        source["scale<2>"]((1,), (4,), REFUSED[message](), 16)


def test_an_array_of_another_device_is_refused(source):
    class Elsewhere(Emulator.ndarray):
        device = SimpleNamespace(id=1)

    with pytest.raises(ValueError, match="scale<2>: argument 0 lies on device 1, the current one is 0"):
        source["scale<2>"]((1,), (4,), (numbers().view(Elsewhere), np.int32(4)), 16)


def test_arrays_of_several_float_types_are_left_to_the_reference(emulated):
    """A kernel would read the numbers of the second one as pairs of float32."""
    emulated("ascending")
    x, target = numbers(), runtime.cupy().asarray(np.linspace(0, 1, 4))
    y, _ = KERNELS["binary_cross_entropy_with_logits"](x, target)
    np.testing.assert_allclose(y, np.logaddexp(0, np.arange(4)) - np.arange(4) * np.linspace(0, 1, 4), rtol=1e-6)


def test_tables_are_on_the_device_before_any_stream_reads_them(emulated, monkeypatch):
    emulated("ascending")
    waits = []
    stream = SimpleNamespace(synchronize=lambda: waits.append("synchronize"))
    monkeypatch.setattr(runtime.cupy().cuda, "get_current_stream", lambda: stream)
    np.testing.assert_array_equal(runtime.upload(np.arange(3)), [0, 1, 2])
    assert waits == ["synchronize"]


def test_a_kernel_that_is_not_declared_is_refused(source):
    with pytest.raises(KeyError, match=r"scale\.cu is not declared to hold a kernel 'scale<4>'"):
        source["scale<4>"]((1,), (4,), ())


def test_an_unknown_precision_is_refused():
    with pytest.raises(ValueError, match="unknown precision 'half': use one of 'float32', 'tf32', 'bfloat16'"):
        runtime.set_precision("half")
    assert runtime.precision() == "float32"


def test_importing_the_launchers_imports_no_cupy():
    code = "import sys, tinygen.kernels.cuda; sys.exit('cupy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
