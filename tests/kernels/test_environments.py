"""Kernels on other processors, without numba, without a cache folder: each in a process of its own."""

import platform
import shutil
import sys
from pathlib import Path

import pytest

from tests.kernels.processes import COMPILING, finish, run, start
from tinygen import kernels
from tinygen.backend import dispatch
from tinygen.kernels import reference

pytest.importorskip("tinygen.kernels.cpu", reason="needs numba")
from tinygen.kernels.cpu import target

# Processors, and none that numba compiles for

COMPARE = """
{first}
from tests.kernels.calls import CONVOLUTIONS, calls, fast, matrix_products, slow

for name in "winograd", "winograd, stride 2", "direct", "narrow", "one channel", "masked":
    for call in CONVOLUTIONS[name].calls():
        call.compare()
for call in (*matrix_products(13, 21, 37), *calls()):
    if call.name in ("matmul", "column_sums", "philox"):
        call.compare()
if fast("conv2d") is not slow("conv2d"):
    from tinygen.kernels.cpu import target
    print(target.WIDTH, end="")
"""
NO_JIT = "tinygen: numba's JIT is disabled, so plain NumPy kernels are used (slower)\n"
NO_NUMBA = "tinygen: numba cannot be imported, so plain NumPy kernels are used (slower)\n"
AVX2 = "+sse,+sse2,+sse3,+ssse3,+sse4.1,+sse4.2,+popcnt,+avx,+avx2,+fma,+bmi,+bmi2,+f16c"

# What is done first, what is set, what is told, and how many floats a vector has
ENVIRONMENTS = {
    "this one, one thread": ("", {"TINYGEN_THREADS": "1"}, "", str(target.WIDTH)),
    "numba told not to compile": ("", {"NUMBA_DISABLE_JIT": "1"}, NO_JIT, ""),
    "without numba": ("import sys; sys.modules['numba'] = None", {}, NO_NUMBA, ""),
    "AVX2": ("", {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": AVX2}, "", "8"),
    "SSE": ("", {"NUMBA_CPU_NAME": "x86-64", "NUMBA_CPU_FEATURES": "+sse,+sse2"}, "", "4"),
}
if platform.machine().lower() not in ("x86_64", "amd64"):
    del ENVIRONMENTS["SSE"]
if "avx2" not in target.FEATURES:
    del ENVIRONMENTS["AVX2"]


@pytest.fixture(scope="module")
def programs():
    """All at once: they compile for a while."""
    started = {name: start(COMPARE.format(first=first), **set_) for name, (first, set_, *_) in ENVIRONMENTS.items()}
    yield started
    for program in started.values():
        program.kill()


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_kernels_follow_their_reference(name, programs):
    _, _, told, width = ENVIRONMENTS[name]
    out, err = finish(programs[name])
    assert (out, err.replace(COMPILING, "")) == (width, told)


# The cache of compiled code

PROGRAM = """
import numpy as np
from kernels import cpu, reference

x = np.random.default_rng(0).standard_normal((3000, 7), np.float32)
np.testing.assert_allclose(cpu.exp(x[:5]), reference.exp(x[:5]), rtol=1e-6)
np.testing.assert_allclose(cpu.column_sums(x), reference.column_sums(x), atol=1e-3)
"""


@pytest.fixture
def copy(tmp_path):
    """A copy of the kernels."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(Path(reference.__file__).parent, tmp_path / "copy" / "kernels", ignore=ignored)
    return tmp_path / "copy"


def told(folder: Path, **environment: str) -> str:
    """What is said on stderr when the kernels of a copy run."""
    out, err = run(PROGRAM, folder, PYTHONDONTWRITEBYTECODE="1", **environment)
    assert not out
    return err


def compiled(folder: Path) -> list[Path]:
    return sorted(folder.rglob("activations._column_sums-*.nbc"))


def test_compiled_code_is_kept_between_processes_and_never_stale(copy, tmp_path):
    """That it is compiled is told once, where it is."""
    caches = tmp_path / "caches"
    assert told(copy, XDG_CACHE_HOME=str(caches)) == COMPILING
    (first,) = compiled(caches)
    assert not compiled(copy), "nothing is left beside the sources"
    written = first.stat().st_mtime_ns
    assert told(copy, XDG_CACHE_HOME=str(caches)) == ""
    assert [file.stat().st_mtime_ns for file in compiled(caches)] == [written]
    with (copy / "kernels" / "geometry.py").open("a") as source:
        source.write("# changed\n")
    assert told(copy, XDG_CACHE_HOME=str(caches)) == COMPILING
    assert len(compiled(caches)) == 2


@pytest.mark.parametrize("kind", ["*.nbc", "*.nbi"])
def test_damaged_files_are_made_anew(kind, copy, tmp_path):
    """As a power failure may leave them."""
    caches = tmp_path / "caches"
    assert told(copy, XDG_CACHE_HOME=str(caches)) == COMPILING
    for file in caches.rglob(kind):
        file.write_bytes(file.read_bytes()[:40])
    assert told(copy, XDG_CACHE_HOME=str(caches)) == COMPILING
    assert told(copy, XDG_CACHE_HOME=str(caches)) == ""


def test_folders_that_cannot_be_written_are_survived(copy):
    """Files stand where folders would be made: for the superuser too, who may write everywhere."""
    for folder in ("kernels", "kernels/cpu"):
        (copy / folder / "__pycache__").touch()
    nowhere = str(copy / "kernels" / "geometry.py" / "cache")
    assert told(copy, HOME=nowhere, XDG_CACHE_HOME=nowhere) == COMPILING
    assert not list(copy.rglob("*.nb?"))


# Which kernels serve


@pytest.fixture
def undecided(monkeypatch):
    """Kernels are chosen anew in this test, and again after it."""
    caches = dispatch.kernel, dispatch._cpu_kernels
    for cache in caches:
        cache.cache_clear()
    monkeypatch.delattr(kernels, "cpu")
    yield
    for cache in caches:
        cache.cache_clear()


def test_an_error_in_the_kernels_is_not_taken_for_a_missing_numba(undecided, monkeypatch):
    monkeypatch.setitem(sys.modules, "tinygen.kernels.cpu", None)
    with pytest.raises(ImportError, match=r"tinygen\.kernels\.cpu"):
        dispatch.kernel("conv2d", "cpu")


@pytest.mark.parametrize("why", [NO_NUMBA, NO_JIT], ids=["no numba", "no compilation"])
def test_without_numba_the_reference_serves_and_says_so_once(why, undecided, monkeypatch, capsys):
    if why == NO_NUMBA:
        monkeypatch.setitem(sys.modules, "numba", None)
    else:
        monkeypatch.setattr("numba.config.DISABLE_JIT", 1)
    for name in ("conv2d", "adam", "philox"):
        assert dispatch.kernel(name, "cpu") is getattr(reference, name)
    assert capsys.readouterr().err == why
