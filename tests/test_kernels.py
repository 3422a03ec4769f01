"""Every numba kernel against its reference, and what happens where numba or its cache folder is missing."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tinygen import kernels
from tinygen.backend import dispatch, kernel
from tinygen.errors import UsageError
from tinygen.kernels import cores, reference

cpu = pytest.importorskip("tinygen.kernels.cpu", reason="needs numba")

SIZES = (0, 1, 7, 130, 1025)
SCALARS = (0.7, 1.3, 0.1, 0.9, 0.99, 1.7, 1e-3, 0.2, 0.95)  # all different, none a power of two


def _buffers(rng, n, dtype, count):
    return [rng.standard_normal(n).astype(dtype) for _ in range(count)]


def _adam(rng, n, dtype):
    parameter, gradient, mean, square = _buffers(rng, n, dtype, 4)
    return parameter, [gradient], mean, square**2, np.array(SCALARS, dtype)


def _sgd(rng, n, dtype):
    parameter, gradient, velocity = _buffers(rng, n, dtype, 3)
    return parameter, [gradient], velocity, np.array(SCALARS[:6], dtype)


def _rmsprop(rng, n, dtype):
    parameter, gradient, square = _buffers(rng, n, dtype, 3)
    return parameter, [gradient], square**2, np.array(SCALARS[:6], dtype)


def _erf(rng, n, dtype):
    return (np.concatenate([3 * rng.standard_normal(n - n // 3), 20 * rng.standard_normal(n // 3)]).astype(dtype),)


ARGUMENTS = {"adam": _adam, "erf": _erf, "rmsprop": _rmsprop, "sgd": _sgd}
EXACT = {"philox": [(0, 0, 0, n) for n in SIZES] + [(0xFFFFFFFF, 7, (3 << 64) + 2**64 - 5, n) for n in SIZES]}


def called(room, name, arguments):
    """What a kernel returns, and what it leaves in its arguments."""
    arguments = [np.copy(a) if isinstance(a, np.ndarray) else a for a in arguments]
    result = getattr(room, name)(*arguments)
    outputs = [] if result is None else [result]
    return outputs + [a for a in arguments if isinstance(a, np.ndarray)]


def test_every_kernel_is_compared_and_has_a_reference():
    assert set(ARGUMENTS) | set(EXACT) == set(cpu.KERNELS) <= set(reference.__all__)
    for name, function in cpu.KERNELS.items():
        assert kernel(name, "cpu") is function is not getattr(reference, name)
    assert kernel("conv2d", "cpu") is cpu.KERNELS.get("conv2d", reference.conv2d)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("name", ARGUMENTS)
def test_kernel_equals_reference(name, n, dtype):
    arguments = ARGUMENTS[name](np.random.default_rng(n), n, dtype)
    tolerance = 8 * np.finfo(dtype).eps
    for fast, slow in zip(called(cpu, name, arguments), called(reference, name, arguments), strict=True):
        assert (fast.dtype, fast.shape) == (slow.dtype, slow.shape) == (np.dtype(dtype), slow.shape)
        np.testing.assert_allclose(fast, slow, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("name", "arguments"), [(name, a) for name, cases in EXACT.items() for a in cases])
def test_whole_numbers_are_the_same_to_the_bit(name, arguments):
    (fast,), (slow,) = called(cpu, name, arguments), called(reference, name, arguments)
    assert fast.dtype == slow.dtype
    np.testing.assert_array_equal(fast, slow)


@pytest.mark.parametrize("shape", [(), (3, 1, 5), (2, 0)])
def test_erf_takes_any_shape_and_layout(shape):
    x = np.random.default_rng(0).standard_normal((*shape, 2))[..., 0].T
    x.flags.writeable = False
    fast = cpu.erf(x)
    assert fast.shape == x.shape
    np.testing.assert_allclose(fast, reference.erf(x), rtol=1e-15)


def test_an_update_stays_inside_its_slice():
    """Optimisers hand over parts of their flat buffers."""
    parameter, (gradient,), mean, square, scalars = _adam(np.random.default_rng(0), 20, "float32")
    buffers, untouched = (parameter, mean, square), [b.copy() for b in (parameter, mean, square)]
    cpu.adam(parameter[5:12], [gradient[:4], gradient[4:7]], mean[5:12], square[5:12], scalars)
    for after, before in zip(buffers, untouched, strict=True):
        assert (after[:5] == before[:5]).all()
        assert (after[12:] == before[12:]).all()
        assert (after[5:12] != before[5:12]).all()


# A cache folder that cannot be written, and no numba at all

PROGRAM = """
import numpy as np
from kernels import cpu, reference
x = np.linspace(-2, 2, 9, dtype=np.float32)
np.testing.assert_allclose(cpu.erf(x), reference.erf(x), rtol=1e-6)
"""


def run_a_copy(folder: Path, **environment) -> None:
    """Run the kernels from a copy, in a process of its own."""
    shutil.copytree(Path(reference.__file__).parent, folder / "kernels", ignore=shutil.ignore_patterns("__pycache__"))
    run_again(folder, **environment)


def run_again(folder: Path, **environment) -> None:
    """Run the kernels of a copy."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("NUMBA_", "XDG_"))}
    environment = {**kept, "PYTHONDONTWRITEBYTECODE": "1", **environment}
    for name in environment.pop("blocked", "").split():  # a file where a folder would be made
        (folder / name).write_text("")
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=folder, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def compiled(folder: Path) -> list[Path]:
    return sorted(folder.rglob("elementwise._erf-*.nbc"))


