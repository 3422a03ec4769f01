"""The convolution family of the CPU against its reference: every geometry, and every way to compute one."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.kernels.calls import CONVOLUTIONS, Call, Shape, drawn, fast, matrix_products, slow
from tinygen.kernels.geometry import Geometry

cpu = pytest.importorskip("tinygen.kernels.cpu", reason="needs numba")
from tinygen.kernels.cpu import memory, products, weight_sums, winograd  # noqa: E402

DIRECT = 2e-6  # of the largest value: float32 sums of up to 500 products
TRANSFORMED = 1e-5  # Winograd takes differences of what it has multiplied
AROUND = ((1, 1), (1, 1))


@pytest.fixture(autouse=True, scope="module")
def unwritten_memory_is_nan():
    """What a kernel has not written itself, it must not read, nor leave in a result."""
    empty, scratch = np.empty, memory.scratch

    def poisoned_empty(*arguments, **options):
        array = empty(*arguments, **options)
        if array.dtype.kind == "f":
            array.fill(np.nan)
        return array

    def poisoned_scratch(lane_bytes):
        room = scratch(lane_bytes)
        room.fill(np.nan)
        return room

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(np, "empty", poisoned_empty)
        patch.setattr(memory, "scratch", poisoned_scratch)
        yield


def served_by_winograd(shape: Shape) -> bool:
    return winograd.serves((*shape.kernel, shape.channels // shape.geometry.groups, shape.outputs), shape.geometry)


def check(call: Call, depth: int, transformed: bool = False) -> None:
    """Compare with the reference. The rounding errors of a sum grow like the root of its length."""
    ours, theirs = call.copied()[0], call.expected()[0]
    assert (ours.dtype, ours.shape) == (np.float32, theirs.shape)
    largest = max(np.abs(theirs).max(), math.sqrt(depth))
    tolerance = TRANSFORMED if transformed else DIRECT * math.sqrt(max(1, depth / 500))
    assert np.abs(ours - theirs).max() <= tolerance * largest, call.name


def check_all(shape: Shape, **options) -> None:
    """All three kernels of a shape."""
    taps, groups = math.prod(shape.kernel), shape.geometry.groups
    depths = taps * shape.channels // groups, taps * shape.outputs // groups, shape.images * math.prod(shape.output)
    for call, depth in zip(shape.calls(**options), depths, strict=True):
        check(call, depth, served_by_winograd(shape))


@st.composite
def shapes(draw) -> Shape:
    return drawn(lambda low, high: draw(st.integers(low, high)))


@settings(derandomize=True, deadline=None, max_examples=150, suppress_health_check=list(HealthCheck), database=None)
@given(shape=shapes(), bias=st.booleans(), slope=st.sampled_from([1.0, 0.2, 0.0]))
def test_every_geometry(shape, bias, slope):
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
    "one pixel": Shape(200, (1, 1), 70, (1, 1), 90),
}


@pytest.mark.parametrize("shape", LARGE.values(), ids=LARGE)
def test_large_shapes(shape):
    check_all(shape)


@pytest.mark.parametrize("rows", range(4, 7))
@pytest.mark.parametrize("columns", (5, 6))
def test_the_adjoint_makes_every_size_that_could_have_been_the_input(rows, columns):
    shape = Shape(2, (rows, columns), 6, (3, 2), 9, Geometry((3, 2), ((0, 2), (1, 0))))
    assert shape.output == (2, 3)
    check_all(shape)


def test_rows_that_no_output_saw_get_no_gradient_but_the_bias():
    (_, call, _) = Shape(2, (9, 9), 3, (1, 1), 4, Geometry((4, 4))).calls(slope=1.0)
    x = call.copied()[0]
    assert (x[:, 1:4, 1:4] == call.arguments[4]).all()


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 300, 7), (130, 70, 190), (700, 33, 5), (5, 400, 700)], ids=str)
def test_matrix_products(shape):
    for call in matrix_products(*shape):
        check(call, shape[1])


@pytest.mark.parametrize("shape", [(700, 33, 5), (130, 70, 190)], ids=str)
def test_a_row_of_a_product_never_depends_on_its_company(shape):
    """To the bit."""
    for call in matrix_products(*shape):
        a, *others = call.arguments
        together = call.copied()[0]
        for first, last in ((0, 1), (-1, None), (3, 5), (7, 100)):
            np.testing.assert_array_equal(fast("matmul")(a[first:last], *others), together[first:last])


@pytest.mark.parametrize("shape", [(7, 3000, 5), (40, 1000, 33)], ids=str)
def test_a_product_much_deeper_than_wide(shape):
    for call in matrix_products(*shape):
        check(call, shape[1])


@pytest.mark.parametrize("name", ["winograd", "winograd, stride 2"])
def test_winograd_can_be_turned_off(name, monkeypatch):
    shape = CONVOLUTIONS[name]
    calls, geometry = shape.calls(bias=False, slope=1.0), shape.geometry
    (x, w, *_), (g, *_), _ = (call.arguments for call in calls)
    with_transforms = [call.copied()[0] for call in calls]
    monkeypatch.setenv("TINYGEN_WINOGRAD", "0")
    direct = (
        products.forward_plan(x.shape, w.shape, geometry)(x, w),
        products.adjoint_plan(g.shape, w.shape, shape.size, geometry)(g, w),
        weight_sums.weight_plan(x.shape, g.shape, shape.kernel, geometry)(x, g),
    )
    for call, plain, other in zip(calls, direct, with_transforms, strict=True):
        np.testing.assert_array_equal(call.copied()[0], plain)
        assert (plain != other).any()


# What a user can hand over


def some(array: np.ndarray, wanted) -> np.ndarray:
    """Some images of a batch; what is no batch is left alone."""
    return array[wanted] if array.ndim == 4 else array


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_an_image_never_depends_on_its_company(name):
    """To the bit: neither on how many others there are, nor on what they hold."""
    many = replace(CONVOLUTIONS[name], images=23)
    for call in many.calls()[:2]:
        images, *others = call.arguments
        function, together = fast(call.name), fast(call.name)(*call.arguments)
        for first, last in ((0, 1), (22, 23), (3, 5), (7, 20)):
            np.testing.assert_array_equal(function(images[first:last], *others), together[first:last])
            spoilt = np.full_like(images, np.nan)
            spoilt[first:last] = images[first:last]
            np.testing.assert_array_equal(function(spoilt, *others)[first:last], together[first:last])


@pytest.mark.parametrize("name", ["winograd", "winograd, stride 2", "direct", "narrow", "one channel", "groups"])
def test_what_is_not_a_number_is_not_lost(name):
    shape = CONVOLUTIONS[name]
    for call in shape.calls()[:2]:
        spoilt = call.with_arrays(np.copy)
        spoilt.arguments[0][1, 2, 2] = np.nan
        ours, theirs = (np.isnan(room(call.name)(*spoilt.arguments)) for room in (fast, slow))
        assert theirs.any()
        assert (ours >= theirs).all()
        assert served_by_winograd(shape) or (ours == theirs).all(), "transforms mix what a tile sees"


CALLS = [call for shape in CONVOLUTIONS.values() for call in shape.calls()] + matrix_products(13, 21, 37)
IDS = [f"{call.name}-{i}" for i, call in enumerate(CALLS)]


def apart(array: np.ndarray) -> np.ndarray:
    """The same numbers with others between them, read-only."""
    wide = np.full((*array.shape, 2), np.nan, array.dtype)
    wide[..., 0] = array
    wide.flags.writeable = False
    return wide[..., 0]


@pytest.mark.parametrize("call", CALLS, ids=IDS)
def test_arrays_need_not_be_contiguous(call):
    expected = call.copied()[0]
    np.testing.assert_array_equal(call.with_arrays(apart).run()[0], expected)
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
