"""Data sets of any fields: batches, specifications, splits, columns that are read on demand."""

import copy
import hashlib
import json
import pickle

import numpy as np
import pytest

from tinygen.data import (
    Attributes,
    Batch,
    Column,
    Dataset,
    Image,
    Labels,
    Loader,
    Points,
    SegmentMap,
    Spec,
    Split,
    Tokens,
)
from tinygen.data.batch import Padded
from tinygen.data.needs import in_words, unmet
from tinygen.errors import DataError, UsageError
from tinygen.random import Stream

X = Stream(0, "images").integers(256, (40, 4, 5)).astype(np.uint8)


# Batches


def test_a_batch_is_a_mapping_with_attributes():
    batch = Batch(x=np.zeros((3, 2)), caption=Padded(np.zeros((3, 4), int), np.array([1, 2, 4])))
    assert (len(batch), list(batch), "caption" in batch, "y" in batch) == (3, ["x", "caption"], True, False)
    assert batch.x is batch["x"]
    assert dict(batch).keys() == {"x", "caption"}
    assert batch.get("y") is None
    with pytest.raises(AttributeError, match="the batch has no field 'y'; it has x, caption"):
        _ = batch.y
    with pytest.raises(KeyError, match="the batch has no field 'y'; it has x, caption"):
        batch["y"]
    with pytest.raises(AttributeError):
        batch.x = 3
    assert not hasattr(batch, "target")


@pytest.mark.parametrize("name", ["items", "to", "x y", "_values", "caption"])
def test_any_string_can_be_the_name_of_a_field(name):
    batch = Batch({name: np.arange(2)})
    assert batch[name].tolist() == [0, 1]
    assert batch.to("cpu")[name].tolist() == [0, 1]


def test_a_batch_moves_all_its_fields_to_a_device():
    batch = Batch(x=np.zeros((2, 1)), caption=Padded(np.ones((2, 3)), np.array([3, 1])))
    moved = batch.to("cpu")
    np.testing.assert_array_equal(moved.caption.values, batch.caption.values)
    np.testing.assert_array_equal(moved.x, batch.x)
    with pytest.raises(UsageError, match="tpu"):
        batch.to("tpu")


def test_a_batch_can_be_copied():
    batch = Batch(x=np.arange(3))
    for each in (copy.deepcopy(batch), pickle.loads(pickle.dumps(batch))):
        np.testing.assert_array_equal(each.x, batch.x)


# Specifications


def test_a_spec_names_its_fields():
    spec = Spec("pairs", {"x": Image(2, 2, 1, "grey"), "y": Labels(3), "name": Points(2)})
    assert spec.x is spec["x"]
    assert (spec.classes, spec.name, spec["name"], "z" in spec) == (3, "pairs", Points(2), False)
    assert Spec("points", {"x": Points(2)}).classes is None
    with pytest.raises(AttributeError, match="data set 'pairs' has no field 'target'; it has x, y, name"):
        _ = spec.target
    with pytest.raises(KeyError, match="no field 'target'"):
        spec["target"]
    assert Spec.from_description(json.loads(json.dumps(spec.describe()))) == spec
    assert copy.deepcopy(spec) == spec


DESCRIPTIONS_WITHOUT_FIELDS = {
    "binary": {
        "name": "digits8x8",
        "shape": [8, 8, 1],
        "kind": "binary",
        "classes": 10,
        "class_names": None,
        "binarisation": "dynamic",
        "limits": None,
        "palette": None,
    },
    "rgb": {
        "name": "cats",
        "shape": [8, 6, 3],
        "kind": "rgb",
        "classes": 2,
        "class_names": ["cat", "dog"],
        "binarisation": None,
        "limits": None,
        "palette": None,
    },
    "points": {
        "name": "mixture1d",
        "shape": [1],
        "kind": "points",
        "classes": None,
        "class_names": None,
        "binarisation": None,
        "limits": [-3.2, 3.4],
        "palette": None,
    },
}


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("binary", {"x": Image(8, 8, 1, "binary", binarisation="dynamic"), "y": Labels(10)}),
        ("rgb", {"x": Image(8, 6, 3, "rgb"), "y": Labels(2, ("cat", "dog"))}),
        ("points", {"x": Points(1, (-3.2, 3.4))}),
    ],
)
def test_descriptions_of_versions_without_fields_are_read(kind, fields):
    assert Spec.from_description(DESCRIPTIONS_WITHOUT_FIELDS[kind]) == Spec(
        DESCRIPTIONS_WITHOUT_FIELDS[kind]["name"], fields
    )


