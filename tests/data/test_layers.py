"""Sprites on backgrounds: masks and attributes that match the pictures."""

import numpy as np

from tinygen.data import Attributes, Image, SegmentMap, layers, load, names, sprites


def test_the_set_is_generated_the_same_each_time_and_has_its_fields():
    assert dict(names())["layered-sprites"] == "generated: x image, attributes attributes, mask map"
    data, again = load("layered-sprites"), load("layered-sprites")
    attributes = Attributes((*sprites.SHAPES, *sprites.COLOURS), binary=True)
    mask = SegmentMap(24, 24, names=("background", "sprite"))
    assert data.spec.fields == {"x": Image(24, 24, 3, "rgb"), "attributes": attributes, "mask": mask}
    assert {part: len(getattr(data, part)) for part in layers.SIZES} == layers.SIZES
    for name, column in data.test.columns.items():
        np.testing.assert_array_equal(column, again.test.columns[name])
    assert len(np.unique(data.train.columns["x"], axis=0)) == len(data.train)


def test_each_sprite_has_one_shape_and_one_colour_which_are_those_of_the_masked_pixels():
    batch = load("layered-sprites").valid.batch(slice(None))
    shapes, colours = np.split(batch.attributes, [len(sprites.SHAPES)], axis=1)
    np.testing.assert_array_equal(shapes.sum(axis=1), 1)
    np.testing.assert_array_equal(colours.sum(axis=1), 1)
    inner = batch.mask.copy()
    for axis in (1, 2):  # without the pixels of the edge, which the sprite shares with the background
        inner &= np.roll(batch.mask, 1, axis) & np.roll(batch.mask, -1, axis)
    means = (batch.x * inner[..., None]).sum(axis=(1, 2)) / inner.sum(axis=(1, 2))[:, None]
    expected = np.array(list(sprites.COLOURS.values()))[colours.argmax(axis=1)] / 255
    assert abs(means - expected).max(axis=1).mean() < 0.05


def test_backgrounds_pass_through_their_colours_and_are_smooth():
    x = layers.backgrounds(5, layers.Stream(0, "test backgrounds"))
    corners = layers.Stream(0, "test backgrounds").uniform((5, 3, 3, 3), dtype="float64")
    np.testing.assert_allclose(x[:, [0, 0, -1], [0, -1, 0]], 255 * corners[:, [0, 0, 2], [0, 2, 0]])
    assert abs(np.diff(x, axis=1)).max() <= 255 * 2 / 23 + 1e-9
