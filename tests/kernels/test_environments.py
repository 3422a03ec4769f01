"""Kernels for other processors, without numba and with various cache folders, in separate processes."""

import functools
import os
import platform
import shutil
import sys
from pathlib import Path

import pytest

from tests.kernels.processes import finish, run, start
from tinygen import kernels
from tinygen.backend import dispatch
from tinygen.kernels import choice, reference

pytest.importorskip("tinygen.kernels.cpu", reason="needs numba")
from numba import types

from tinygen.kernels.cpu import jit, target

# Processors, and environments without compilation

COMPARE = """
{first}
from tests.kernels.calls import CONVOLUTIONS, calls, cpu_kernel, matrix_products, reference_kernel

for name in "winograd", "winograd, stride 2", "direct", "narrow", "one channel", "masked":
    for call in CONVOLUTIONS[name].calls():
        call.compare()
for call in (*matrix_products(13, 21, 37), *calls()):
    if call.name in ("matmul", "sum_over", "philox"):
        call.compare()
if cpu_kernel("conv2d") is not reference_kernel("conv2d"):
    from tinygen.kernels.cpu import jit, target
    print(target.WIDTH, end="")
"""
NO_JIT = "tinygen: note: numba's JIT is disabled, so plain NumPy kernels are used (slower)\n"
NO_NUMBA = "tinygen: note: numba cannot be imported, so plain NumPy kernels are used (slower)\n"
UNFIT_NUMBA = (
    "tinygen: note: numba cannot be imported (OSError: no library), so plain NumPy kernels are used (slower)\n"
)
AVX2 = "+sse,+sse2,+sse3,+ssse3,+sse4.1,+sse4.2,+popcnt,+avx,+avx2,+fma,+bmi,+bmi2,+f16c"

# Code that runs first, environment variables, expected notice, floats in a vector
ENVIRONMENTS = {
    "this one, one thread": ("", {"TINYGEN_THREADS": "1"}, "", str(target.WIDTH)),
    "numba's JIT disabled": ("", {"NUMBA_DISABLE_JIT": "1"}, NO_JIT, ""),
    "without numba": ("import sys; sys.modules['numba'] = None", {}, NO_NUMBA, ""),
    "AVX2": ("", {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": AVX2}, "", "8"),
    "SSE": ("", {"NUMBA_CPU_NAME": "x86-64", "NUMBA_CPU_FEATURES": "+sse,+sse2"}, "", "4"),
}
if platform.machine().lower() not in ("x86_64", "amd64"):
    del ENVIRONMENTS["SSE"]
if "avx2" not in target.FEATURES:
    del ENVIRONMENTS["AVX2"]


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow if name in ("AVX2", "SSE") else ()) for name in ENVIRONMENTS],
)
def test_kernels_match_their_reference(name):
    first, set_, message, width = ENVIRONMENTS[name]
    assert run(COMPARE.format(first=first), **set_) == (width, message)


# The cache of compiled code, and the notices about it at a terminal

PROGRAM = """
import numpy as np
from kernels import cpu, reference
from kernels.cpu.tile import product_rows

x = np.random.default_rng(0).standard_normal((30_000, 7), np.float32)
np.testing.assert_allclose(cpu.KERNELS["exp"](x[:5]), reference.exp(x[:5]), rtol=1e-6)
np.testing.assert_allclose(cpu.KERNELS["sum_over"](x, (0,)), reference.sum_over(x, (0,)), atol=1e-3)
assert product_rows(1, 1, False, False) != product_rows(2, 1, False, False)
"""
POOL = ["pool.alone", "pool.help_until_stopped", "pool.launch", "pool.pauses", "pool.stop_helpers"]
FUNCTIONS = ["sums._columns", "elementwise.exp", *POOL, "tile.rows", "tile.rows"]
COMPILING = "tinygen: note: compiling kernels for this "


