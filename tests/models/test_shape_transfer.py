"""Transfer of shapes: what appearance carries, whose shape is asked for, metrics of results that are known."""

import numpy as np
import pytest

from tests.models.cases import make
from tinygen import functional as F
from tinygen.data import Dataset, Image, SegmentMap, Spec, Split
from tinygen.errors import UsageError
from tinygen.models.translation import shape_transfer
from tinygen.models.translation.shape_transfer import filled, mean_distance, part_colours, waves
from tinygen.random import Stream

CONFIG = {"channels": 3, "appearance": 4, "octaves": 2, "batch_size": 4}
FIELDS = {"x": Image(8, 8, 3, "rgb"), "pose": SegmentMap(8, 8, 3)}


def uniform(name, *shape):
    return Stream(0, name).uniform(shape)


def split_of(n=9):
    """Figures of two parts on black, each of one bright colour."""
    pose = np.zeros((n, 8, 8), np.uint8)
    for i, (row, column) in enumerate(zip(*Stream(0, "corner").integers(4, (2, n)), strict=True)):
        pose[i, 1 + row : 3 + row, 1 + column : 4 + column] = 1
        pose[i, 3 + row : 4 + row, 1 + column : 4 + column] = 2
    colours = np.round(255 * (0.5 + 0.5 * uniform("colours", n, 2, 3)))
    return Split(FIELDS, {"x": filled(colours, pose, np.zeros(3)).astype(np.uint8), "pose": pose})


def model_of(split=None, **config):
    """A model whose decoder adds something from the beginning on."""
    model = make("pose-transfer", CONFIG | config, Spec("two parts", FIELDS))
    last = model.generator.decoder.layers[-1]
    last.weight.assign(Stream(0, "last layer").normal(last.weight.shape) / 10)
    split = split or split_of()
    model.prepare(Dataset(Spec("two parts", FIELDS), split, split, split), seed=0)
    return model


def own_and_asked(batch):
    return batch.pose, np.roll(batch.pose, -1, axis=0)


# The networks


def test_nothing_but_the_means_of_parts_gets_into_a_result():
    """Pixels that are exchanged within a part change nothing, without waves and if the encoder looks at each pixel's
    colour alone.
    """
    model, batch = model_of(), split_of().batch(slice(None))
    model.generator.waves[...] = 0
    own, asked = own_and_asked(batch)
    x = uniform("noise", *batch.x.shape)
    exchanged = x.copy()
    for image, shape in zip(exchanged, own, strict=True):
        for part in range(3):
            image[shape == part] = image[shape == part][::-1]
    vars(model.generator)["encoder"] = lambda inputs: F.concatenate([inputs[..., :3] ** 2, inputs[..., :1]], axis=3)
    result = model.transfer(x, own, asked)
    np.testing.assert_allclose(model.transfer(exchanged, own, asked), result, atol=1e-5)
    assert abs(model.transfer(x**2, own, asked) - result).max() > 1e-2


def test_a_part_has_the_appearance_of_the_same_part():
    """Its mean colour, coefficients of waves, and features: here of an encoder that returns the pixels.

    One part has no pixels.
    """
    model, batch = model_of(), split_of().batch(slice(None))
    batch.pose[0] = 0
    vars(model.generator)["encoder"] = lambda inputs: inputs[..., :3]
    found = np.asarray(model.generator.appearance(batch.x, model.parts(batch.pose)))
    for i in range(len(batch.x)):
        for part in range(3):
            pixels, heights = batch.x[i][batch.pose[i] == part], waves(8, 8, 2)[batch.pose[i] == part]
            colour = pixels.mean(axis=0) if len(pixels) else np.zeros(3)
            in_waves = pixels.T @ heights / max(1, len(pixels))
            np.testing.assert_allclose(found[i, part], [*colour, *in_waves.ravel(), *colour], atol=1e-6)


def test_a_part_is_drawn_with_its_own_waves():
    """A texture that is a wave comes back: its coefficient times the wave is half of it, for a wave over all pixels."""
    model = model_of()
    wave = waves(8, 8, 2)[..., 8 + 1]  # of the second octave, along the rows
    x = np.broadcast_to(0.5 + 0.4 * wave[None, :, :, None], (1, 8, 8, 3)).astype(np.float32)
    given, shape = [], model.parts(np.ones((1, 8, 8), np.int64))
    vars(model.generator)["decoder"] = lambda inputs: given.append(inputs) or inputs[..., :3]
    model.generator(x, shape, shape)
    texture = np.asarray(given[0].data)[..., 3:9].reshape(8, 8, 3, 2)
    np.testing.assert_allclose(texture[..., 1], np.repeat(0.2 * wave[..., None], 3, axis=-1), atol=1e-6)
    np.testing.assert_allclose(texture[..., 0], 0, atol=1e-6)


def test_waves_run_along_both_sides_and_across():
    found = waves(4, 8, 2)
    assert found.shape == (4, 8, 16)
    x, y = -1 + 2 * 5.5 / 8, -1 + 2 * 2.5 / 4
    expected = []
    for octave in (1, 2):
        down = [np.sin(octave * np.pi * y), np.cos(octave * np.pi * y)]
        right = [np.sin(octave * np.pi * x), np.cos(octave * np.pi * x)]
        expected += [*down, *right, *(a * b for a in down for b in right)]
    np.testing.assert_allclose(found[2, 5], expected, atol=1e-6)


