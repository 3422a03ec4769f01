"""The convolutions and their gradients on the emulator: every geometry, tile and memory layout, in each precision."""

import functools
import math
import random
from dataclasses import replace

import numpy as np
import pytest

from tests.cuda.cases import Case
from tests.cuda.device import device_kernel
from tests.kernels.calls import AROUND, CONVOLUTIONS, Call, Shape, matrix_products, random_shape, reference_kernel
from tinygen.kernels.cuda import convolution, runtime, tables
from tinygen.kernels.geometry import Geometry

SHAPES, MOST_WORK = 40, 1_000_000  # number of random shapes, and most multiplications of one


@functools.cache
def random_shapes() -> tuple[Shape, ...]:
    """Small random shapes of all geometries."""
    rng, shapes = random.Random(0), []
    while len(shapes) < SHAPES:
        shape = random_shape(rng.randint)
        each = math.prod(shape.output) * math.prod(shape.kernel) * shape.channels * shape.outputs
        if each <= MOST_WORK:
            shapes.append(replace(shape, images=min(shape.images, MOST_WORK // each)))
    return tuple(shapes)


def check(call: Call, precision: str = "float32") -> None:
    case = Case(call, precision)
    case.check(case.run())


def use_tiles(monkeypatch, choose) -> None:
    """Leave each arithmetic the one tile that `choose(tiles)` picks."""
    monkeypatch.setattr(convolution, "TILES", {name: (choose(tiles),) for name, tiles in tables.TILES.items()})
    for plan in (convolution.forward_plan, convolution.adjoint_plan, convolution.weight_plan):
        plan.cache_clear()


@pytest.fixture(autouse=True)
def plans_are_forgotten_after_the_test():
    yield
    for plan in (convolution.forward_plan, convolution.adjoint_plan, convolution.weight_plan):
        plan.cache_clear()


@pytest.mark.parametrize("precision", runtime.PRECISIONS)
@pytest.mark.parametrize("index", range(SHAPES))
def test_convolutions_of_random_shapes(emulated, index, precision):
    emulated(("ascending", "descending", "random")[index % 3])
    for call in random_shapes()[index].calls(bias=index % 2 == 0, slope=(1.0, 0.2, 0.0)[index % 3]):
        check(call, precision)


@pytest.mark.parametrize("precision", runtime.PRECISIONS)
@pytest.mark.parametrize("size", range(4))
def test_every_tile_computes_every_shape(emulated, monkeypatch, size, precision):
    emulated("random")
    use_tiles(monkeypatch, lambda tiles: tiles[size % len(tiles)])
    for shape in CONVOLUTIONS.values():
        for call in shape.calls():
            check(call, precision)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 300, 7), (130, 70, 190), (5, 40, 300)], ids=str)
def test_products_of_matrices(emulated, shape):
    emulated("random")
    for call in matrix_products(*shape):
        check(call)


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions_on_turing_without_asynchronous_copies(emulated, name):
    emulated("random", architecture=75)
    for call in CONVOLUTIONS[name].calls():
        check(call)


def test_a_precision_that_the_device_lacks_is_refused(emulated):
    emulated("random", architecture=75)
    with pytest.raises(RuntimeError, match="use 'float32'"):
        Case(CONVOLUTIONS["narrow"].calls()[0], "tf32").run()


@pytest.mark.parametrize("precision", runtime.PRECISIONS)
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_results_of_an_image_depend_neither_on_the_others_of_its_batch_nor_on_the_tile(
    emulated, monkeypatch, name, precision
):
    emulated("random")
    runtime.set_precision(precision)
    calls = replace(CONVOLUTIONS[name], images=9).calls()[:2]
    results = [device_kernel(call.name)(*call.arguments) for call in calls]
    for size in (0, -1):
        use_tiles(monkeypatch, lambda tiles, size=size: tiles[size])
        for call, result in zip(calls, results, strict=True):
            images, *others = call.arguments
            for first, last in ((0, 1), (3, 8)):
                np.testing.assert_array_equal(device_kernel(call.name)(images[first:last], *others), result[first:last])


def test_a_weight_gradient_is_the_same_on_every_device(emulated, monkeypatch):
    emulated("random")
    call = Shape(30, (9, 8), 3, (3, 3), 5, Geometry(padding=AROUND)).calls()[2]
    check(call)
    plan = convolution.weight_plan(
        call.arguments[0].shape, call.arguments[1].shape, (3, 3), call.arguments[3], convolution._setting()
    )
    assert plan.slices > convolution.MOST_LANES
    result = device_kernel(call.name)(*call.arguments)
    monkeypatch.setattr(convolution, "_multiprocessors", lambda device: 200)
    np.testing.assert_array_equal(device_kernel(call.name)(*call.arguments), result)


