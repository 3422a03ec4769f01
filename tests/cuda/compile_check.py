"""Compile every CUDA kernel for every architecture, without a GPU: `python -m tests.cuda.compile_check`.

It prints the registers and memory of each kernel, and fails if one does not compile or spills registers. NVRTC comes
with the extra `compile-check`.
"""

import ctypes
import itertools
import os
import re
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, files

from tinygen.kernels import cuda  # noqa: F401, declares the sources
from tinygen.kernels.cuda.runtime import OPTIONS, Source

ARCHITECTURES = (75, 80, 90, 100, 120)
AS_CUPY = "-ftz=true", "--device-as-default-execution-space"  # options that CuPy adds
USAGE = re.compile(
    r"entry function '(?P<name>\S+)' for.*?(?P<stack>\d+) bytes stack frame, (?P<stores>\d+) bytes spill stores, "
    r"(?P<loads>\d+) bytes spill loads.*?Used (?P<registers>\d+) registers(?:[^\n]*?(?P<shared>\d+) bytes smem)?",
    re.DOTALL,
)


@dataclass(frozen=True)
class Usage:
    """Resources of a kernel on an architecture: `shared` in bytes a block, `spilled` and `stack` in bytes a thread."""

    kernel: str
    architecture: int
    registers: int
    shared: int
    spilled: int
    stack: int

    def __str__(self):
        return f"{self.registers}/{self.shared}" + (f"+{self.stack}" if self.stack else "")


def nvrtc() -> ctypes.CDLL:
    """The library of the package nvidia-cuda-nvrtc."""
    try:
        every = files("nvidia-cuda-nvrtc")
    except PackageNotFoundError:
        sys.exit('NVRTC is not installed: pip install -e ".[compile-check]"')
    libraries = [path for path in every if re.fullmatch(r"libnvrtc\.so\.\d+", path.name)]
    return ctypes.CDLL(str(libraries[0].locate()))


def compile_source(text: str, names: tuple[str, ...], architecture: int) -> tuple[str, dict[str, str]]:
    """The compiler's log, and the kernels' names by their mangled names in it. RuntimeError with the log on failure."""
    library, program = nvrtc(), ctypes.c_void_p()
    options = [option.encode() for option in (f"-arch=sm_{architecture}", *OPTIONS, *AS_CUPY, "--ptxas-options=-v")]
    library.nvrtcCreateProgram(ctypes.byref(program), text.encode(), b"kernels", 0, None, None)
    for name in names:
        library.nvrtcAddNameExpression(program, name.encode())
    failed = library.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*options))
    size = ctypes.c_size_t()
    library.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    library.nvrtcGetProgramLog(program, log)
    if failed:
        raise RuntimeError(log.value.decode())
    name_of_lowered, mangled = {}, ctypes.c_char_p()
    for name in names:
        library.nvrtcGetLoweredName(program, name.encode(), ctypes.byref(mangled))
        name_of_lowered[mangled.value.decode()] = name
    return log.value.decode(), name_of_lowered


def check(job: tuple[Source, int]) -> list[Usage] | str:
    """The resources of a source's kernels on an architecture, or a message why they do not compile."""
    source, architecture = job
    try:
        log, names = compile_source(source.text, source.names, architecture)
    except RuntimeError as error:
        return f"{source.file} for sm_{architecture}: {error}"
    usages = [
        Usage(
            names[m["name"]],
            architecture,
            int(m["registers"]),
            int(m["shared"] or 0),
            int(m["stores"]) + int(m["loads"]),
            int(m["stack"]),
        )
        for m in USAGE.finditer(log)
    ]
    missing = set(names.values()) - {usage.kernel for usage in usages}
    return f"{source.file} for sm_{architecture}: the log lacks {missing}\n{log}" if missing else usages


def main() -> int:
    """Print a row for each kernel; return 1 if there is an error or a spill, else 0."""
    started = time.perf_counter()
    jobs = [pair for pair in itertools.product(Source.every, ARCHITECTURES) if pair[1] >= pair[0].architecture]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        results = list(pool.map(check, jobs))
    errors = [result for result in results if isinstance(result, str)]
    usages = sorted((u for result in results if not isinstance(result, str) for u in result), key=lambda u: u.kernel)
    print(f"{'registers / shared memory + stack':44}", *(f"{f'sm_{a}':>10}" for a in ARCHITECTURES))
    for kernel, group in itertools.groupby(usages, key=lambda u: u.kernel):
        cells = {usage.architecture: str(usage) for usage in group}
        print(f"{kernel:44}", *(f"{cells.get(a, ''):>10}" for a in ARCHITECTURES))
    faults = [f"{u.kernel} for sm_{u.architecture} spills {u.spilled} bytes" for u in usages if u.spilled]
    print(*errors, *faults, sep="\n", end="\n" if errors or faults else "")
    kernels = len({u.kernel for u in usages})
    print(
        f"{kernels} kernels, {len(usages)} binaries, {len(errors)} errors, {len(faults)} spills, "
        f"{time.perf_counter() - started:.0f} s"
    )
    return int(bool(errors or faults or not usages))


if __name__ == "__main__":
    sys.exit(main())
