"""Sprites: every combination of the factors once, and images that match their factors."""

import numpy as np
import pytest

from tinygen.data import Image, load, names, sprites


@pytest.fixture(scope="module")
def data():
    return load("sprites")


def test_every_combination_of_factors_occurs_once_and_loading_again_gives_the_same_data(data):
    assert dict(names())["sprites"] == "generated: x image, y, colour, size, column, row, angle labels"
    assert data.spec.fields == {"x": Image(24, 24, 3, "rgb"), **sprites.FACTORS}
    parts = [np.stack([part.values(name) for name in sprites.FACTORS], axis=1) for part in (data.train, data.test)]
    parts.append(np.stack([data.valid.values(name) for name in sprites.FACTORS], axis=1))
    combinations = np.concatenate(parts)
    assert len(np.unique(combinations, axis=0)) == len(combinations) == 3 * 4 * 4 * 8 * 8 * 5
    loaded_again = load("sprites")
    np.testing.assert_array_equal(loaded_again.test.columns["x"], data.test.columns["x"])


def test_images_have_the_position_size_shape_and_colour_of_their_factors(data):
    batch = data.test.batch(slice(None))
    cover = batch.x.max(axis=3) / batch.x.max(axis=(1, 2, 3), keepdims=True)[..., 0]
    area = cover.sum(axis=(1, 2))
    places = np.arange(sprites.SIDE) + 0.5
    centre = {
        "column": (cover * places).sum(axis=(1, 2)) / area,
        "row": (cover * places[:, None]).sum(axis=(1, 2)) / area,
    }
    for name, position in centre.items():
        np.testing.assert_allclose(position, np.array(sprites.CENTRES)[batch[name]], atol=0.3)
    radii = np.array(sprites.RADII)[batch.size]
    for shape, share in (("square", 2.0), ("ellipse", np.pi / 2), ("triangle", 3 * np.sqrt(3) / 4)):
        which = batch.y == list(sprites.SHAPES).index(shape)
        np.testing.assert_allclose(area[which], share * radii[which] ** 2, rtol=0.12)
    brightest = batch.x.max(axis=(1, 2)) * 255
    colours = np.array(list(sprites.COLOURS.values()))[batch.colour]
    np.testing.assert_allclose(brightest, colours * cover.max(axis=(1, 2))[:, None], atol=1)


def test_shapes_lie_within_the_image_and_images_of_different_angles_differ(data):
    edge = np.concatenate([data.train.columns["x"][:, [0, -1]], data.train.columns["x"][:, :, [0, -1]].swapaxes(1, 2)])
    assert edge.max() < 128
    for y in range(3):
        covers = [sprites._cover(y, 3, 4, 4, angle) for angle in range(5)]
        differences = [np.abs(a - b).sum() for i, a in enumerate(covers) for b in covers[:i]]
        assert min(differences) > 5
