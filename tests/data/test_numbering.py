"""Labels, segment maps and tokens that are given as any integers, as one-hot rows, as floats or as texts."""

import numpy as np
import pytest

from tinygen.data import Dataset, Image, Labels, SegmentMap, Tokens, load
from tinygen.errors import DataError

X = np.arange(40, dtype=np.uint8).reshape(40, 1, 1) * np.ones((1, 2, 2), np.uint8)
Y = np.arange(40) % 4


def labels_of(y, **more):
    """The field, and the label of each example in the order in which they were given."""
    data = Dataset.from_fields("data", {"x": Image(), "y": Labels(**more)}, {"x": X, "y": y})
    parts = [split.batch(slice(None)) for split in (data.train, data.valid, data.test)]
    x, given = (np.concatenate([part[name] for part in parts]) for name in "xy")
    return data.spec.y, given[np.rint(x[:, 0, 0, 0] * 255).astype(int).argsort()]


@pytest.mark.parametrize(
    "y",
    [
        Y.astype(float),
        Y[:, None],
        np.eye(4)[Y],
        np.eye(4, dtype=bool)[Y],
        np.eye(4, dtype=np.uint8)[Y],
        Y.astype(">i2"),
    ],
    ids=["floats", "a column", "one-hot", "one-hot booleans", "one-hot bytes", "big-endian"],
)
def test_labels_of_any_form_are_classes(y):
    field, given = labels_of(y)
    assert (field, given.dtype) == (Labels(4), np.int64)
    np.testing.assert_array_equal(given, Y)


def test_a_class_of_one_hot_rows_without_an_example_is_kept():
    assert labels_of(np.eye(5)[Y])[0] == Labels(5)


@pytest.mark.parametrize("make", [np.array, lambda y: np.array(y, "S3"), lambda y: np.array(y, object)])
def test_texts_are_numbered_in_natural_order(make):
    field, given = labels_of(make([("10", "2", "b", "a1")[label] for label in Y]))
    assert field == Labels(names=("2", "10", "a1", "b"))
    np.testing.assert_array_equal(given, np.array([1, 0, 3, 2])[Y])


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (Y - 1, "y_train holds the label -1; labels count from 0: leave out examples without a label, or number"),
        (Y / 2, "y_train holds 0.5; labels are classes: give whole numbers, or take them as numbers"),
        (np.where(Y, Y, np.nan), "y_train holds nan; labels are classes"),
        (np.eye(4)[Y] * 0.9, r"y_train has shape \(40, 4\) and dtype float64; labels are integers of shape \(N,\), or"),
        (np.eye(4)[Y] + np.eye(4)[0], r"y_train has shape \(40, 4\)"),
    ],
    ids=["negative", "halves", "nan", "soft", "several"],
)
def test_labels_that_are_no_classes_are_refused(y, message):
    with pytest.raises(DataError, match=message):
        labels_of(y)


@pytest.mark.parametrize("key", ["y", "label", "labels"])
def test_one_hot_rows_of_a_file_are_labels_and_others_attributes(tmp_path, key):
    np.savez(tmp_path / "hot.npz", x=X, **{key: np.eye(4, dtype=np.uint8)[Y]})
    np.savez(tmp_path / "many.npz", x=X, **{key: np.eye(4, dtype=np.uint8)[Y] | np.eye(4, dtype=np.uint8)[0]})
    assert load(tmp_path / "hot.npz").spec.y == Labels(4)
    assert load(tmp_path / "many.npz").spec.y.in_words() == "4 binary attributes"
    assert load(tmp_path / "hot.npz", fields={"y": f"{key}:attributes"}).spec.y.in_words() == "4 binary attributes"


def test_values_of_a_segment_map_with_gaps_are_numbered_anew(capsys):
    mask = np.where(X % 3 == 0, 0, np.where(X % 3 == 1, 255, 200_017))
    data = Dataset.from_fields("masks", {"x": Image(), "mask": SegmentMap()}, {"x": X, "mask": mask})
    assert data.spec.mask == SegmentMap(2, 2, 3, ids=(0, 255, 200_017))
    batch = data.train.batch(slice(None))
    np.testing.assert_array_equal(batch.mask[:, 0, 0], np.rint(batch.x[:, 0, 0, 0] * 255) % 3)
    expected = "no pixel has the value 1 to 254, 256 to 200016; 0 to 200017 are now the classes 0 to 2"
    assert f"masks: mask: {expected}" in capsys.readouterr().err
    with pytest.raises(DataError, match="mask_test holds the label 7, of which train has no example"):
        data.spec.mask.store("mask_test", mask * 0 + 7)


@pytest.mark.parametrize("mask", [X.astype(int) - 1, np.arange(40 * 9).reshape(40, 3, 3)])
def test_a_segment_map_of_other_numbers_than_classes_is_refused(mask):
    with pytest.raises(
        DataError, match=r"m_train holds \d+ different values from -?\d+ to \d+; a segment map holds up to"
    ):
        SegmentMap().fit({"m_train": mask})


def test_tokens_that_are_identifiers_are_refused():
    with pytest.raises(DataError, match="t_train holds the token 2000000017: number the tokens from 0"):
        Tokens().fit({"t_train": np.array([[3, 2_000_000_017]])})


@pytest.mark.parametrize(
    "blocks", [np.repeat([0, 1, 2, 3], 100), np.repeat([3, 0, 2, 1], 100), np.tile(np.repeat([0, 1], 100), 2)]
)
@pytest.mark.parametrize("form", [np.asarray, lambda y: np.eye(4, dtype=int)[y], lambda y: y[:, None].astype(float)])
def test_examples_that_lie_together_by_class_are_split_in_proportion(blocks, form, tmp_path):
    x = np.repeat(X, 10, axis=0)
    np.savez(tmp_path / "blocks.npz", x=x, y=form(blocks))
    for data in (Dataset.from_arrays("blocks", x, form(blocks)), load(tmp_path / "blocks.npz")):
        assert set(data.valid.values("y")) == set(data.test.values("y")) == set(blocks)


def test_examples_in_any_other_order_are_split_by_position():
    data = Dataset.from_arrays("mixed", X, Y)
    np.testing.assert_array_equal(np.rint(data.test.values("x")[:, 0, 0, 0] * 255), [36, 37, 38, 39])


def test_floats_a_hair_outside_the_unit_range_are_clipped_and_others_are_shown_with_all_digits():
    x = np.full((3, 2, 2), 0.5)
    x[0, 0], x[1, 0] = 1.0000001, -1e-7
    stored = Image(2, 2, 1, "grey").store("x_train", x)
    assert (stored.min(), stored.max()) == (0, 1)
    x[0, 0] = 1.00002
    with pytest.raises(DataError, match=r"x_train has values from -1e-07 to 1\.00002; float images lie in \[0, 1\]"):
        Image(2, 2, 1, "grey").store("x_train", x)