def test_needs_and_what_is_unmet_are_described_in_words():
    needs = {"x": (Image(kind="grey"), Image(kind="rgb"), Points()), "y": Labels()}
    assert in_words(needs["x"]) == "grey or rgb images, or points"
    assert unmet(needs, Spec("a", {"x": Points(2), "y": Labels(2)})) is None
    assert unmet(needs, Spec("a", {"x": Points(2)})) == "labels as y, and 'a' has only x: add y_train"
    assert unmet(needs, Spec("a", {"x": Image(2, 2, 1, "binary"), "y": Labels(2)})) == (
        "grey or rgb images, or points as x, and 'a' has 2×2 binary images"
    )


# Data sets


def test_class_ids_in_uint8_are_not_pixels():
    mask = np.full((40, 4, 5), 3, np.uint8)
    mask[:, 0] = 7
    y = np.full(40, 7, np.uint8)
    data = Dataset.from_fields(
        "masks", {"x": Image(), "mask": SegmentMap(classes=8), "y": Labels(8)}, {"x": X, "mask": mask, "y": y}
    )
    batch = next(Loader(data.train, 8, seed=0))
    assert (batch.mask[:, 0] == 7).all()
    assert (batch.mask[:, 1:] == 3).all()
    assert (batch.y == 7).all()
    assert batch.x.max() <= 1
    assert data.spec.fields == {"x": Image(4, 5, 1, "grey"), "mask": SegmentMap(4, 5, 8), "y": Labels(8)}


def test_valid_and_test_have_each_class_in_proportion_and_no_example_is_lost():
    y = np.repeat([0, 1, 2], [200, 100, 20])
    numbers = np.arange(320)
    data = Dataset.from_fields("sorted", {"n": Points(), "y": Labels()}, {"n": numbers, "y": y})
    parts = data.train, data.valid, data.test
    assert [len(part) for part in parts] == [260, 28, 32]
    assert np.bincount(data.test.values("y")).tolist() == [20, 10, 2]
    assert np.abs(np.bincount(data.valid.values("y")) - [18, 9, 1.8]).max() < 1
    all_numbers = np.concatenate([part.values("n")[:, 0] for part in parts]).astype(int)
    assert sorted(all_numbers) == numbers.tolist()
    np.testing.assert_array_equal(np.concatenate([part.values("y") for part in parts]), y[all_numbers])
    second = Dataset.from_fields("sorted", {"n": Points(), "y": Labels()}, {"n": numbers, "y": y})
    np.testing.assert_array_equal(second.valid.values("n"), data.valid.values("n"))
    assert len(set(data.valid.take(10).values("y"))) > 1


def test_given_splits_are_not_changed():
    fields = {"x": Image()}
    data = Dataset.from_fields("given", fields, {"x": X}, {"x": X[:3]}, {"x": X[5:9]})
    for part, rows in ((data.train, slice(None)), (data.valid, slice(3)), (data.test, slice(5, 9))):
        np.testing.assert_array_equal(part.columns["x"][..., 0], X[rows])
    smallest = Dataset.from_fields("three", fields, {"x": X[:3]})
    assert [len(part) for part in (smallest.train, smallest.valid, smallest.test)] == [1, 1, 1]


PAIRS = {"x": Image(), "target": Image(kind="grey")}


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"train": {"x": X, "target": X[:9]}}, "target_train holds 9 examples and x_train 40; there must be one for"),
        ({"train": {"x": X}}, "the field target is there but target_train is not"),
        ({"train": {"x": X, "target": X}, "test": {"x": X}}, "target_train is there but target_test is not"),
        (
            {"train": {"x": X, "target": X, "z": X}},
            "z_train is there, but the fields are x, target; add a field for it",
        ),
        ({"train": {"x": X, "target": X / 2.0}}, "target_train has values from 0 to 127.5; float images lie in"),
        ({"train": {"x": X[:2], "target": X[:2]}}, "too few examples"),
        ({"train": {}}, "there are no training data"),
    ],
)
def test_error_messages_name_the_array(parts, message):
    with pytest.raises(DataError, match=message) as refusal:
        Dataset.from_fields("bad", PAIRS, **parts)
    assert "\n" not in str(refusal.value)


