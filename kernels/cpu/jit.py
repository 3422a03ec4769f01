"""Compilation of a kernel, kept on disk between processes."""

import numba


def jit(function):
    """Compile at first use; load the compiled code of an earlier process where a cache folder can be written."""
    try:
        return numba.njit(cache=True)(function)
    except RuntimeError:  # no folder can be written: compile afresh in each process
        return numba.njit(function)
