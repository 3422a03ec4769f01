"""Two folders of pictures as x and target: pairs by their names, segment maps, unpaired domains, refusals."""

import numpy as np
import pytest
from PIL import Image

from tinygen.data import Image as ImageField
from tinygen.data import SegmentMap, load
from tinygen.errors import DataError, UsageError

FIELDS = {"x": "photos", "target": "maps"}


def save(path, value, size=(8, 6), mode="RGB"):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value).save(path)


@pytest.fixture
def place(tmp_path):
    """Twelve pairs: photo i has the intensity i, its map 100 + i."""
    for i in range(12):
        save(tmp_path / "two" / "photos" / f"{i:02}.png", (i, 0, 0))
        save(tmp_path / "two" / "maps" / f"{i:02}.bmp", (100 + i, 0, 0))
    return tmp_path / "two"


def test_pictures_of_the_same_names_are_pairs(place):
    data = load(place, fields=FIELDS)
    assert data.spec.name == "two"
    assert data.spec.fields == {name: ImageField(6, 8, 3, "rgb") for name in FIELDS}
    assert data.spec.target.unpaired is None
    seen = []
    for split in (data.train, data.valid, data.test):
        x, target = (split.columns[name][:, 0, 0, 0] for name in FIELDS)
        np.testing.assert_array_equal(target, x + 100)
        seen += x.tolist()
    assert set(seen) == set(range(12))


def test_parts_of_both_folders_are_kept(place):
    for name, first in (("photos", 0), ("maps", 100)):
        for i in range(12):
            part, (file,) = ("test" if i < 3 else "train"), (place / name).glob(f"{i:02}.*")
            save(place / name / part / f"{i:02}.png", (first + i, 0, 0))
            file.unlink()
    data = load(place, fields=FIELDS)
    assert sorted(data.test.columns["x"][:, 0, 0, 0]) == [0, 1, 2]
    assert sorted(data.test.columns["target"][:, 0, 0, 0]) == [100, 101, 102]


def test_of_domains_that_are_no_pairs_the_smaller_one_is_repeated(place):
    for i in (3, 4, 5):
        (place / "maps" / f"{i:02}.bmp").unlink()
    data = load(place, fields=FIELDS)
    assert data.spec.target.unpaired == "03 of x has no partner in maps"
    assert data.spec.target == ImageField(6, 8, 3, "rgb", unpaired="03 of x has no partner in maps")
    train = {name: data.train.columns[name][:, 0, 0, 0] for name in FIELDS}
    assert len(train["x"]) == len(train["target"]) == 10
    counts = np.unique(train["target"], return_counts=True)[1]
    assert counts.tolist().count(2) == 3
    assert len(counts) == 7


def test_pictures_of_the_same_names_can_be_said_to_be_unpaired(place):
    data = load(place, fields=FIELDS | {"target": "maps:unpaired"})
    assert data.spec.target.unpaired == "they were given as unpaired"


def test_drawn_maps_become_classes_beside_their_photos(place):
    for i in range(12):
        save(place / "maps" / f"{i:02}.bmp", (255, 0, 0) if i % 2 else (0, 0, 255))
    data = load(place, fields={"x": "maps:map", "target": "photos:rgb"})
    assert data.spec.x == SegmentMap(6, 8, 2, colours=((0, 0, 255), (255, 0, 0)))
    np.testing.assert_array_equal(data.train.columns["x"][:, 0, 0], data.train.columns["target"][:, 0, 0, 0] % 2)


def test_grey_maps_hold_classes_as_intensities(place):
    for i in range(12):
        save(place / "maps" / f"{i:02}.bmp", 7 * (i % 3), mode="L")
    data = load(place, fields=FIELDS | {"target": "maps:map"})
    assert data.spec.target.classes == 3
    np.testing.assert_array_equal(data.train.columns["target"][:, 0, 0], data.train.columns["x"][:, 0, 0, 0] % 3)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (FIELDS | {"target": "none"}, "two: fields: there is no folder 'none' for target; its folders: empty, maps, p"),
        (FIELDS | {"target": "empty"}, "two: empty: there are no images in the folder"),
        (FIELDS | {"target": "sized"}, "two: sized: sizes differ: .* bring all images to one size"),
    ],
)
def test_folders_that_are_no_domains_are_refused(place, fields, message):
    (place / "empty").mkdir()
    if fields["target"] == "sized":
        for i in range(12):
            save(place / "sized" / f"{i:02}.png", (i, 0, 0), size=(8, 6 + i % 2))
    with pytest.raises(DataError, match=message) as refusal:
        load(place, fields=fields)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("fields", "options", "message"),
    [
        (FIELDS | {"y": "labels"}, {}, "give x and target, such as x=photos; not x and target and y"),
        ({"target": "maps"}, {}, "give x and target, such as x=photos; not target"),
        (FIELDS | {"x": "photos:wave"}, {}, "unknown kind 'wave' of a folder: use one of grey, rgb, map or unpaired"),
        (FIELDS, {"skip_broken": True}, "of pairs none can be left out"),
    ],
)
def test_fields_and_options_that_do_not_fit_two_folders_are_refused(place, fields, options, message):
    with pytest.raises(UsageError, match=message):
        load(place, fields=fields, **options)


def test_maps_without_their_pictures_are_refused(place):
    (place / "maps" / "03.bmp").unlink()
    with pytest.raises(DataError, match="no pairs: 03 of x has no partner in maps; segment maps have the names"):
        load(place, fields=FIELDS | {"target": "maps:map"})
