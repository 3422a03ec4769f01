"""Every CUDA kernel against its reference, on the emulator."""

import inspect

import numpy as np
import pytest

from tests.cuda.cases import CONTRACTIONS, calls_of_kernels, cases
from tests.cuda.emulator.stand_in import ORDERS
from tests.kernels.calls import arrays_in, reference_kernel, to_float64
from tinygen.kernels import reference
from tinygen.kernels.cuda import KERNELS, runtime

EXACT = [case for case in calls_of_kernels() if case.precision == "float32"]


def test_kernels_have_the_names_and_signatures_of_their_reference():
    for name, kernel in KERNELS.items():
        assert name in reference.__all__
        ours, theirs = inspect.signature(kernel), inspect.signature(getattr(reference, name))
        assert list(map(str, ours.parameters.values())) == list(map(str, theirs.parameters.values())), name


def test_every_kernel_has_a_case():
    assert set(KERNELS) <= {name for case in calls_of_kernels() for name in case.call.names}


def test_every_kernel_of_every_source_is_launched(emulated):
    emulated("ascending")
    launched = runtime.cupy().launched
    launched.clear()
    for case in cases():
        case.run()
    declared = {name for source in runtime.Source.every for name in source.names}
    assert set(launched) == declared


@pytest.mark.parametrize("case", cases(), ids=str)
def test_kernels_match_their_reference_in_every_order_of_the_threads(emulated, case):
    results = []
    for order in ORDERS:
        emulated(order)
        results.append(case.run())
    case.check(results[0])
    for other in results[1:]:
        for one, same in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(one, same, "the results depend on the order of the threads")


@pytest.mark.parametrize("case", [case for case in EXACT if case.call.name in CONTRACTIONS], ids=str)
def test_products_match_their_reference_without_asynchronous_copies(emulated, order, case):
    emulated(order, architecture=75)
    case.check(case.run())


def test_a_precision_that_the_device_lacks_is_refused(emulated):
    device_kernel = emulated("ascending", architecture=75)
    runtime.set_precision("tf32")
    with pytest.raises(
        RuntimeError, match=r"precision 'tf32' needs .* 8\.0 or newer, this one has 7\.5: use 'float32'"
    ):
        device_kernel("matmul")(np.ones((4, 4), np.float32), np.ones((4, 4), np.float32))


@pytest.mark.parametrize("case", EXACT, ids=str)
def test_kernels_change_no_argument_that_their_reference_does_not(emulated, case):
    emulated("ascending")
    arguments = list(arrays_in(case.call.arguments))
    ours, theirs = case.run(), case.call.run_on_copies(reference_kernel)
    returned = len(ours) - len(arguments)
    for before, after, right in zip(arguments, ours[returned:], theirs[returned:], strict=True):
        assert (after == before).all() or (right != before).any()


@pytest.mark.parametrize("case", EXACT, ids=str)
def test_kernels_in_float64_equal_their_reference(emulated, case):
    doubles = case.call.with_arrays(to_float64)
    for ours, theirs in zip(
        doubles.run_on_copies(emulated("ascending")), doubles.run_on_copies(reference_kernel), strict=True
    ):
        assert ours.dtype == theirs.dtype != np.float32
        np.testing.assert_array_equal(ours, theirs)
