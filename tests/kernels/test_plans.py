"""The parts that plans of convolutions are put together from: values that can be checked by hand."""

from dataclasses import replace

import pytest

from tinygen.kernels.geometry import Geometry
from tinygen.kernels.taps import Tap

pytest.importorskip("tinygen.kernels.cpu", reason="needs numba")
from tinygen.kernels.cpu import (
    attention,
    conv_recurrent,
    depthwise,
    narrow,
    packing,
    products,
    tiling,
    weight_sums,
    window,
    winograd,
)
from tinygen.kernels.cpu import winograd_sums as sums
from tinygen.kernels.cpu.problem import adjoint, forward, plan_of, weight_grad
from tinygen.kernels.cpu.target import VECTORS, WIDTH

AROUND = ((1, 1), (1, 1))
NONE = ((0, 0), (0, 0))
STRIDED = Geometry((2, 2), AROUND)


# Problems


def test_the_problems_of_a_convolution_have_the_shapes_of_its_arrays():
    x, w, g = (5, 8, 6, 3), (4, 4, 3, 7), (5, 4, 3, 7)
    convolution, input_grad = forward(x, w, STRIDED), adjoint(g, w, (8, 6), STRIDED)
    assert (convolution.source, convolution.target) == (x, g)
    assert (input_grad.source, input_grad.target) == (g, x)
    assert weight_grad(x, g, (4, 4), STRIDED).weight == w
    assert (convolution.stride, convolution.step) == ((2, 2), (1, 1))
    assert (input_grad.stride, input_grad.step) == ((1, 1), (2, 2))


def test_weight_strides_count_bytes_from_tap_to_tap_and_from_channel_to_channel():
    x, w, g = (5, 8, 6, 3), (4, 4, 3, 7), (5, 4, 3, 7)
    assert forward(x, w, STRIDED).weight_strides == (4 * 21, 4 * 7, 4)
    assert adjoint(g, w, (8, 6), STRIDED).weight_strides == (4 * 21, 4, 4 * 7)


def test_the_adjoint_has_a_phase_for_each_remainder_modulo_the_stride():
    phases, zeros = adjoint((1, 4, 4, 7), (4, 4, 3, 7), (8, 8), STRIDED).phases()
    assert [(phase.top, phase.left, len(phase.blocks[0].taps)) for phase in phases] == [
        (0, 0, 4),
        (0, 1, 4),
        (1, 0, 4),
        (1, 1, 4),
    ]
    assert zeros == AROUND


def test_a_plan_is_made_once_for_a_problem():
    shapes = (1, 4, 4, 2), (3, 3, 2, 2), Geometry()
    made: list = []
    for _ in range(2):
        plan_of(made.append, forward, *shapes)
    assert made == [forward(*shapes)]


# Tiles and panels


def test_the_last_tile_ends_with_the_last_row():
    assert tiling.tile_starts(10, 4) == [0, 4, 6]
    assert tiling.tile_starts(8, 4) == [0, 4]


def test_tiles_are_as_high_as_pays():
    assert tiling.tile_height(16, (8, 4, 2, 1)) == 8
    assert tiling.tile_height(9, (8, 4, 2, 1)) == 2  # the cost of 10 low rows is 13.0, that of 16 high ones 17.2
    assert tiling.tile_height(3, (4, 2, 1)) == 1  # 4.8, against 5.2 for 4 rows


def test_channels_are_cut_into_panels_of_which_the_last_is_narrower():
    panel = VECTORS * WIDTH
    assert tiling.panels_of(3) == tiling.Panels(count=1, vectors=1, last_vectors=1, lanes=3)
    assert tiling.panels_of(2 * panel + 1) == tiling.Panels(count=3, vectors=VECTORS, last_vectors=1, lanes=1)
    assert tiling.panels_of(2 * panel) == tiling.Panels(count=2, vectors=VECTORS, last_vectors=VECTORS, lanes=WIDTH)