def copy_of_kernels(folder: Path) -> Path:
    """A folder with a copy of the kernels."""
    shutil.copytree(Path(reference.__file__).parent, folder / "kernels", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def start_program(folder: Path, caches: Path, **environment):
    """Start PROGRAM with a copy of the kernels and a folder of caches."""
    settings = {"PYTHONDONTWRITEBYTECODE": "1", "XDG_CACHE_HOME": str(caches), "TINYGEN_THREADS": "1", **environment}
    return start(PROGRAM, folder, **settings)


def printed_at_terminal(folder: Path, caches: Path, **environment) -> str:
    """The text that PROGRAM prints on stderr where that is a terminal."""
    ours, theirs = os.openpty()
    with open(ours, "rb", buffering=0) as terminal, open(theirs, "wb", buffering=0) as stderr:
        finish(start_program(folder, caches, stderr=stderr, **environment))
        stderr.write(b"end")
        text = b""
        while not text.endswith(b"end"):
            text += terminal.read(1 << 16)
    return text.decode().removesuffix("end")


def compiled_files(caches: Path) -> dict[str, int]:
    """The files of compiled code, with their times of modification in ns."""
    return {str(file.relative_to(caches)): file.stat().st_mtime_ns for file in caches.rglob("*.nb?")}


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A copy of the kernels, the cache that PROGRAM has filled, and the notice at its terminal."""
    folder = tmp_path_factory.mktemp("filled")
    return copy_of_kernels(folder / "copy"), folder / "caches", printed_at_terminal(folder / "copy", folder / "caches")


def test_compiled_code_is_kept_between_processes(filled):
    copy, caches, notice = filled
    assert notice.startswith(f"{COMPILING}processor; later runs find them compiled")
    assert notice.count("\n") == 1
    before = compiled_files(caches)
    assert sorted(file.split("/")[2].rpartition("-")[0] for file in before) == sorted(2 * FUNCTIONS)
    assert not compiled_files(copy), "nothing is left beside the sources"
    assert printed_at_terminal(copy, caches) == ""
    assert compiled_files(caches) == before


def test_changed_sources_are_compiled_again_also_in_a_cache_folder_that_the_user_chose(filled, tmp_path):
    _, caches, _ = filled
    copy = copy_of_kernels(tmp_path / "copy")
    with (copy / "kernels" / "geometry.py").open("a") as source:
        source.write("# changed\n")
    chosen, others = shutil.copytree(caches, tmp_path / "chosen"), tmp_path / "others"
    assert finish(start_program(copy, others, NUMBA_CACHE_DIR=str(chosen))) == ("", ""), (
        "no notice where stderr is no terminal"
    )
    assert len(compiled_files(chosen)) == 2 * len(compiled_files(caches))
    assert not compiled_files(others)


def test_processes_that_start_together_fill_one_cache(filled, tmp_path):
    """Each function is compiled once, and another process has nothing to compile."""
    copy, caches, _ = filled
    programs = [start_program(copy, tmp_path) for _ in range(3)]
    for program in programs:
        assert finish(program) == ("", "")
    after = compiled_files(tmp_path)
    assert set(after) <= set(compiled_files(caches))
    assert len(after) == 2 * len(FUNCTIONS)
    assert printed_at_terminal(copy, tmp_path) == ""
    assert compiled_files(tmp_path) == after


@pytest.mark.slow
def test_damaged_cache_files_are_replaced_and_others_kept(filled, tmp_path):
    """Truncated files, as after a power failure."""
    copy, caches, _ = filled
    shutil.copytree(caches, tmp_path, dirs_exist_ok=True)
    damaged = [next(tmp_path.rglob(pattern)) for pattern in ("sums*.nbc", "elementwise*.nbi")]
    for file in damaged:
        file.write_bytes(file.read_bytes()[:40])
    before = compiled_files(tmp_path)
    assert finish(start_program(copy, tmp_path)) == ("", "")
    after = compiled_files(tmp_path)
    changed = {tmp_path / file for file in after if after[file] != before[file]}
    assert {file.parent for file in changed} == {file.parent for file in damaged}
    assert len(changed) == 4
    assert printed_at_terminal(copy, tmp_path) == ""


@pytest.fixture
def one_folder(monkeypatch, tmp_path):
    """The folder of compiled code of functions that a test compiles, in a folder that the user chose."""
    monkeypatch.setattr(jit, "CHOSEN_FOLDER", str(tmp_path))
    monkeypatch.setattr(jit, "cache_folder", functools.cache(jit.cache_folder.__wrapped__))
    return tmp_path


def doubled(x):
    return 2 * x


def with_a_flipped_bit(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 4]) + data[middle + 1 :]


@pytest.mark.parametrize(
    "damage", [lambda b: b"", lambda b: b[:40], lambda b: b[: len(b) // 2], lambda b: b"x" * 99, with_a_flipped_bit]
)
@pytest.mark.parametrize("suffix", ["nbi", "nbc"])
def test_a_damaged_file_in_a_chosen_cache_is_healed(one_folder, damage, suffix):
    signature = types.int64(types.int64)
    assert jit.compiled(doubled, signature)(4) == 8
    (file,) = one_folder.rglob(f"*.{suffix}")
    intact = file.stat().st_size
    damaged = damage(file.read_bytes())
    file.write_bytes(damaged)
    assert jit.compiled(doubled, signature)(5) == 10
    (healed,) = one_folder.rglob(f"*.{suffix}")
    assert healed.stat().st_size == pytest.approx(intact, rel=0.1) and healed.read_bytes() != damaged
    before = compiled_files(one_folder)
    assert jit.compiled(doubled, signature)(6) == 12
    assert compiled_files(one_folder) == before


def test_an_unrelated_error_leaves_a_healthy_cache(one_folder):
    signature = types.int64(types.int64)
    jit.compiled(doubled, signature)
    before = compiled_files(one_folder)

    def fails(*_, **__):
        def decorate(function):
            raise MemoryError("not enough memory")

        return decorate

    with pytest.raises(MemoryError):
        jit._compile_or_load(fails, doubled, signature)
    with pytest.raises(Exception, match=r"resolution|No implementation|Cannot"):
        jit.compiled(doubled, types.int64(types.voidptr))
    assert compiled_files(one_folder) == before


@pytest.mark.slow
def test_kernels_run_uncached_if_the_cache_folder_cannot_be_written(filled, tmp_path):
    """A file in the place of the folder, which stops the superuser too."""
    copy, _, _ = filled
    (tmp_path / "file").touch()
    notice = printed_at_terminal(copy, tmp_path / "file")
    assert notice.startswith(f"{COMPILING}run alone, since {tmp_path}/file/tinygen/kernels-")
    assert notice.count("\n") == 1
    assert not compiled_files(copy)


def test_the_cache_folder_does_not_depend_on_numbas_setting_for_a_declaration(tmp_path):
    """The declaration of a function changes numba's setting, which other threads may read at that moment."""
    folder = jit.cache_folder()
    with jit._caching_in(tmp_path):
        assert jit.cache_folder.__wrapped__() == folder


def test_without_a_home_folder_nothing_is_written(monkeypatch, capsys):
    """A user may have no entry in the password file of a container; no folder called ~ is made then."""
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    monkeypatch.setattr(jit, "cache_folder", jit.cache_folder.__wrapped__)
    monkeypatch.setattr(jit, "explain_wait", print)
    double = jit.compiled(lambda x: 2 * x, types.int64(types.int64))
    assert double(4) == 8
    assert capsys.readouterr().out == "compiling kernels for this run alone, since the user has no home folder\n"


# Which kernels serve


@pytest.fixture
def kernels_not_yet_chosen(no_notices_yet, monkeypatch):
    """Let kernels be chosen again in this test and after it."""
    caches = dispatch.kernel, choice.kernel, choice.cpu_kernels
    for cache in caches:
        cache.cache_clear()
    monkeypatch.delattr(kernels, "cpu")
    yield
    for cache in caches:
        cache.cache_clear()


def test_an_error_in_the_kernels_is_not_taken_for_a_missing_numba(kernels_not_yet_chosen, monkeypatch):
    monkeypatch.setitem(sys.modules, "tinygen.kernels.cpu", None)
    with pytest.raises(ImportError, match=r"tinygen\.kernels\.cpu"):
        dispatch.kernel("conv2d", "cpu")


@pytest.mark.parametrize("why", [NO_NUMBA, NO_JIT, UNFIT_NUMBA], ids=["no numba", "no compilation", "unfit numba"])
def test_without_numba_the_reference_is_used_with_one_notice(
    why, kernels_not_yet_chosen, monkeypatch, capsys, tmp_path
):
    if why == NO_NUMBA:
        monkeypatch.setitem(sys.modules, "numba", None)
    elif why == NO_JIT:
        monkeypatch.setattr("numba.config.DISABLE_JIT", 1)
    else:
        (tmp_path / "numba.py").write_text("raise OSError('no\\nlibrary')")
        monkeypatch.delitem(sys.modules, "numba")
        monkeypatch.syspath_prepend(tmp_path)
    for name in ("conv2d", "adam", "philox"):
        assert dispatch.kernel(name, "cpu") is getattr(reference, name)
    assert capsys.readouterr().err == why