# Training


def test_the_images_of_a_batch_ask_for_the_shape_of_the_next_one(monkeypatch):
    model, batch = model_of(), split_of(4).batch(slice(None))
    drawn, draw = [], model.generator.draw
    monkeypatch.setattr(
        model.generator, "draw", lambda appearance, shape: drawn.append(shape) or draw(appearance, shape)
    )
    model.training_step(batch)
    own, asked = own_and_asked(batch)
    for shape, expected in zip(drawn, (asked, own, own), strict=True):
        np.testing.assert_array_equal(np.asarray(shape.data).argmax(axis=3), expected)


def test_shapes_of_another_size_are_refused():
    fields = FIELDS | {"pose": SegmentMap(8, 9, 3)}
    with pytest.raises(UsageError, match="bring both to one size"):
        make("pose-transfer", CONFIG, Spec("two sizes", fields))


# Evaluation


def test_the_ground_is_the_colour_around_the_figures():
    split = split_of()
    split.columns["x"] = np.where(split.columns["pose"][..., None] > 0, split.columns["x"], 51).astype(np.uint8)
    model = model_of(split)
    np.testing.assert_allclose(model.ground, 0.2, atol=1e-6)
    batch = split.batch(slice(None))
    np.testing.assert_array_equal(model.foreground(batch.x), batch.pose > 0)


def test_metrics_of_results_that_are_known(monkeypatch):
    """A transfer that fills the asked shape with the mean colours is right for these data; half as bright is not."""
    model, split = model_of(), split_of()
    batch = split.batch(slice(None))
    own, asked = own_and_asked(batch)

    def transfer(x, own, asked):
        return 0.5 * filled(part_colours(x, own, 3)[0], asked, np.zeros(3))

    monkeypatch.setattr(model, "transfer", transfer)
    numbers = model.evaluate(split, seed=0)
    colours = part_colours(batch.x, own, 3)[0]
    assert numbers["shape_iou"] == pytest.approx(1)
    assert numbers["colour_distance"] == pytest.approx(0.5 * colours.mean(), rel=1e-5)
    assert numbers["own_shape_error_per_pixel"] == pytest.approx(0.5 * batch.x.mean(), rel=1e-5)
    assert numbers["cycle_error_per_pixel"] == pytest.approx(0.75 * batch.x.mean(), rel=1e-5)
    assert numbers["fill_shape_iou"] == numbers["donor_shape_iou"] == 1
    assert numbers["fill_colour_distance"] == pytest.approx(0, abs=1e-6)
    assert numbers["fill_own_shape_error_per_pixel"] == pytest.approx(0, abs=1e-6)
    donors = part_colours(np.roll(batch.x, -1, axis=0), asked, 3)[0]
    assert numbers["donor_colour_distance"] == pytest.approx(abs(donors - colours).mean(), rel=1e-5)
    overlaps = [((a > 0) & (b > 0)).sum() / ((a > 0) | (b > 0)).sum() for a, b in zip(own, asked, strict=True)]
    assert numbers["copy_shape_iou"] == pytest.approx(np.mean(overlaps), rel=1e-6)
    assert numbers["copy_colour_distance"] > 0.1


def test_parts_that_one_of_two_images_lacks_are_not_compared():
    a, b = uniform("a", 2, 3, 3), uniform("b", 2, 3, 3)
    compared = np.array([[True, False, True], [False] * 3])
    found = mean_distance(a, b, compared)
    np.testing.assert_allclose(found, [abs(a - b)[0, [0, 2]].mean(), 0], rtol=1e-6)


def test_results_do_not_depend_on_what_is_beside_them(monkeypatch):
    model, batch = model_of(), split_of().batch(slice(None))
    own, asked = own_and_asked(batch)
    whole = model.transfer(batch.x, own, asked)
    assert whole.shape == batch.x.shape
    assert model.transfer(batch.x[:2], own[:2], asked[:2]).tobytes() == whole[:2].tobytes()
    numbers = model.evaluate(split_of(), seed=0)
    monkeypatch.setattr(shape_transfer, "CHUNK", 4)
    assert model.transfer(batch.x, own, asked).tobytes() == whole.tobytes()
    assert model.evaluate(split_of(), seed=0) == pytest.approx(numbers, rel=1e-5)


def test_the_figure_shows_inputs_shapes_results_and_both_ways_back():
    model, split = model_of(), split_of()
    (figure,) = model.figures(Dataset(model.spec, split, split, split), seed=0)
    assert figure.images.shape == (5 * 8, 8, 8, 3)
    batch = split.take(8).batch(slice(None))
    own, asked = own_and_asked(batch)
    fake = model.transfer(batch.x, own, asked)
    np.testing.assert_allclose(figure.images[:8], batch.x, atol=1e-6)
    np.testing.assert_allclose(figure.images[16:24], fake, atol=1e-6)
    np.testing.assert_allclose(figure.images[24:32], model.transfer(fake, asked, own), atol=1e-6)