def test_panels_have_a_kernel_for_the_whole_ones_and_one_for_the_last():
    kernels = tiling.panels_of(2 * VECTORS * WIDTH + 1).kernels(lambda vectors, tail: (vectors, tail))
    assert kernels == ((VECTORS, False), (1, True))
    assert tiling.panels_of(WIDTH).kernels(lambda vectors, tail: (vectors, tail)) == (0, (1, False))


def test_even_rows_are_at_equal_distances():
    rows = tiling.even_rows(3, 8, 20)
    assert (rows.row_count, rows.row_source.tolist(), rows.row_target.tolist()) == (3, [0, 8, 16], [0, 20, 40])


# Windows


def test_images_with_zeros_around_them_are_copied():
    problem = forward((2, 5, 6, 3), (3, 3, 3, 4), Geometry(padding=((1, 0), (2, 2))))
    layout = window.layout_of(problem, problem.geometry.padding)
    assert layout.copied
    assert (layout.pixel_bytes, layout.row_bytes, layout.image_bytes) == (12, 6 * 12, 5 * 6 * 12)
    assert layout.pitch == (2 + 6 + 2) * 12
    assert layout.window(rows=4, images=2) == window.Window(4, 4 * layout.pitch, 2 * 4 * layout.pitch)


def test_images_without_zeros_are_read_where_they_lie():
    layout = window.layout_of(forward((2, 5, 6, 3), (3, 3, 3, 4), Geometry()), NONE)
    assert not layout.copied
    assert layout.pitch == layout.row_bytes
    assert layout.window(rows=4, images=2) == window.Window(4, layout.image_bytes, copy_bytes=0)


def test_copied_rows_are_never_a_multiple_of_1024_bytes_apart():
    assert window.row_pitch(255) == 255
    assert window.row_pitch(512) == 528


def test_planes_hold_the_columns_of_a_remainder_of_a_channel():
    problem = forward((2, 5, 6, 3), (3, 3, 3, 4), STRIDED)
    layout = window.in_planes(window.layout_of(problem, AROUND), columns=8)
    assert layout.pitch == 4 * 4  # every second one of 8 columns, a float each
    assert layout.line_bytes == 3 * 2 * layout.pitch


def test_inputs_that_follow_each_other_are_one_segment():
    layout = window.layout_of(forward((1, 5, 6, 4), (2, 2, 4, 4), Geometry()), NONE)
    taps = [Tap(row, column, 0, 0, 4) for row in (0, 1) for column in (0, 1)]
    assert layout.segments(taps) == [(0, 8), (6 * 4, 8)]
    assert layout.segments([replace(tap, high=3) for tap in taps[:2]]) == [(0, 3), (4, 3)]


# Direct kernel


def test_blocks_of_weights_are_packed_one_after_another():
    first, second = packing.packs_of([([(0, 3), (40, 3)], 10), ([(8, 1)], 3)], width=8)
    assert (first.panels, first.panel_bytes, first.packed) == (2, 4 * 6 * 8, 0)
    assert (second.panels, second.panel_bytes, second.packed) == (1, 4 * 1 * 8, 2 * first.panel_bytes)


def cut(images: int, size: int, kernel: int = 3) -> products.Cut:
    problem = forward((images, size, size, 16), (kernel, kernel, 16, 8), Geometry())
    phases, zeros = problem.phases()
    return products.cut_of(images, phases, window.layout_of(problem, zeros), reach=kernel)


def test_small_images_are_joined_into_groups_of_equal_size():
    assert cut(5, 6) == products.Cut(images=5, group=3, bands=1, band_rows=4, last_band=0)  # 4 of 4x4 make 64 outputs
    assert cut(5, 6).tasks == 2


def test_a_large_image_is_cut_into_bands_for_all_threads():
    assert cut(1, 66) == products.Cut(images=1, group=1, bands=16, band_rows=4, last_band=60)
    assert cut(1, 66).tasks == products.LEAST_TASKS


