"""The judge of captioned shapes: it reads every picture that the package draws, and notices what is wrong."""

import numpy as np
import pytest

from tinygen.data import captioned, load
from tinygen.data.captioned import COLOURS, NONE, SHAPES
from tinygen.metrics import captions
from tinygen.random import Stream


def drawn(n, singles=0.2):
    objects, meanings = captioned.examples(n, captioned.scenes_of_parts()["test"], singles, Stream(0, "judge"))
    return objects, captioned.draw(objects) / np.float32(255), [meaning.in_words() for meaning in meanings]


def test_every_object_is_read_from_its_picture():
    objects, x, _ = drawn(200)
    found = captions.read(x)
    assert found.shape == (200, captions.MOST, 5)
    for expected, actual in zip(objects, found, strict=True):
        there = {tuple(each) for each in expected if each[0] != NONE}
        assert {tuple(each) for each in actual if each[0] != NONE} == there


def test_real_pictures_are_right_in_everything_even_with_noise():
    _, x, texts = drawn(100)
    noisy = (x + 0.1 * Stream(0, "noise").normal(x.shape)).clip(0, 1)
    for pictures in (x, noisy):
        metrics = captions.rates(captions.read(pictures), texts)
        assert metrics == dict.fromkeys(metrics, 1.0)


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("a red circle above a blue square", (True, True, True)),
        ("a blue square below a small red circle", (True, True, True)),
        ("a green circle above a blue square", (False, True, True)),
        ("a red circle above a blue triangle", (True, False, True)),
        ("a red circle below a blue square", (True, True, False)),
        ("a red circle left of a blue square", (True, True, False)),
        ("a blue circle above a red square", (False, True, True)),
        ("a red circle", (False, False, False)),
    ],
)
def test_each_aspect_is_judged_for_itself(text, right):
    red, blue = (list(COLOURS).index(name) for name in ("red", "blue"))
    circle, square = (list(SHAPES).index(name) for name in ("circle", "square"))
    x = captioned.draw(np.array([[(red, circle, 0, 5, 9), (blue, square, 1, 15, 11)]])) / 255
    assert captions.judge(captions.read(x)[0], text) == right


def test_dim_shapes_and_empty_pictures_have_no_objects_and_a_third_one_makes_all_wrong():
    _, x, texts = drawn(50, singles=0.0)
    assert (captions.read(0.3 * x) == NONE).all()
    assert (captions.read(np.zeros_like(x)) == NONE).all()
    corner = captioned.draw(np.array([[(1, 1, 0, 3, 3)]])) / 255
    free = x[:, :7, :7].max(axis=(1, 2, 3)) == 0
    assert free.sum() > 5
    metrics = captions.rates(captions.read((x + corner)[free]), np.array(texts)[free].tolist())
    assert set(metrics.values()) == {0.0}


def test_rates_are_shares_of_pictures_and_other_data_have_none():
    spec = load("captioned-shapes").spec
    objects, x, texts = drawn(40, singles=0.0)
    objects[::4, :, 0] = (objects[::4, :, 0] + 1) % len(COLOURS)
    metrics = captions.caption_metrics(spec, texts, captioned.draw(objects) / np.float32(255))
    assert metrics["colour_right_rate"] == metrics["caption_right_rate"] == 0.75
    assert metrics["shape_right_rate"] == metrics["place_right_rate"] == 1.0
    assert metrics["shuffled_caption_right_rate"] < 0.2
    assert captions.caption_metrics(load("digits8x8").spec, texts, x) == {}
    assert captions.read(x[:0]).shape == (0, captions.MOST, 5)