def test_compiled_code_is_kept_between_processes_and_never_stale(tmp_path):
    caches, copy = tmp_path / "caches", tmp_path / "copy"
    run_a_copy(copy, XDG_CACHE_HOME=str(caches))
    (first,) = compiled(caches)
    assert not compiled(copy), "nothing is left beside the sources"
    written = first.stat().st_mtime_ns
    run_again(copy, XDG_CACHE_HOME=str(caches))
    assert [file.stat().st_mtime_ns for file in compiled(caches)] == [written]
    with (copy / "kernels" / "cpu" / "jit.py").open("a") as source:
        source.write("# changed\n")
    run_again(copy, XDG_CACHE_HOME=str(caches))
    assert len(compiled(caches)) == 2


def test_folders_that_cannot_be_written_are_survived(tmp_path):
    nowhere = str(tmp_path / "kernels" / "geometry.py" / "cache")
    run_a_copy(tmp_path, HOME=nowhere, XDG_CACHE_HOME=nowhere, blocked="kernels/__pycache__ kernels/cpu/__pycache__")
    assert not list(tmp_path.rglob("*.nb?"))


@pytest.fixture
def undecided(monkeypatch):
    """Kernels and the number of threads are chosen anew in this test, and again after it."""
    caches = (dispatch.kernel, dispatch._cpu_kernels, cores.thread_count)
    for cache in caches:
        cache.cache_clear()
    monkeypatch.delattr(kernels, "cpu")
    yield
    for cache in caches:
        cache.cache_clear()


@pytest.mark.parametrize("why", ["numba cannot be imported", "numba's JIT is disabled"])
def test_without_numba_the_reference_serves_and_says_so_once(why, undecided, monkeypatch, capsys):
    if "import" in why:
        monkeypatch.setitem(sys.modules, "numba", None)
    else:
        monkeypatch.setattr("numba.config.DISABLE_JIT", 1)
    assert kernel("adam", "cpu") is reference.adam
    assert kernel("philox", "cpu") is reference.philox
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert why in told


def test_an_error_in_the_kernels_is_not_taken_for_a_missing_numba(undecided, monkeypatch):
    monkeypatch.setitem(sys.modules, "tinygen.kernels.cpu", None)
    with pytest.raises(ImportError, match=r"tinygen\.kernels\.cpu"):
        kernel("adam", "cpu")


def test_a_number_of_threads_that_is_none_is_refused_in_one_line(undecided, monkeypatch):
    monkeypatch.setenv("TINYGEN_THREADS", "two")
    with pytest.raises(UsageError, match=r"^TINYGEN_THREADS is 'two'; it must be a whole number of at least 1$"):
        kernel("adam", "cpu")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rule", [reference.adam, cpu.KERNELS["adam"]], ids=["reference", "numba"])
def test_a_state_that_fades_ends_at_zero(rule, dtype):
    """A gradient that stays zero leaves no denormal numbers behind: they would slow every later step."""
    parameter, gradient, mean, square = (np.full(5, value, dtype) for value in (1, 0, 1e-3, 1e-3))
    scalars = np.array([1, np.inf, 1e-3, 0.5, 0.5, 1, 1e-8, 0, 1], dtype)
    for _ in range(1100):
        rule(parameter, [gradient], mean, square, scalars)
        for state in (mean, square):
            assert ((state == 0) | (np.abs(state) >= np.finfo(dtype).tiny)).all()
    assert not mean.any()
    assert not square.any()