def test_the_rows_of_a_phase_lie_in_the_order_of_images_rows_and_columns():
    problem = forward((2, 4, 4, 3), (3, 3, 3, 5), Geometry())
    (phase,), zeros = problem.phases()
    layout = window.layout_of(problem, zeros)
    cut = products.Cut(images=2, group=2, bands=1, band_rows=2, last_band=0)
    rows, tile = products.rows_of(phase, problem, layout, cut, layout.window(4, 2))
    expected = [192 * n + 48 * p + 12 * q for n in (0, 1) for p in (0, 1) for q in (0, 1)]
    assert rows.row_source.ravel().tolist() == expected
    assert rows.row_target.ravel().tolist() == list(range(0, 8 * 20, 20))
    assert tile <= rows.row_count == 8


def test_a_block_reads_its_taps_in_the_window():
    problem = forward((1, 5, 6, 4), (2, 2, 2, 8), Geometry(groups=2))
    (phase,), zeros = problem.phases()
    layout = window.layout_of(problem, zeros)
    source, segments = products.inputs_of(phase.blocks[1], layout, layout.window(5, 1))
    assert source == 4 * 2  # its group begins at the third channel
    assert segments.segments == [(0, 2), (16, 2), (96, 2), (112, 2)]
    assert products.pieces_of(phase.blocks[1], problem) == [(16 + 64 * tap, 2) for tap in range(4)]


def test_the_example_of_the_readme():
    problem = forward((8, 16, 16, 20), (3, 3, 20, 37), Geometry(padding=AROUND))
    (phase,), zeros = problem.phases()
    layout = products.input_layout(problem, (phase,), zeros)
    cut = products.cut_of(8, (phase,), layout, reach=3)
    assert (layout.copied, layout.pitch) == (True, 4 * 18 * 20)
    assert (cut.group, cut.band_rows, cut.tasks) == (1, 8, 16)
    window = layout.window(cut.band_rows + 2, cut.group)
    (block,) = phase.blocks
    rows, _ = products.rows_of(phase, problem, layout, cut, window)
    assert (len(block.taps), rows.row_count) == (9, 8 * 16)
    assert [length for _, length in products.inputs_of(block, layout, window)[1].segments] == [60, 60, 60]
    assert sum(depth for _, depth in products.pieces_of(block, problem)) == 180


# Weight gradients


def test_a_strip_is_some_rows_of_an_image_or_some_images():
    rows_of_an_image = weight_sums.strips_of(images=2, rows=20, columns=30)
    assert (rows_of_an_image.group, rows_of_an_image.strip_rows, rows_of_an_image.strips) == (1, 3, 14)
    whole_images = weight_sums.strips_of(images=10, rows=4, columns=4)
    assert (whole_images.group, whole_images.strip_rows, whole_images.strips) == (6, 4, 2)


def test_tiles_of_neighbouring_rows_overlap_at_the_end_of_a_run(monkeypatch):
    monkeypatch.setattr(weight_sums, "HEIGHTS", (4, 2, 1))
    tiles = weight_sums.tiles_of([(0, 10), (100, 8)])
    assert (tiles.height, tiles.scattered) == (4, False)
    assert tiles.starts == [4 * start for start in (0, 4, 6, 100, 104)]
    assert tiles.places == [*range(8), 10, 11, *range(12, 20)]  # rows 8 and 9 are the last two of the tile at row 6


def test_rows_of_short_runs_are_scattered(monkeypatch):
    monkeypatch.setattr(weight_sums, "HEIGHTS", (4, 2, 1))
    tiles = weight_sums.tiles_of([(0, 2), (10, 2), (20, 1)])
    assert (tiles.height, tiles.scattered, tiles.starts) == (3, True, [0, 3])
    assert tiles.offsets == [4 * offset for offset in (0, 1, 10, 11, 20, 20)]
    assert tiles.places == list(range(5))


