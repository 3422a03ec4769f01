"""No kernel reads or writes outside its arrays, not even vector elements that it then ignores."""

import sys

import pytest

from tests.kernels.processes import run

pytest.importorskip("tinygen.kernels.cpu", reason="needs numba")


@pytest.mark.skipif(sys.platform != "linux", reason="makes memory inaccessible by Linux's mprotect")
def test_kernels_stay_inside_their_arrays():
    """One thread runs them, so that the end of the scratch memory is the end of that thread's part of it."""
    out, _ = run("from tests.kernels.guarded import main; main()", TINYGEN_THREADS="1")
    assert "at the end" in out
    assert "at the beginning" in out


@pytest.mark.skipif(sys.platform != "linux", reason="makes memory inaccessible by Linux's mprotect")
@pytest.mark.parametrize("at_end", [True, False])
def test_a_read_outside_a_guarded_array_ends_the_process(at_end):
    program = f"""
import numpy as np
from tests.kernels.guarded import guarded
array = guarded(np.ones(3, np.float32), {at_end})
assert array.tolist() == [1, 1, 1]
np.lib.stride_tricks.as_strided(array, (4,), ({4 if at_end else -4},)).sum()
"""
    with pytest.raises(AssertionError, match=r"exit status -(7|11)\b"):
        run(program)
