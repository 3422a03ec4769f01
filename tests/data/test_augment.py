"""Random symmetries: each occurs as often, and all pictures of an example change alike, but for indices and classes."""

import itertools

import numpy as np
import pytest

from tinygen.data import Clip, Image, Labels, SegmentMap
from tinygen.data.augment import symmetries
from tinygen.data.batch import Batch
from tinygen.random import Stream

DRAWS = 1500


def every_symmetry(picture, *, turns=range(4)):
    """The pictures that mirroring, turning, permuting colours and inverting make of one picture (H, W, C)."""
    for mirrored, turn, colours, inverted in itertools.product(
        (False, True), turns, itertools.permutations(range(picture.shape[2])), (False, True)
    ):
        other = np.rot90(picture[:, ::-1] if mirrored else picture, turn)[..., list(colours)]
        yield 1 - other if inverted else other


def augmented(fields, n=DRAWS, **pictures):
    batch = Batch({name: np.repeat(picture[None], n, 0) for name, picture in pictures.items()})
    return symmetries(fields, batch, Stream(0, "augment"))


@pytest.mark.parametrize(
    ("shape", "turns", "count"),
    [((4, 4, 3), range(4), 96), ((4, 3, 3), (0, 2), 48), ((4, 4, 1), range(4), 16), ((3, 4, 1), (0, 2), 8)],
)
def test_all_symmetries_occur_equally_often_and_nothing_else(shape, turns, count):
    x = Stream(0, "x").uniform(shape)
    expected = {each.tobytes() for each in every_symmetry(x, turns=turns)}
    assert len(expected) == count
    found = [each.tobytes() for each in augmented({"x": Image(*shape, "rgb" if shape[2] == 3 else "grey")}, x=x).x]
    assert set(found) == expected
    share = DRAWS / count
    assert max(abs(found.count(each) - share) for each in expected) < 5 * share**0.5


def test_pictures_of_an_example_change_together_and_classes_keep_their_values():
    x = Stream(0, "x").uniform((4, 4, 3))
    fields = {
        "x": Image(4, 4, 3, "rgb"),
        "target": Image(4, 4, 3, "rgb"),
        "place": SegmentMap(4, 4, 16),
        "clip": Clip(2, 4, 4, 3, "rgb"),
        "y": Labels(9),
    }
    given = {"x": x, "target": x, "place": np.arange(16).reshape(4, 4), "clip": np.stack([x, x]), "y": np.array(7)}
    batch = augmented(fields, 50, **given)
    np.testing.assert_array_equal(batch.target, batch.x)
    np.testing.assert_array_equal(batch.clip, np.stack([batch.x, batch.x], axis=1))
    assert (batch.y == 7).all()
    for picture, places in zip(batch.x, batch.place, strict=True):
        moved = x.reshape(16, 3)[places.ravel()].reshape(4, 4, 3)
        recoloured = [moved[..., list(order)] for order in itertools.permutations(range(3))]
        assert any(np.array_equal(picture, each) or np.array_equal(picture, 1 - each) for each in recoloured)
    np.testing.assert_array_equal(np.sort(batch.place.reshape(50, 16)), np.tile(np.arange(16), (50, 1)))


def test_indices_of_a_palette_are_not_inverted():
    indices = np.arange(16, dtype=np.int64).reshape(4, 4, 1)
    field = Image(4, 4, 1, "indexed", palette=((0, 0, 0),) * 16)
    assert set(np.unique(augmented({"x": field}, 20, x=indices).x)) == set(range(16))