def test_few_panels_are_cut_into_pieces_of_the_pixels():
    one = weight_sums.sums_of(panel_count=1, panel_width=8, rows=10, strips=100, copied=False)
    assert (one.pieces, one.tasks, one.task_bytes) == (weight_sums.LEAST_TASKS, weight_sums.LEAST_TASKS, 4 * 8 * 10)
    many = weight_sums.sums_of(panel_count=20, panel_width=8, rows=10, strips=100, copied=True)
    assert (many.panels_per_task, many.tasks) == (20, weight_sums.LEAST_TASKS)


def test_a_pixel_is_an_image_of_its_own_where_an_output_sees_no_other():
    problem = weight_grad((2, 3, 1, 5), (2, 3, 1, 7), (1, 1), Geometry((1, 2)))
    pixels = weight_sums.of_single_pixels(problem)
    assert (pixels.source, pixels.target, pixels.stride) == ((6, 1, 1, 5), (6, 1, 1, 7), (1, 1))
    assert weight_sums.of_single_pixels(replace(problem, geometry=STRIDED)) is None


def test_segments_are_the_rows_of_a_strip():
    problem = weight_grad((3, 4, 4, 3), (3, 2, 2, 5), (2, 2), Geometry((2, 2)))
    layout, strips = window.layout_of(problem, NONE), weight_sums.strips_of(3, 2, 2)
    table = weight_sums.segments_of(strips, layout, layout.window(4, 3))
    assert table.reshape(-1, 2).tolist() == [[192 * n + 96 * p, 2] for n in range(3) for p in range(2)]


def test_a_strip_whose_pixels_follow_each_other_is_one_segment_for_each_number_of_rows():
    def segments(problem, rows, images):
        layout = window.layout_of(problem, problem.geometry.padding)
        strips = weight_sums.strips_of(*problem.target[:3])
        return weight_sums.segments_of(strips, layout, layout.window(rows, images))

    single_pixels = weight_grad((3, 1, 1, 3), (3, 1, 1, 5), (1, 1), Geometry())
    assert segments(single_pixels, 1, 3) == [(0, 0), (0, 1), (0, 2), (0, 3)]
    taps_above = weight_grad((2, 49, 2, 3), (2, 49, 2, 5), (3, 1), Geometry(padding=((2, 0), (0, 0))))
    assert segments(taps_above, 48 + 2, 1) == [(0, 2 * rows) for rows in range(48 + 1)]


def test_rows_of_taps_that_are_far_apart_have_bands_of_their_own():
    def bands(dilation, above):
        geometry = Geometry(padding=((above, 0), (0, 0)), dilation=(dilation, 1))
        problem = weight_grad((1, 300, 1, 9), (1, 300 + above - dilation, 1, 21), (2, 1), geometry)
        strips = weight_sums.strips_of(*problem.target[:3])
        return weight_sums.bands_of(problem, strips, window.layout_of(problem, geometry.padding))

    far = bands(130, above=130)
    assert far == weight_sums.Bands(bands=2, band_step=130, band_rows=96, reach=1)
    problem = weight_grad((1, 9, 1, 4), (1, 9, 1, 4), (2, 1), Geometry())
    assert [tap.row for tap in weight_sums.taps_of(problem, far.tap_step)] == [0, 96]
    near = weight_sums.Bands(bands=1, band_step=20, band_rows=96 + 20, reach=21)
    assert (bands(20, above=20), near.tap_step) == (near, 20)
    assert bands(130, above=0).bands == 1  # nothing is copied


# Winograd


def test_tiles_of_a_convolution_cover_the_outputs():
    problem = forward((3, 9, 6, 32), (3, 3, 32, 32), Geometry(padding=((1, 1), (2, 0))))
    assert winograd.tiles_of(problem) == winograd.Tiles(
        tiles=3 * 3 * 2, tiles_down=3, tiles_across=2, above=1, before=2, top=0, left=0
    )


