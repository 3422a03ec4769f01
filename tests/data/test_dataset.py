"""Data sets from arrays: fields and splits, refusals, batches, binarisation."""

import numpy as np
import pytest

from tinygen import random
from tinygen.data import Dataset, Image, Labels, Spec, Split
from tinygen.data.binarise import DynamicallyBinarised
from tinygen.errors import DataError, UsageError
from tinygen.random import Stream


def grey_images(n, shape=(4, 5)):
    return Stream(0, "images").integers(256, (n, *shape)).astype(np.uint8)


def grey_set(n=40):
    return Dataset.from_arrays("grey", grey_images(n), np.arange(n) % 3)


def test_valid_is_the_last_tenth_of_train():
    x, y = grey_images(53), np.arange(53) % 7
    data = Dataset.from_arrays("both", x, y, x[:9], y[:9], ["a", "b", "c", "d", "e", "f", "g"])
    assert [len(split) for split in (data.train, data.valid, data.test)] == [48, 5, 9]
    np.testing.assert_array_equal(data.valid.columns["x"][..., 0], x[48:])
    np.testing.assert_array_equal(data.valid.columns["y"], y[48:])
    assert data.spec == Spec("both", {"x": Image(4, 5, 1, "grey"), "y": Labels(7, tuple("abcdefg"))})


def test_without_test_arrays_the_last_tenth_of_train_is_test():
    data = Dataset.from_arrays("whole", grey_images(100))
    assert [len(split) for split in (data.train, data.valid, data.test)] == [81, 9, 10]
    np.testing.assert_array_equal(data.test.columns["x"][..., 0], grey_images(100)[90:])
    assert (data.spec.classes, data.spec.class_names) == (None, None)
    smallest = Dataset.from_arrays("three", grey_images(3))
    assert [len(split) for split in (smallest.train, smallest.valid, smallest.test)] == [1, 1, 1]


def test_batches_are_float32_in_the_unit_range():
    batch = grey_set().train.batch([3, 0])
    np.testing.assert_array_equal(batch.x[..., 0], grey_images(40)[[3, 0]] / np.float32(255))
    assert batch.x.dtype == np.float32
    assert batch.x.shape == (2, 4, 5, 1)
    assert batch.x.flags.c_contiguous
    assert batch.y.tolist() == [0, 0]
    assert batch.y.dtype == np.int64
    assert len(batch) == 2


@pytest.mark.parametrize(
    ("images", "kind", "largest"),
    [
        (np.full((3, 2, 2), 200, np.uint8), "grey", 200 / 255),
        (np.ones((3, 2, 2), bool), "binary", 1),
        (np.ones((3, 2, 2), np.uint8), "binary", 1),
        (np.full((3, 2, 2, 1), 255, np.uint8), "binary", 1),
        (np.ones((3, 2, 2)), "binary", 1),
        (np.full((3, 2, 2), 0.25, np.float16), "grey", 0.25),
        (np.full((3, 2, 2, 3), 255, np.uint8), "rgb", 1),
    ],
)
def test_the_kind_of_images_follows_from_their_array(images, kind, largest):
    data = Dataset.from_arrays("kinds", images)
    assert data.spec.x.kind == kind
    assert data.train.batch([0]).x.max() == np.float32(largest)


def test_the_value_white_becomes_one():
    images = np.array([0, 4, 16], np.uint8)[:, None, None] * np.ones((2, 2), np.uint8)
    data = Dataset.from_arrays("sixteen", images, x_test=images, white=16)
    assert data.test.batch(slice(None)).x[:, 0, 0, 0].tolist() == [0, 0.25, 1]


X = np.zeros((10, 4, 4), np.uint8)
Y = np.arange(10)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"x_train": np.zeros((10, 4))}, r"x_train has shape \(10, 4\)"),
        ({"x_train": np.zeros((10, 4, 4, 2))}, r"x_train has shape \(10, 4, 4, 2\)"),
        ({"x_train": np.zeros((10, 0, 4))}, r"x_train has shape \(10, 0, 4\)"),
        ({"x_train": X[:0]}, "x_train holds no images"),
        ({"x_train": X[:2]}, "at least 3"),
        ({"x_train": X.astype(complex)}, "x_train has dtype complex128"),
        ({"x_train": X.astype(np.int32) + 256}, "x_train has values from 256 to 256; integer images lie in 0 to 255"),
        ({"x_train": X.astype(np.int32) - 1}, "x_train has values from -1 to -1"),
        ({"x_train": np.full((10, 4, 4), np.nan)}, "x_train holds NaN"),
        ({"x_train": np.full((10, 4, 4), np.inf)}, "x_train holds NaN or infinite"),
        ({"x_train": X - 0.5}, "x_train has values from -0.5 to -0.5"),
        ({"x_train": X, "x_test": X - 300.0}, "x_test has values from -300 to -300"),
        (
            {"x_train": X, "x_test": X[:, :3]},
            r"x_test has shape \(10, 3, 4\); images are \(N, 4, 4\) or \(N, 4, 4, 1\)",
        ),
        ({"x_train": X | 1, "x_test": X | 9}, "x_test has values from 9 to 9; integer images lie in 0 to 1"),
        ({"x_train": X, "y_train": Y[:9]}, "y_train holds 9 examples and x_train 10; there must be one for each"),
        ({"x_train": X, "y_train": Y / 2}, "y_train holds 0.5; labels are classes: give whole numbers"),
        ({"x_train": X, "y_train": np.tile(Y, (2, 1)).T}, r"y_train has shape \(10, 2\)"),
        ({"x_train": X, "y_train": Y - 1}, "y_train holds the label -1"),
        ({"x_train": X, "y_train": Y, "x_test": X}, "y_train is there but y_test is not"),
        ({"x_train": X, "x_test": X, "y_test": Y}, "y_test is there but y_train is not"),
        ({"x_train": X, "y_train": Y, "class_names": ["a", "b"]}, "label 9 has no name"),
        ({"x_train": X, "y_train": Y, "class_names": np.arange(10)}, "the names have shape"),
    ],
)
def test_error_messages_name_the_array(arguments, message):
    with pytest.raises(DataError, match=message) as refusal:
        Dataset.from_arrays("bad", **arguments)
    assert "\n" not in str(refusal.value)


