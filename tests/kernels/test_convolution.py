"""The convolutions of the CPU and their gradients against the reference: every geometry and every algorithm."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.kernels.calls import CONVOLUTIONS, Call, Shape, cpu_kernel, matrix_products, random_shape, reference_kernel
from tinygen.kernels.geometry import Geometry

cpu = pytest.importorskip("tinygen.kernels.cpu", reason="needs numba")
from tinygen.kernels.cpu import memory, winograd  # noqa: E402
from tinygen.kernels.cpu.problem import adjoint, forward, weight_grad  # noqa: E402
from tinygen.kernels.cpu.products import Products  # noqa: E402
from tinygen.kernels.cpu.weight_sums import WeightSums  # noqa: E402

DIRECT = 2e-6  # of the largest value: float32 sums of up to 500 products
TRANSFORMED = 1e-5  # the transforms of Winograd's algorithm subtract products
AROUND = ((1, 1), (1, 1))


@pytest.fixture(autouse=True, scope="module")
def unwritten_memory_is_nan():
    """Fill new arrays and scratch memory with NaN, so that reading or returning unwritten memory is noticed."""
    empty, scratch = np.empty, memory.scratch

    def poisoned_empty(*arguments, **options):
        array = empty(*arguments, **options)
        if array.dtype.kind == "f":
            array.fill(np.nan)
        return array

    def poisoned_scratch(lane_bytes):
        memory_of_lanes = scratch(lane_bytes)
        memory_of_lanes.fill(np.nan)
        return memory_of_lanes

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(np, "empty", poisoned_empty)
        patch.setattr(memory, "scratch", poisoned_scratch)
        yield


def computed_by_winograd(shape: Shape) -> bool:
    return winograd.serves((*shape.kernel, shape.channels // shape.geometry.groups, shape.outputs), shape.geometry)


def check(call: Call, depth: int, transformed: bool = False) -> None:
    """Compare with the reference. Rounding errors grow like the root of `depth`, the number of products in a sum."""
    ours, theirs = call.run_on_copies()[0], call.expected()[0]
    assert (ours.dtype, ours.shape) == (np.float32, theirs.shape)
    largest = max(np.abs(theirs).max(), math.sqrt(depth))
    tolerance = TRANSFORMED if transformed else DIRECT * math.sqrt(max(1, depth / 500))
    assert np.abs(ours - theirs).max() <= tolerance * largest, call.name


def check_all(shape: Shape, **options) -> None:
    """Check the convolution of a shape and both gradients."""
    taps, groups = math.prod(shape.kernel), shape.geometry.groups
    depths = taps * shape.channels // groups, taps * shape.outputs // groups, shape.images * math.prod(shape.output)
    for call, depth in zip(shape.calls(**options), depths, strict=True):
        check(call, depth, computed_by_winograd(shape))


@st.composite
def shapes(draw) -> Shape:
    return random_shape(lambda low, high: draw(st.integers(low, high)))


@settings(derandomize=True, deadline=None, max_examples=150, suppress_health_check=list(HealthCheck), database=None)
@given(shape=shapes(), bias=st.booleans(), slope=st.sampled_from([1.0, 0.2, 0.0]))
def test_convolutions_of_random_shapes(shape, bias, slope):
    check_all(shape, bias=bias, slope=slope)


LARGE = {
    "winograd, its weight gradient in pieces": Shape(4, (13, 15), 64, (3, 3), 96, Geometry(padding=((1, 2), (0, 1)))),
    "winograd, its weight gradient in slices": Shape(1, (7, 9), 192, (3, 3), 128, Geometry(padding=AROUND)),
    "winograd, stride 2": Shape(5, (14, 15), 64, (4, 4), 96, Geometry((2, 2), ((1, 1), (3, 0)))),
    "winograd, stride 2, more than it needs": Shape(2, (9, 8), 32, (4, 4), 160, Geometry((2, 2), ((2, 1), (0, 3)))),
    "weight gradient of many panels": Shape(3, (14, 14), 40, (3, 3), 300, Geometry(padding=AROUND)),
    "an image in bands": Shape(1, (90, 90), 5, (3, 3), 24, Geometry(padding=AROUND)),
    "an image in bands, narrow": Shape(1, (90, 90), 24, (3, 3), 3, Geometry(padding=AROUND)),
    "an image in bands, without padding": Shape(1, (90, 90), 24, (3, 3), 20),
    "scattered inputs": Shape(6, (28, 28), 1, (5, 5), 48, Geometry((2, 2), AROUND, (2, 1))),
    "long sequences": Shape(3, (1, 700), 24, (1, 3), 20, Geometry(padding=((0, 0), (1, 1)))),
    "long sequences, without padding": Shape(1, (1, 400), 64, (1, 3), 9, Geometry(dilation=(1, 100))),
    "long sequences, stride 3": Shape(1, (1, 999), 32, (1, 2), 34, Geometry((1, 3), ((0, 0), (5, 40)), (1, 300), 2)),
    "long sequences, masked": Shape(2, (1, 300), 24, (1, 3), 24, Geometry(padding=((0, 0), (1, 1)), mask=("A", 3))),
    "long sequences, one channel": Shape(2, (1, 500), 1, (1, 2), 24, Geometry(padding=((0, 0), (1, 0)))),
    "rows that two taps are far apart of": Shape(2, (30, 100), 9, (3, 2), 24, Geometry(dilation=(7, 1))),
    "one pixel": Shape(200, (1, 1), 70, (1, 1), 90),
    "one pixel, of which a stride skips none": Shape(5, (1, 1), 7, (1, 1), 20, Geometry((2, 2))),
    "a column, of which a stride skips none": Shape(5, (4, 1), 7, (1, 1), 20, Geometry((1, 3))),
}


@pytest.mark.parametrize("shape", LARGE.values(), ids=LARGE)
def test_convolutions_of_large_shapes(shape):
    check_all(shape)


@pytest.mark.parametrize("rows", range(4, 7))
@pytest.mark.parametrize("columns", (5, 6))
def test_the_input_gradient_has_any_size_that_the_input_can_have(rows, columns):
    shape = Shape(2, (rows, columns), 6, (3, 2), 9, Geometry((3, 2), ((0, 2), (1, 0))))
    assert shape.output == (2, 3)
    check_all(shape)


def test_inputs_that_no_output_depends_on_get_only_the_bias():
    (_, call, _) = Shape(2, (9, 9), 3, (1, 1), 4, Geometry((4, 4))).calls(slope=1.0)
    x = call.run_on_copies()[0]
    assert (x[:, 1:4, 1:4] == call.arguments[4]).all()


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 300, 7), (130, 70, 190), (700, 33, 5), (5, 400, 700)], ids=str)
def test_products_of_matrices(shape):
    for call in matrix_products(*shape):
        check(call, shape[1])


@pytest.mark.parametrize("shape", [(700, 33, 5), (130, 70, 190)], ids=str)
def test_a_row_of_a_product_is_the_same_for_every_number_of_rows(shape):
    for call in matrix_products(*shape):
        a, *others = call.arguments
        product = call.run_on_copies()[0]
        for first, last in ((0, 1), (-1, None), (3, 5), (7, 100)):
            np.testing.assert_array_equal(cpu_kernel("matmul")(a[first:last], *others), product[first:last])


@pytest.mark.parametrize("shape", [(7, 3000, 5), (40, 1000, 33)], ids=str)
def test_products_of_matrices_with_long_sums(shape):
    for call in matrix_products(*shape):
        check(call, shape[1])


@pytest.mark.parametrize("name", ["winograd", "winograd, stride 2"])
def test_winograd_can_be_turned_off(name, monkeypatch):
    shape = CONVOLUTIONS[name]
    calls, geometry = shape.calls(bias=False, slope=1.0), shape.geometry
    (x, w, *_), (g, *_), _ = (call.arguments for call in calls)
    with_transforms = [call.run_on_copies()[0] for call in calls]
    monkeypatch.setenv("TINYGEN_WINOGRAD", "0")
    direct = (
        Products(forward(x.shape, w.shape, geometry))(x, w),
        Products(adjoint(g.shape, w.shape, shape.size, geometry))(g, w),
        WeightSums(weight_grad(x.shape, g.shape, shape.kernel, geometry))(x, g),
    )
    for call, direct_result, other in zip(calls, direct, with_transforms, strict=True):
        np.testing.assert_array_equal(call.run_on_copies()[0], direct_result)
        assert (direct_result != other).any()


# Arguments that a user can give


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_results_of_an_image_do_not_depend_on_the_others_of_its_batch(name):
    """Bit-identical, whatever the number of other images, and if they are NaN."""
    many = replace(CONVOLUTIONS[name], images=23)
    for call in many.calls()[:2]:
        images, *others = call.arguments
        function, results = cpu_kernel(call.name), cpu_kernel(call.name)(*call.arguments)
        for first, last in ((0, 1), (22, 23), (3, 5), (7, 20)):
            np.testing.assert_array_equal(function(images[first:last], *others), results[first:last])
            spoilt = np.full_like(images, np.nan)
            spoilt[first:last] = images[first:last]
            np.testing.assert_array_equal(function(spoilt, *others)[first:last], results[first:last])


@pytest.mark.parametrize("name", ["winograd", "winograd, stride 2", "direct", "narrow", "one channel", "groups"])
def test_a_nan_in_an_image_reaches_every_output_that_depends_on_it(name):
    shape = CONVOLUTIONS[name]
    for call in shape.calls()[:2]:
        spoilt = call.with_arrays(np.copy)
        spoilt.arguments[0][1, 2, 2] = np.nan
        ours, theirs = (
            np.isnan(kernel_of(call.name)(*spoilt.arguments)) for kernel_of in (cpu_kernel, reference_kernel)
        )
        assert theirs.any()
        assert (ours >= theirs).all()
        assert computed_by_winograd(shape) or (ours == theirs).all(), "Winograd's transforms mix all inputs of a tile"


CALLS = [call for shape in CONVOLUTIONS.values() for call in shape.calls()] + matrix_products(13, 21, 37)
IDS = [f"{call.name}-{i}" for i, call in enumerate(CALLS)]


def with_gaps(array: np.ndarray) -> np.ndarray:
    """A read-only array of the same numbers with NaNs between them in memory."""
    with_gaps_filled = np.full((*array.shape, 2), np.nan, array.dtype)
    with_gaps_filled[..., 0] = array
    with_gaps_filled.flags.writeable = False
    return with_gaps_filled[..., 0]


@pytest.mark.parametrize("call", CALLS, ids=IDS)
def test_arrays_need_not_be_contiguous(call):
    expected = call.run_on_copies()[0]
    np.testing.assert_array_equal(call.with_arrays(with_gaps).run()[0], expected)
    in_columns = call.with_arrays(np.asfortranarray).run()[0]
    np.testing.assert_allclose(in_columns, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_no_images_make_no_outputs_and_no_gradient(name):
    for call in replace(CONVOLUTIONS[name], images=0).calls():
        call.compare()


@pytest.mark.parametrize("shape", [(0, 3, 4), (3, 0, 4), (3, 4, 0), (0, 0, 0)], ids=str)
def test_empty_matrices_have_a_product(shape):
    for call in matrix_products(*shape):
        call.compare()
