"""The convolution family on the emulator: every geometry, tile and layout of memory, at each precision."""

import functools
import math
import random
from dataclasses import replace

import numpy as np
import pytest

from tests.cuda.cases import Case
from tests.cuda.device import room
from tests.kernels.calls import AROUND, CONVOLUTIONS, Call, Shape, matrix_products, random_shape, reference_kernel
from tinygen.kernels.cuda import convolution, runtime, tables
from tinygen.kernels.geometry import Geometry

SHAPES, MOST_WORK = 40, 1_000_000  # random_shape shapes, and multiplications of one


@functools.cache
def drawn_shapes() -> tuple[Shape, ...]:
    """Small shapes of every geometry."""
    rng, found = random.Random(0), []
    while len(found) < SHAPES:
        shape = random_shape(rng.randint)
        each = math.prod(shape.output) * math.prod(shape.kernel) * shape.channels * shape.outputs
        if each <= MOST_WORK:
            found.append(replace(shape, images=min(shape.images, MOST_WORK // each)))
    return tuple(found)


def check(call: Call, precision: str = "float32") -> None:
    case = Case(call, precision)
    case.check(case.run())


def use_tiles(monkeypatch, choose) -> None:
    """Leave each arithmetic the one tile that `choose(tiles)` picks."""
    monkeypatch.setattr(convolution, "TILES", {name: (choose(tiles),) for name, tiles in tables.TILES.items()})
    for plan in (convolution.forward_plan, convolution.adjoint_plan, convolution.weight_plan):
        plan.cache_clear()


@pytest.fixture(autouse=True)
def plans_of_one_test():
    yield
    for plan in (convolution.forward_plan, convolution.adjoint_plan, convolution.weight_plan):
        plan.cache_clear()


@pytest.mark.parametrize("precision", runtime.PRECISIONS)
@pytest.mark.parametrize("place", range(SHAPES))
def test_every_geometry(emulated, place, precision):
    emulated(("ascending", "descending", "random")[place % 3])
    for call in drawn_shapes()[place].calls(bias=place % 2 == 0, slope=(1.0, 0.2, 0.0)[place % 3]):
        check(call, precision)


@pytest.mark.parametrize("precision", runtime.PRECISIONS)
@pytest.mark.parametrize("size", range(4))
def test_every_tile_makes_every_shape(emulated, monkeypatch, size, precision):
    emulated("random")
    use_tiles(monkeypatch, lambda tiles: tiles[size % len(tiles)])
    for shape in CONVOLUTIONS.values():
        for call in shape.calls():
            check(call, precision)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 300, 7), (130, 70, 190), (5, 40, 300)], ids=str)
def test_matrix_products(emulated, shape):
    emulated("random")
    for call in matrix_products(*shape):
        check(call)


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_turing_does_without_asynchronous_copies(emulated, name):
    emulated("random", architecture=75)
    for call in CONVOLUTIONS[name].calls():
        check(call)


def test_a_precision_that_the_device_lacks_is_refused(emulated):
    emulated("random", architecture=75)
    with pytest.raises(RuntimeError, match="use 'float32'"):
        Case(CONVOLUTIONS["narrow"].calls()[0], "tf32").run()


@pytest.mark.parametrize("precision", runtime.PRECISIONS)
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_an_image_depends_on_neither_its_company_nor_the_tile(emulated, monkeypatch, name, precision):
    emulated("random")
    runtime.set_precision(precision)
    calls = replace(CONVOLUTIONS[name], images=9).calls()[:2]
    together = [room(call.name)(*call.arguments) for call in calls]
    for size in (0, -1):
        use_tiles(monkeypatch, lambda tiles, size=size: tiles[size])
        for call, whole in zip(calls, together, strict=True):
            images, *others = call.arguments
            for first, last in ((0, 1), (3, 8)):
                np.testing.assert_array_equal(room(call.name)(images[first:last], *others), whole[first:last])


def test_a_weight_gradient_is_the_same_on_every_device(emulated, monkeypatch):
    emulated("random")
    call = Shape(30, (9, 8), 3, (3, 3), 5, Geometry(padding=AROUND)).calls()[2]
    check(call)
    plan = convolution.weight_plan(
        call.arguments[0].shape, call.arguments[1].shape, (3, 3), call.arguments[3], convolution._setting()
    )
    assert plan.slices > convolution.MOST_LANES
    few = room(call.name)(*call.arguments)
    monkeypatch.setattr(convolution, "_multiprocessors", lambda device: 200)
    np.testing.assert_array_equal(room(call.name)(*call.arguments), few)


def shifted(array: np.ndarray) -> np.ndarray:
    """The same numbers, contiguous, from an address on that is no multiple of sixteen."""
    room_for_more = np.empty(array.size + 8, array.dtype)
    skipped = 1 + (-room_for_more.ctypes.data // 4) % 4
    moved = room_for_more[skipped : skipped + array.size].reshape(array.shape)
    moved[...] = array
    return moved


@pytest.mark.parametrize("call", CONVOLUTIONS["winograd"].calls(), ids=lambda call: call.name)
def test_arrays_may_begin_anywhere(emulated, call):
    emulated("random")
    moved = call.with_arrays(shifted)
    assert all(a.ctypes.data % 16 for a in moved.arguments if isinstance(a, np.ndarray))
    np.testing.assert_array_equal(moved.run(room)[0], call.run(room)[0])


def apart(array: np.ndarray) -> np.ndarray:
    """The same numbers with others between them."""
    wide = np.full((*array.shape, 2), np.nan, array.dtype)
    wide[..., 0] = array
    return wide[..., 0]


@pytest.mark.parametrize("call", [*CONVOLUTIONS["direct"].calls(), *matrix_products(13, 21, 37)], ids=lambda c: c.name)
def test_arrays_need_not_be_contiguous(emulated, call):
    emulated("random")
    check(call.with_arrays(apart))


@pytest.mark.parametrize("rows", range(4, 7))
def test_the_adjoint_makes_every_size_that_could_have_been_the_input(emulated, rows):
    emulated("random")
    shape = Shape(2, (rows, 5), 6, (3, 2), 9, Geometry((3, 2), ((0, 2), (1, 0))))
    assert shape.output == (2, 3)
    for call in shape.calls():
        check(call)


def test_rows_that_no_output_saw_get_no_gradient_but_the_bias(emulated):
    emulated("random")
    (_, call, _) = Shape(2, (9, 9), 3, (1, 1), 4, Geometry((4, 4))).calls(slope=1.0)
    x = call.run(room)[0]
    assert (x[:, 1:4, 1:4] == call.arguments[4]).all()


@pytest.mark.parametrize("kind", "AB")
def test_a_mask_may_leave_no_tap(emulated, kind):
    emulated("random")
    for call in Shape(2, (3, 3), 4, (1, 1), 6, Geometry(mask=(kind, 2))).calls():
        check(call)


@pytest.mark.parametrize("name", ["winograd", "direct", "narrow", "one channel", "groups"])
def test_what_is_not_a_number_stays_where_it_is(emulated, name):
    emulated("random")
    for call in CONVOLUTIONS[name].calls()[:2]:
        spoilt = call.with_arrays(np.copy)
        spoilt.arguments[0][1, 2, 2] = np.nan
        ours, theirs = (np.isnan(of(call.name)(*spoilt.arguments)) for of in (room, reference_kernel))
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
def test_what_32_bits_do_not_count_is_refused(emulated, shape):
    emulated("random")
    w_shape = (1, 1, shape[3], 1)
    with pytest.raises(ValueError, match="use smaller arrays"):
        convolution.forward_plan(shape, w_shape, Geometry(), convolution._setting())
