"""Folders and keys that name the parts of a data set: obeyed or refused, never taken for classes, never dropped."""

import numpy as np
import pytest
from PIL import Image

from tinygen.data import load
from tinygen.errors import DataError

X = np.arange(60, dtype=np.uint8).reshape(60, 1, 1) * np.ones((1, 2, 2), np.uint8)


def pictures(*folders, n=3):
    for number, folder in enumerate(folders):
        folder.mkdir(parents=True)
        for i in range(n):
            Image.new("L", (2, 2), 10 * number + i).save(folder / f"{i}.png")


def sizes(data):
    return [len(part) for part in (data.train, data.valid, data.test)]


@pytest.mark.parametrize(
    "names", [("training", "dev", "testing"), ("Train", "VAL", "Test"), ("train", "validation", "test")]
)
@pytest.mark.parametrize("classes", [("",), ("2", "10", "1")])
def test_folders_of_parts_are_no_classes(tmp_path, names, classes):
    for n, name in zip((5, 2, 3), names, strict=True):
        pictures(*(tmp_path / name / each for each in classes), n=n)
    data = load(tmp_path)
    assert sizes(data) == [len(classes) * n for n in (5, 2, 3)]
    assert data.spec.class_names == (("1", "2", "10") if classes != ("",) else None)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("test", "val"), "there is a folder test and val, but none called train; name the folder of training data"),
        (("cat", "dog", "Test"), "there is a folder Test, but none called train; .* or rename a class"),
        (("train", "val", "validation"), "val and validation both mean valid; leave one of them"),
        (("data/train", "data/test"), "the folder data holds test and train: give .*data, or move the parts above the"),
        (("cat/train", "cat/val", "dog/train"), r"the folder cat holds train and val: .* \(train/cat\)"),
        (("bus", "car", "train"), "train may be a class like bus, car, or hold all training data; rename it if it is"),
    ],
)
def test_folders_that_could_mean_two_things_are_refused(tmp_path, names, message):
    pictures(*(tmp_path / name for name in names))
    with pytest.raises(DataError, match=message):
        load(tmp_path)


def test_hidden_folders_of_tools_and_systems_are_no_classes(tmp_path):
    others = [".ipynb_checkpoints", ".git", "__pycache__", "__MACOSX", "@eaDir", "lost+found", "$RECYCLE.BIN"]
    pictures(*(tmp_path / name for name in ["cat", "dog", *others]))
    assert load(tmp_path).spec.class_names == ("cat", "dog")
    pictures(tmp_path / "flat")
    (tmp_path / "flat" / ".ipynb_checkpoints").mkdir()
    assert load(tmp_path / "flat").spec.class_names is None


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("x_train x_val x_test", [40, 15, 5]),
        ("x_training x_dev x_testing", [40, 15, 5]),
        ("train_x valid_x test_x", [40, 15, 5]),
        ("x x_validation x_test", [40, 15, 5]),
        ("x x_val", [36, 15, 4]),
    ],
)
def test_keys_of_parts_are_obeyed(tmp_path, keys, expected):
    parts = dict(zip(keys.split(), (X[:40], X[40:55], X[55:]), strict=False))
    np.savez(tmp_path / "parts.npz", **parts)
    assert sizes(load(tmp_path / "parts.npz")) == expected


def test_two_keys_or_texts_of_one_part_are_refused(tmp_path):
    np.savez(tmp_path / "parts.npz", x_train=X, x_val=X, x_valid=X)
    with pytest.raises(DataError, match="x_val and x_valid are both valid of x; leave one of them"):
        load(tmp_path / "parts.npz")
    for name in ("train", "dev", "val"):
        (tmp_path / f"{name}.txt").write_text("one\ntwo\n")
    with pytest.raises(DataError, match="dev and val both mean valid"):
        load(tmp_path)


def test_other_texts_of_a_folder_are_named(tmp_path, capsys):
    for name in ("train", "dev", "more"):
        (tmp_path / f"{name}.txt").write_text("one\ntwo\nthree\n" * 5)
    assert sizes(load(tmp_path)) == [14, 15, 1]
    assert "only the texts train, valid and test are read, not more" in capsys.readouterr().err
