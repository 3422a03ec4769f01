"""Captioned shapes: captions that say what the pictures show, in scenes that train never has."""

import numpy as np
import pytest

from tinygen.data import Image, Tokens, captioned, load, names
from tinygen.data.captioned import COLOURS, NONE, RADII, SHAPES, SIDE, parse
from tinygen.random import Stream


@pytest.fixture(scope="module")
def data():
    return load("captioned-shapes")


def captions(split):
    return [split.fields["caption"].draw(each) for each in split.values("caption")]


def scene(caption):
    """The kinds of a caption and their place, in an order that does not depend on which is named first."""
    meaning = parse(caption)
    turned = meaning.place in ("below", "right of")
    return meaning.kinds[::-1] if turned else meaning.kinds, captioned.CONVERSE[
        meaning.place
    ] if turned else meaning.place


def test_the_set_is_listed_and_the_same_whenever_it_is_made(data):
    assert dict(names())["captioned-shapes"] == "generated: x image, caption words"
    words = {"a", "of", *COLOURS, *SHAPES, *RADII, "above", "below", "left", "right"}
    assert data.spec.fields == {
        "x": Image(SIDE, SIDE, 3, "rgb"), "caption": Tokens(tuple(sorted(words)), captioned.LONGEST, " ")
    }  # fmt: skip
    again = captioned.make()
    for name, column in data.test.columns.items():
        np.testing.assert_array_equal(again.test.columns[name], column)


def test_scenes_of_test_and_valid_are_not_in_train_but_all_their_parts_are(data):
    scenes = {
        part: {scene(caption) for caption in captions(getattr(data, part))} for part in ("train", "valid", "test")
    }
    pairs = {part: {each for each in found if each[1]} for part, found in scenes.items()}
    assert {part: len(found) for part, found in pairs.items()} == captioned.SCENES
    assert not pairs["train"] & pairs["test"]
    assert not pairs["train"] & pairs["valid"]
    assert not pairs["valid"] & pairs["test"]
    assert len(scenes["train"] - pairs["train"]) == len(COLOURS) * len(SHAPES), "every shape alone"
    assert scenes["test"] == pairs["test"]
    for position in (0, 1):
        for place in ("above", "left of"):
            seen = {kinds[position] for kinds, where in pairs["train"] if where == place}
            assert len(seen) == len(COLOURS) * len(SHAPES), "every kind in every place"


@pytest.mark.parametrize(
    ("caption", "kinds", "sizes", "place"),
    [
        ("a red circle", (("red", "circle"),), (None,), None),
        (
            "a small red circle above a blue square",
            (("red", "circle"), ("blue", "square")),
            ("small", None),
            "above",
        ),
        (
            "a green triangle right of a large yellow circle",
            (("green", "triangle"), ("yellow", "circle")),
            (None, "large"),
            "right of",
        ),
    ],
)
def test_a_caption_is_parsed_and_written_again(caption, kinds, sizes, place):
    meaning = parse(caption)
    assert (meaning.kinds, meaning.sizes, meaning.place) == (kinds, sizes, place)
    assert meaning.in_words() == caption


@pytest.mark.parametrize("text", ["a circle", "a red circle above", "red circle", "a red circle beside a blue square"])
def test_other_texts_are_no_captions(text):
    with pytest.raises(ValueError, match="is no caption of captioned-shapes"):
        parse(text)


def test_pictures_have_the_places_sizes_and_colours_of_their_objects():
    objects, meanings = captioned.examples(300, captioned.scenes_of_parts()["train"], 0.2, Stream(0, "test"))
    pictures = captioned.draw(objects).astype(np.float64)
    middles = np.arange(SIDE) + 0.5
    shades = np.array(list(COLOURS.values()))
    for picture, each, meaning in zip(pictures, objects, meanings, strict=True):
        there = each[each[:, 0] != NONE]
        assert len(there) == len(meaning.kinds)
        alone = [captioned.draw(one[None, None])[0].astype(np.float64) for one in there]
        np.testing.assert_allclose(sum(alone), picture, atol=1)
        for one, (colour, shape, size, row, column) in zip(alone, there, strict=True):
            cover = one.sum(axis=2) / shades[colour].sum()
            assert one.max(axis=(0, 1)) == pytest.approx(shades[colour], abs=1)
            centre = (cover * middles[:, None]).sum() / cover.sum(), (cover * middles).sum() / cover.sum()
            radius = list(RADII.values())[size]
            lower = 0.18 * radius if list(SHAPES)[shape] == "triangle" else 0
            assert centre == pytest.approx((row + lower, column), abs=0.1)
            share = {"circle": np.pi, "square": 4 * 0.9**2, "triangle": 1.44 * 3 * np.sqrt(3) / 4}[list(SHAPES)[shape]]
            assert cover.sum() == pytest.approx(share * radius**2, rel=0.1)
        if meaning.place:
            assert (alone[0] * alone[1]).max() < 0.3 * 255**2, "they hardly touch"


def test_places_are_those_of_the_captions():
    objects, meanings = captioned.examples(400, captioned.scenes_of_parts()["train"], 0.0, Stream(0, "places"))
    for each, meaning in zip(objects, meanings, strict=True):
        first = next(
            i for i in (0, 1)
            if (list(COLOURS)[each[i, 0]], list(SHAPES)[each[i, 1]]) == meaning.kinds[0]
        )  # fmt: skip
        down, right = each[1 - first, 3:] - each[first, 3:]
        largest = max(abs(down), abs(right))
        direction = {"above": down, "below": -down, "left of": right, "right of": -right}[meaning.place]
        assert direction == largest
        assert abs(down) != abs(right)