def test_take_and_batches_keep_order():
    split = grey_set().train
    assert [len(batch) for batch in split.batches(10)] == [10, 10, 10, 3]
    joined = np.concatenate([batch.x for batch in split.batches(10)])
    np.testing.assert_array_equal(joined, split.batch(slice(None)).x)
    assert len(split.take(7)) == 7
    assert len(split.take(1000)) == 33
    np.testing.assert_array_equal(split.take(7).batch([6]).x, joined[6:7])


def test_changing_a_batch_does_not_change_the_stored_images():
    split = Split({"x": Image(2, 2, 1, "grey")}, {"x": np.zeros((3, 2, 2, 1), np.float32)})
    split.batch(slice(None)).x[:] = 1
    assert split.columns["x"].max() == 0


def test_threshold_binarisation_gives_one_from_one_half_up():
    images = np.array([0, 127, 128, 255], np.uint8)[:, None, None] * np.ones((2, 2), np.uint8)
    data = Dataset.from_arrays("levels", images, x_test=images).binarised("threshold")
    assert (data.spec.x.kind, data.spec.x.binarisation) == ("binary", "threshold")
    assert data.test.batch(slice(None)).x[:, 0, 0, 0].tolist() == [0, 0, 1, 1]
    floats = Dataset.from_arrays("levels", np.array([[[0.49999, 0.5]]] * 3))
    assert floats.binarised("threshold").test.batch([0]).x.ravel().tolist() == [0, 1]


def test_dynamic_binarisation_samples_each_training_batch_from_the_stream():
    data = grey_set().binarised("dynamic")
    assert (data.spec.x.kind, data.spec.x.binarisation) == ("binary", "dynamic")
    stream = Stream(1, "draws")
    first, second = data.train.batch([0, 1], stream), data.train.batch([0, 1], stream)
    assert set(np.unique(first.x)) == {0, 1}
    assert (first.x != second.x).any()
    same_stream = data.train.batch([0, 1], Stream(1, "draws"))
    np.testing.assert_array_equal(first.x, same_stream.x)
    np.testing.assert_array_equal(first.y, grey_set().train.batch([0, 1]).y)
    assert isinstance(data.train.take(3), DynamicallyBinarised)


def test_dynamic_binarisation_without_a_stream_uses_the_data_stream_of_the_process():
    before = random.get_state()
    try:
        random.seed(5)
        x = grey_set().binarised("dynamic").train.batch([2]).x
        np.testing.assert_array_equal(x, Stream(5, "data").bernoulli(grey_set().train.batch([2]).x))
    finally:
        random.set_state(before)


def test_batches_of_a_whole_pass_over_train_have_fixed_samples_and_move_no_stream():
    train, before = grey_set().binarised("dynamic").train, random.get_state()
    all_images = np.concatenate([batch.x for batch in train.batches(len(train))])
    np.testing.assert_array_equal(np.concatenate([batch.x for batch in train.batches(7)]), all_images)
    assert set(np.unique(all_images)) == {0, 1}
    assert random.get_state() == before


def test_dynamic_binarisation_gives_one_with_the_probability_of_the_grey_value():
    images = np.full((4, 50, 50), 51, np.uint8)
    x = Dataset.from_arrays("fifth", images).binarised("dynamic").train.batch([0, 0, 0, 0], Stream(0, "draws")).x
    assert abs(x.mean() - 0.2) < 4 * np.sqrt(0.2 * 0.8 / x.size)


def test_dynamic_binarisation_samples_valid_and_test_once():
    images = np.full((700, 3, 3), 128, np.uint8)
    data = Dataset.from_arrays("half", images, x_test=images).binarised("dynamic")
    all_images = data.test.batch(slice(None)).x
    np.testing.assert_array_equal(np.concatenate([batch.x for batch in data.test.batches(99)]), all_images)
    other_size = Dataset.from_arrays("half", images, x_test=images[:130]).binarised("dynamic")
    np.testing.assert_array_equal(other_size.test.batch(slice(None)).x, all_images[:130])
    assert (all_images[:128] != all_images[128:256]).any()
    assert (data.valid.batch(slice(None)).x != all_images[:70]).any()
    assert abs(all_images.mean() - 128 / 255) < 4 * 0.5 / np.sqrt(all_images.size)


def test_only_grey_sets_are_binarised():
    binary = Dataset.from_arrays("binary", np.ones((5, 2, 2), bool))
    assert binary.binarised("dynamic") is binary
    rgb = Dataset.from_arrays("rgb", np.ones((5, 2, 2, 3), np.uint8))
    with pytest.raises(UsageError, match=r"rgb cannot be binarised \(x is 2×2 rgb images\)"):
        rgb.binarised("dynamic")
    with pytest.raises(UsageError, match="unknown binarisation 'static'"):
        binary.binarised("static")  # type: ignore[arg-type]
