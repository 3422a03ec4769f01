"""Compilation of a kernel, kept on disk between processes."""

import numba


def jit(function):
    """Compile at first use; load the compiled code of an earlier process where a cache folder can be written.

    Division follows IEEE 754: Python's check for zero would keep a loop from being vectorised.
    """
    try:
        return numba.njit(cache=True, error_model="numpy")(function)
    except RuntimeError:  # no folder can be written: compile afresh in each process
        return numba.njit(error_model="numpy")(function)