def test_renumbered_labels_are_reported_once(capsys):
    parts = {"train": {"x": X, "y": 1 + np.arange(40) % 26}, "test": {"x": X[:2], "y": np.array([26, 1])}}
    for _ in range(2):
        data = Dataset.from_fields("letters", {"x": Image(), "y": Labels()}, **parts)
    assert data.spec.y.names[0] == "1"
    assert data.test.values("y").tolist() == [25, 0]
    note = "tinygen: letters: y: no example has the label 0; 1 to 26 are now the classes 0 to 25\n"
    assert capsys.readouterr().err == note


def test_data_without_images_as_x_cannot_be_binarised():
    data = Dataset.from_fields("text", {"text": Tokens()}, {"text": ["ab"] * 9})
    with pytest.raises(UsageError, match=r"text cannot be binarised \(it has no x\): only grey images can"):
        data.binarised("dynamic")


def test_binarisation_changes_no_other_field():
    fields = {"x": Image(), "mask": Image(), "tags": Attributes(binary=True)}
    data = Dataset.from_fields("pairs", fields, {"x": X, "mask": X, "tags": X[:, :, 0] > 99})
    binary = data.binarised("dynamic")
    assert binary.spec.x.kind == "binary"
    assert binary.spec.mask == data.spec.mask
    for part in ("train", "test"):
        batch = getattr(binary, part).batch(slice(None))
        assert set(np.unique(batch.x)) == {0, 1}
        np.testing.assert_array_equal(batch.mask, getattr(data, part).values("mask"))


class CountingColumn(Column):
    """A column that counts the images that are read from it."""

    def __init__(self, images):
        self.images, self.read = images, 0

    def __len__(self):
        return len(self.images)

    def __getitem__(self, indices):
        images = self.images[indices]
        self.read += len(images)
        return images

    def digest(self):
        return hashlib.blake2b(self.images.tobytes()).digest()


def test_examples_of_a_column_are_read_only_for_batches():
    column, y = CountingColumn(X[..., None]), np.arange(40) % 2
    fields = {"x": Image(4, 5, 1, "grey"), "y": Labels()}
    data = Dataset.from_fields("lazy", fields, {"x": column, "y": y})
    in_memory = Dataset.from_fields("in_memory", fields, {"x": X, "y": y})
    assert [len(part) for part in (data.train, data.valid, data.test.take(2))] == [33, 3, 2]
    data.train.values("y")
    assert column.read == 0
    np.testing.assert_array_equal(data.train.batch([4, 1]).x, in_memory.train.batch([4, 1]).x)
    assert column.read == 2
    np.testing.assert_array_equal(data.train.slice(3, 30).take(5).values("x"), in_memory.train.values("x")[3:8])
    for binary, expected in zip(
        (data.binarised("dynamic").valid, data.binarised("threshold").test),
        (in_memory.binarised("dynamic").valid, in_memory.binarised("threshold").test),
        strict=True,
    ):
        np.testing.assert_array_equal(binary.values("x"), expected.values("x"))


def test_the_digest_depends_on_every_value_and_on_the_order():
    def digest(split):
        sha256 = hashlib.sha256()
        split.add_to_digest(sha256)
        return sha256.hexdigest()

    fields = {"x": Image(4, 5, 1, "grey")}
    changed = X.copy()
    changed[7, 0, 0] ^= 1
    for make in (lambda x: x[..., None], lambda x: CountingColumn(x[..., None])):
        original = Split(fields, {"x": make(X)})
        others = [Split(fields, {"x": make(changed)}), original.take(39), original.rows(np.arange(40)[::-1])]
        assert len({digest(split) for split in (original, *others)}) == 4
        assert digest(original) == digest(Split(fields, {"x": make(X)}))


def test_the_shape_of_images_stands_for_the_fields():
    spec = Spec("digits", (8, 6, 1), "binary", classes=3)
    assert spec == Spec("digits", {"x": Image(8, 6, 1, "binary"), "y": Labels(3)})
    assert (spec.kind, spec.classes, spec.x.shape) == ("binary", 3, (8, 6, 1))
    assert Spec("photos", (8, 6, 3)).classes is None
    assert Spec("points", {"x": Points(2)}).kind is None


def test_an_array_alone_is_the_field_x():
    x, y = np.zeros((3, 2)), np.arange(3)
    batch = Batch(x, y=y)
    assert batch.x is x and batch.y is y and len(batch) == 3
    assert len(Batch()) == 0
