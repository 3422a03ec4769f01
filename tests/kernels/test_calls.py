"""Tests of every kernel of the CPU by its sample calls; a new kernel gets one in `calls.py`."""

import numpy as np
import pytest

from tests.kernels.calls import arrays_in, calls, reference_kernel, to_float64
from tinygen.backend import kernel
from tinygen.kernels import reference

cpu = pytest.importorskip("tinygen.kernels.cpu", reason="needs numba")

DOUBLE = ("erf", "gelu")  # which have kernels in float64, too: others leave it to the reference
CALLS = [pytest.param(call, id=f"{call.name}-{i}") for i, call in enumerate(calls())]


def test_every_kernel_has_a_reference_and_a_sample_call():
    called = {name for call in calls() for name in call.names}
    assert set(cpu.KERNELS) <= called & set(reference.__all__)
    for name, function in cpu.KERNELS.items():
        assert kernel(name, "cpu") is function is not reference_kernel(name)
    assert cpu.exp is cpu.KERNELS["exp"]
    assert not hasattr(cpu, "cube_root")


@pytest.mark.parametrize("call", CALLS)
def test_kernels_match_their_reference(call):
    call.compare()


@pytest.mark.parametrize("call", CALLS)
def test_kernels_change_no_argument_that_their_reference_does_not(call):
    arguments = list(arrays_in(call.arguments))
    ours, theirs = call.run_on_copies(), call.run_on_copies(reference_kernel)
    returned = len(ours) - len(arguments)
    for before, after, right in zip(arguments, ours[returned:], theirs[returned:], strict=True):
        assert (after == before).all() or (right != before).any()


@pytest.mark.parametrize("call", CALLS)
def test_kernels_in_float64_equal_their_reference(call):
    doubles = call.with_arrays(to_float64)
    for ours, theirs in zip(doubles.run_on_copies(), doubles.run_on_copies(reference_kernel), strict=True):
        assert ours.dtype == theirs.dtype != np.float32
        if call.name in DOUBLE:
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-15)
        else:
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("blocks", [0, 1, 7, 130, 1025])
@pytest.mark.parametrize("start", [(0, 0, 0), (0xFFFFFFFF, 7, (3 << 64) + 2**64 - 5)])
def test_random_words_equal_those_of_the_reference(start, blocks):
    ours, theirs = cpu.KERNELS["philox"](*start, blocks), reference.philox(*start, blocks)
    assert ours.dtype == theirs.dtype
    np.testing.assert_array_equal(ours, theirs)
