"""Compilation of a kernel, kept on disk between processes."""

import functools
import hashlib
import os
from pathlib import Path

import numba


@functools.cache
def cache_folder() -> str:
    """Where compiled code is kept: a folder of the user's, named by a hash of the kernel sources and numba's version.

    So a changed kernel is never served stale, which numba itself does not notice where the change is in another file
    than the compiled function; and nothing is left in an installed package. numba's index adds the processor.
    """
    digest = hashlib.blake2b(numba.__version__.encode(), digest_size=8)
    for source in sorted(Path(__file__).parents[1].rglob("*.py")):
        digest.update(source.read_bytes())
    caches = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA") or os.path.expanduser("~/.cache")
    return os.path.join(caches, "tinygen", f"kernels-{digest.hexdigest()}")


def jit(function):
    """Compile at first use; load the compiled code of an earlier process where a cache folder can be written.

    Division follows IEEE 754: Python's check for zero would keep a loop from being vectorised.
    """
    chosen = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = chosen or cache_folder()  # read while the function is declared, and then put back
    try:
        return numba.njit(cache=True, error_model="numpy")(function)
    except RuntimeError:  # no folder can be written: compile afresh in each process
        return numba.njit(error_model="numpy")(function)
    finally:
        numba.config.CACHE_DIR = chosen