def test_tiles_of_the_adjoint_cover_the_phases_of_the_inputs():
    tiles = winograd.tiles_of(adjoint((3, 8, 8, 32), (4, 4, 32, 32), (16, 16), STRIDED))
    assert (tiles.tiles_down, tiles.tiles_across) == (3, 3)  # rows 2 q - 1 and 2 q of x, with q from 0 to 8
    assert (tiles.above, tiles.top) == (1, -1)


def test_weights_of_a_phase_are_every_second_tap():
    assert winograd.taps_by_phase(4, 2, False) == [[0, 2, 8, 10], [1, 3, 9, 11], [4, 6, 12, 14], [5, 7, 13, 15]]
    assert winograd.taps_by_phase(3, 1, True) == [[8, 7, 6, 5, 4, 3, 2, 1, 0]]


def test_a_task_takes_few_tiles_again():
    assert winograd.tiles_per_task(5) == 5
    assert winograd.tiles_per_task(2 * winograd.TILES) == winograd.TILES
    three_quarters = winograd.TILES * 3 // 4
    assert winograd.tiles_per_task(2 * three_quarters) == three_quarters


def test_points_are_not_a_power_of_two_apart():
    place = winograd.transformed_of(points=36, tiles=2, depth=64, width=32)
    vector = 4 * WIDTH
    assert (place.v_point, place.m_point) == (4 * 2 * 64 + vector, 4 * 2 * 32 + vector)
    assert (place.v, place.m) == (36 * 4 * 64, 36 * 4 * 64 + 36 * place.v_point)


