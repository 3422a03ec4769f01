"""The texts of the CUDA sources: declared kernels, inline PTX, and includes."""

import re
from pathlib import Path

import pytest

from tests.cuda.emulator.build import HERE
from tinygen.kernels.cuda import runtime

FILES = sorted(path for pattern in ("*.cu", "*.cuh") for path in runtime.FOLDER.glob(pattern))
BOUNDS = re.compile(r"__launch_bounds__\(.*\)")
KERNEL = re.compile(r"__global__\s+void\s+(\w+)\(")
WRAPPER = re.compile(r"^(?:__device__ __forceinline__|inline) \w+ (\w+)\(|^void (\w+)\(", re.MULTILINE)


def kernels(path: Path) -> set[str]:
    """The names of the kernels in a file."""
    return set(KERNEL.findall(BOUNDS.sub("", path.read_text())))


@pytest.mark.parametrize("path", [path for path in FILES if path.suffix == ".cu"], ids=lambda path: path.name)
def test_every_kernel_is_declared(path):
    declared = {name.partition("<")[0] for s in runtime.Source.every if s.file == path.name for name in s.names}
    assert declared == kernels(path) != set()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_inline_ptx_is_in_one_header_only(path):
    assert ("asm" in path.read_text()) == (path.name == "ptx.cuh")


def test_every_wrapper_of_inline_ptx_exists_in_the_emulator():
    ours, twins = (
        {name for match in WRAPPER.findall(path.read_text()) for name in match if name}
        for path in (runtime.FOLDER / "ptx.cuh", HERE / "ptx.h")
    )
    assert ours and ours <= twins


def test_a_source_is_pasted_together_with_its_includes(monkeypatch, tmp_path):
    (tmp_path / "a.cu").write_text('#include "b.cuh"\n#include "c.cuh"\nint a;\n')
    (tmp_path / "b.cuh").write_text("#pragma once\nint b;\n")
    (tmp_path / "c.cuh").write_text('#pragma once\n#include "b.cuh"\nint c;\n')
    monkeypatch.setattr(runtime, "FOLDER", tmp_path)
    b = '#line 1 "b.cuh"\n\nint b;\n#line 2 "a.cu"\n'
    c = '#line 1 "c.cuh"\n\n\nint c;\n#line 3 "a.cu"\n'
    assert runtime.pasted("a.cu", set()) == '#line 1 "a.cu"\n' + b + c + "int a;"