def shifted(array: np.ndarray) -> np.ndarray:
    """A contiguous copy whose address is no multiple of 16."""
    buffer = np.empty(array.size + 8, array.dtype)
    skipped = 1 + (-buffer.ctypes.data // 4) % 4
    moved = buffer[skipped : skipped + array.size].reshape(array.shape)
    moved[...] = array
    return moved


@pytest.mark.parametrize("call", CONVOLUTIONS["winograd"].calls(), ids=lambda call: call.name)
def test_arrays_need_no_alignment(emulated, call):
    emulated("random")
    moved = call.with_arrays(shifted)
    assert all(a.ctypes.data % 16 for a in moved.arguments if isinstance(a, np.ndarray))
    np.testing.assert_array_equal(moved.run(device_kernel)[0], call.run(device_kernel)[0])


def with_gaps(array: np.ndarray) -> np.ndarray:
    """An array of the same numbers with NaNs between them in memory."""
    with_gaps_filled = np.full((*array.shape, 2), np.nan, array.dtype)
    with_gaps_filled[..., 0] = array
    return with_gaps_filled[..., 0]


@pytest.mark.parametrize("call", [*CONVOLUTIONS["direct"].calls(), *matrix_products(13, 21, 37)], ids=lambda c: c.name)
def test_arrays_need_not_be_contiguous(emulated, call):
    emulated("random")
    check(call.with_arrays(with_gaps))


@pytest.mark.parametrize("rows", range(4, 7))
def test_the_input_gradient_has_any_size_that_the_input_can_have(emulated, rows):
    emulated("random")
    shape = Shape(2, (rows, 5), 6, (3, 2), 9, Geometry((3, 2), ((0, 2), (1, 0))))
    assert shape.output == (2, 3)
    for call in shape.calls():
        check(call)


def test_inputs_that_no_output_depends_on_get_only_the_bias(emulated):
    emulated("random")
    (_, call, _) = Shape(2, (9, 9), 3, (1, 1), 4, Geometry((4, 4))).calls(slope=1.0)
    x = call.run(device_kernel)[0]
    assert (x[:, 1:4, 1:4] == call.arguments[4]).all()


@pytest.mark.parametrize("kind", "AB")
def test_a_mask_may_leave_no_tap(emulated, kind):
    emulated("random")
    for call in Shape(2, (3, 3), 4, (1, 1), 6, Geometry(mask=(kind, 2))).calls():
        check(call)


@pytest.mark.parametrize("name", ["winograd", "direct", "narrow", "one channel", "groups"])
def test_a_nan_reaches_exactly_the_outputs_that_depend_on_it(emulated, name):
    emulated("random")
    for call in CONVOLUTIONS[name].calls()[:2]:
        spoilt = call.with_arrays(np.copy)
        spoilt.arguments[0][1, 2, 2] = np.nan
        ours, theirs = (
            np.isnan(kernel_of(call.name)(*spoilt.arguments)) for kernel_of in (device_kernel, reference_kernel)
        )
        assert theirs.any()
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_no_images_make_no_outputs_and_no_gradient(emulated, name):
    emulated("random")
    for call in replace(CONVOLUTIONS[name], images=0).calls():
        check(call)


@pytest.mark.parametrize("shape", [(0, 3, 4), (3, 0, 4), (3, 4, 0), (0, 0, 0)], ids=str)
def test_empty_matrices_have_a_product(emulated, shape):
    emulated("random")
    for call in matrix_products(*shape):
        check(call)


@pytest.mark.parametrize("shape", [(1, 1 << 16, 1 << 15, 1), (1 << 16, 1 << 15, 1, 1), (1, 1, 1, 1 << 31)], ids=str)
def test_arrays_too_large_for_32_bit_indices_are_refused(emulated, shape):
    emulated("random")
    w_shape = (1, 1, shape[3], 1)
    with pytest.raises(ValueError, match="use smaller arrays"):
        convolution.forward_plan(shape, w_shape, Geometry(), convolution._setting())


def test_more_groups_than_a_grid_can_have_are_left_to_the_reference(emulated, monkeypatch):
    emulated("ascending")
    monkeypatch.setattr(convolution, "MOST_JOBS", 3)
    monkeypatch.setattr(convolution, "forward_plan", None)  # a call would fail
    for call in Shape(2, (3, 4), 8, (2, 2), 4, Geometry(groups=4)).calls()[:1]:
        np.testing.assert_array_equal(call.run(device_kernel)[0], call.run(reference_kernel)[0])


def test_taps_too_far_apart_for_32_bits_are_refused(emulated):
    emulated("ascending")
    x, w = np.zeros((1, 1, 40_000, 1), np.float32), np.zeros((2, 1, 1, 1), np.float32)
    geometry = Geometry(padding=((60_000, 0), (0, 0)), dilation=(60_000, 1))
    with pytest.raises(ValueError, match="or the distance of taps exceed"):
        device_kernel("conv2d")(x, w, geometry)