def test_sums_are_cut_into_slices_that_fit_into_the_cache(monkeypatch):
    panel = VECTORS * WIDTH
    whole = sums.slices_of(points=36, phases=1, channels=panel, outputs=panel)
    assert (whole.source_slices, whole.target_slices, whole.depth, whole.panels) == (1, 1, panel, 1)
    monkeypatch.setattr(sums, "SUMS_BYTES", 36 * 4 * panel * panel // 2)
    halves = sums.slices_of(points=36, phases=1, channels=panel, outputs=panel)
    assert (halves.source_slices, halves.target_slices, halves.source_part) == (2, 1, 4 * panel // 2)


# Narrow and depthwise


def test_the_outputs_whose_inputs_lie_inside():
    assert narrow.inside(offset=-1, stride=1, outputs=5, inputs=5) == (1, 5)
    assert narrow.inside(offset=1, stride=2, outputs=5, inputs=6) == (0, 3)


def test_a_tap_knows_its_outputs_and_products():
    problem = forward((1, 4, 5, 8), (3, 3, 8, 2), Geometry(padding=AROUND))
    phases, zeros = problem.phases()
    first, *_, last = narrow.tap_ranges(problem, phases, zeros, list(range(9)), pixel_floats=32)
    assert first == narrow.TapRange(
        first_row=1, last_row=4, first_column=1, last_column=5, source=-6 * 32, target=0, product=0
    )
    assert (last.last_row, last.last_column, last.source, last.product) == (3, 4, 6 * 32, 8 * 2)


def test_bands_of_depthwise_outputs_fit_into_the_cache(monkeypatch):
    problem = forward((2, 10, 8, 4), (3, 3, 1, 4), Geometry(padding=AROUND, groups=4))
    phases, zeros = depthwise.phases_of(problem)
    monkeypatch.setattr(depthwise, "BAND_BYTES", 7 * 10 * 32)  # 7 rows of 10 pixels: 5 rows of outputs
    bands = depthwise.bands_of(problem, phases, zeros, pitch=32)
    assert (bands.bands, bands.band, bands.window, bands.width) == (2, 5, 7, 10)


def test_three_taps_in_a_row_are_a_run():
    taps = [Tap(0, column, column, 0, 1) for column in (0, 1, 2, 3)]
    ordered, runs = depthwise.in_runs(taps, step=1)
    assert ([tap.column for tap in ordered], runs) == ([0, 1, 2, 3], 1)
    ordered, runs = depthwise.in_runs(taps[:1] + taps[2:], step=1)
    assert ([tap.column for tap in ordered], runs) == ([0, 2, 3], 0)


def test_panels_are_shared_out_where_the_rest_of_the_work_is_small():
    assert depthwise.parts_of(panels=8, pieces=1) == 8
    assert depthwise.parts_of(panels=8, pieces=4) == 4
    assert depthwise.parts_of(panels=8, pieces=100) == 1


def test_offsets_of_taps_count_the_columns_of_the_window():
    problem = forward((2, 10, 8, 4), (3, 3, 1, 4), Geometry(padding=AROUND, groups=4))
    bands = depthwise.bands_of(problem, *depthwise.phases_of(problem), pitch=32)
    assert depthwise.offsets_of([Tap(1, 2, 5, 0, 1)], bands, pitch=32) == [(10 + 2) * 32]


# Convolutional LSTM


def test_places_of_a_step_are_cut_into_tasks():
    few, more, many = (conv_recurrent.cut_of(rows) for rows in (50, 200, 8 * 96 + 1))
    assert (few.tasks, few.most) == (3, 17)
    assert (more.tasks, more.most) == (8, 25)
    assert (many.tasks, many.most) == (16, 49)


def test_a_place_knows_the_first_place_that_it_reads_and_its_own():
    def places(is_backward):
        problem = conv_recurrent.Problem(2, 5, (2, 3), 4, (3, 2), ((2, 0), (1, 0)), is_backward)
        return problem, conv_recurrent.places_of(problem, most=2)

    problem, forward = places(is_backward=False)
    assert problem.padded == (2, 2 + 2, 3 + 1, 4)
    assert forward.places.ravel().tolist() == [*range(6), *range(5 * 6, 6 * 6)]
    assert forward.padded_places.ravel().tolist() == [0, 1, 2, 4, 5, 6, 16, 17, 18, 20, 21, 22]
    assert (forward.centre, forward.source_rows[0, 1, 0], forward.target_rows.tolist()) == (
        16 * (2 * 4 + 1),
        64,
        [0, 16],
    )
    assert conv_recurrent.inputs_of(problem).segments == [(0, 8), (64, 8), (128, 8)]
    problem, backward = places(is_backward=True)
    assert (problem.features, backward.centre) == (16, 0)  # all zeros are below and to the right


# Attention


def test_matrices_of_attention_are_cut_into_blocks_of_queries():
    sizes = attention.sizes_of(queries=50, keys=17, channels=WIDTH + 1, features=3)
    assert (sizes.blocks, sizes.most) == (3, 17)
    assert (sizes.width, sizes.channel_pitch, sizes.feature_pitch) == (VECTORS * WIDTH,) * 3
    assert attention.sizes_of(24, 17, 3, WIDTH).width == WIDTH


def test_parts_of_the_memory_of_a_task_follow_each_other():
    sizes = attention.Sizes(
        queries=4, keys=5, channels=3, features=2, blocks=2, width=8, channel_pitch=8, feature_pitch=8
    )
    part, products = 4 * 2 * 8, 4 * 2 * attention.PITCH
    forward = attention.forward_memory(sizes)
    assert (forward.scaled, forward.parts, forward.totals) == (products, products + 24, products + 24 + part)
    assert forward.lane_bytes == products + 24 + 2 * part + 3 * 8
    backward = attention.backward_memory(sizes)
    assert (backward.derivatives, backward.scaled, backward.parts) == (products, 2 * products, 2 * products + 48)
    assert backward.lane_bytes - backward.value_sums == 4 * 8 * sizes.height
