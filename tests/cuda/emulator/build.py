"""Compile with g++ what the emulator runs; results are cached in a temporary folder by a hash of all inputs."""

import ctypes
import functools
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

HERE = Path(__file__).parent
HEADERS = ("machine.h", "stacks.h", "races.h", "cuda.h", "ptx.h", "export.h")
COMPILER = os.environ.get("CXX", "g++")
FLAGS = ("-std=c++17", "-g1", "-w", "-shared", "-fPIC", "-fvisibility=hidden", "-ffp-contract=off", f"-I{HERE}")
INSTRUMENTED = {  # by what is checked; the machine is what ThreadSanitizer's calls find, in place of its own library
    None: (),
    "memory": ("-fsanitize=address,alignment,bounds", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"),
    "races": ("-fsanitize=thread", "-nodefaultlibs", "-lm", "-lc", "-lgcc"),
}

MACHINE_FLAGS = ("-O2",)

no_compiler = None
if not shutil.which(COMPILER) or not sys.platform.startswith("linux"):
    no_compiler = f"{COMPILER} on Linux is missing: the CUDA kernels were not run"


@functools.cache
def version() -> str:
    """The version of the compiler."""
    return subprocess.run([COMPILER, "-v"], capture_output=True, text=True, check=True).stderr


def sanitizer_environment() -> dict[str, str]:
    """The environment of a process that runs sanitized kernels: the sanitizers' libraries must come first."""
    libraries = [
        subprocess.run([COMPILER, f"-print-file-name={name}.so"], capture_output=True, text=True, check=True).stdout
        for name in ("libasan", "libubsan")
    ]
    return {
        **os.environ,
        "LD_PRELOAD": " ".join(library.strip() for library in libraries),
        "ASAN_OPTIONS": "detect_leaks=0:detect_stack_use_after_return=0",
        "OPENBLAS_NUM_THREADS": "1",
    }


def compiled(text: str, *flags: str) -> Path:
    """A shared object made of a C++ text. RuntimeError with the compiler's first errors."""
    command = [COMPILER, *FLAGS, "-x", "c++", "-", *flags]
    parts = [version(), *command, *((HERE / header).read_text() for header in HEADERS), text]
    key = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]
    folder = Path(tempfile.gettempdir()) / f"tinygen-cuda-emulator-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    target = folder / f"{key}.so"
    if not target.exists():
        unfinished = folder / f"{key}.{os.getpid()}.{threading.get_ident()}"
        done = subprocess.run([*command, "-o", unfinished], input=text, capture_output=True, text=True, check=False)
        if done.returncode:
            errors = [line for line in done.stderr.splitlines() if "error" in line]
            raise RuntimeError("\n".join(errors[:10]) or done.stderr[-2000:])
        unfinished.replace(target)
    return target


@functools.cache
def load_machine(check: str | None) -> ctypes.CDLL:
    """Load the machine, whose functions kernels call; there is one in a process."""
    flags = INSTRUMENTED["memory"] if check == "memory" else ()
    library = ctypes.CDLL(
        str(compiled((HERE / "machine.cpp").read_text(), *MACHINE_FLAGS, *flags)), mode=ctypes.RTLD_GLOBAL
    )
    library.visited_barriers.restype = ctypes.c_char_p
    return library


def load_kernels(text: str, names: tuple[str, ...], architecture: int, check: str | None) -> ctypes.CDLL:
    """The kernels of a CUDA source: `launch_i` launches names[i], and `parameters_i` describes its parameters."""
    load_machine(check)
    exports = [f"EXPORT({i}, {name})" for i, name in enumerate(names)]
    source = "\n".join(('#include "cuda.h"', text, '#include "export.h"', *exports))
    flags = ("-O1", "-nostartfiles", f"-D__CUDA_ARCH__={10 * architecture}", *INSTRUMENTED[check])
    return ctypes.CDLL(str(compiled(source, *flags)))


def located(message: str) -> str:
    """A message with addresses, "[object+offset]", replaced by lines of sources."""

    def line(match):
        done = subprocess.run(["addr2line", "-e", match[1], match[2]], capture_output=True, text=True, check=False)
        return done.stdout.strip().partition(" (")[0].rpartition("/")[2] or match[0]

    return re.sub(r"\[(\S+)\+(0x[0-9a-f]+)\]", line, message)
