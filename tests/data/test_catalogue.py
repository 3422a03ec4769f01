"""Data sets by name: shipped ones, those in $TINYGEN_DATA, and messages about unknown names."""

import os
from pathlib import Path

import numpy as np
import pytest

from tinygen.data import Image, Labels, Loader, load, names
from tinygen.data.catalogue import SHIPPED
from tinygen.errors import DataError, UsageError
from tinygen.train.description import describe_data


@pytest.fixture
def folder_of_the_user():
    """The folder that $TINYGEN_DATA names, or that of the shipped files where it is not set."""
    return os.environ.get("TINYGEN_DATA", str(SHIPPED))


@pytest.fixture(autouse=True)
def no_data_of_the_user(folder_of_the_user, monkeypatch, tmp_path):
    """Hide the user's $TINYGEN_DATA and cache."""
    monkeypatch.delenv("TINYGEN_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_the_shipped_fashion_mnist_has_its_fields_splits_and_class_names():
    data = load("fashion_mnist-7k")
    assert data.spec.name == "fashion-mnist-7k"
    assert (data.spec.x, data.spec.classes) == (Image(28, 28, 1, "grey"), 10)
    assert data.spec.y.names[9] == "Ankle boot"
    assert [len(split) for split in (data.train, data.valid, data.test)] == [5400, 600, 1000]
    batch = next(Loader(data.binarised("dynamic").train, 128, seed=0))
    assert set(np.unique(batch.x)) == {0, 1}


def test_the_shipped_digits_span_the_unit_range():
    data = load("digits8x8")
    assert data.spec.fields == {"x": Image(8, 8, 1, "grey", levels=17), "y": Labels(10)}
    x = data.train.batch(slice(None)).x
    assert (x.min(), x.max()) == (0, 1)
    assert set(np.unique(x * 16)) == set(range(17))


def test_shadowed_digits_are_pairs_whose_shadows_lie_a_pixel_further():
    grey, data = load("digits8x8"), load("shadowed-digits8x8")
    assert data.spec.fields == {name: Image(8, 8, 3, "rgb") for name in ("x", "target")}
    assert dict(names())["shadowed-digits8x8"] == "generated: x image, target image"
    batch, digits = data.test.batch(slice(20)), grey.test.batch(slice(20)).x
    np.testing.assert_allclose(batch.x, digits.repeat(3, axis=3), atol=0.5 / 255)
    shifted = np.zeros_like(digits)
    shifted[:, 1:, 1:] = digits[:, :-1, :-1]
    paper, shadow, ink = (np.array(colour) / 255 for colour in ((235, 225, 200), (130, 120, 150), (200, 60, 30)))
    below = (1 - shifted) * paper + shifted * shadow
    np.testing.assert_allclose(batch.target, (1 - digits) * below + digits * ink, atol=0.5 / 255 + 1e-6)


def test_cooled_digits_are_pairs_with_red_and_blue_exchanged():
    grey, data = load("digits8x8").test.batch(slice(50)).x, load("cooled-digits8x8").test.batch(slice(50))
    red, green, blue = np.moveaxis(data.x, 3, 0)
    np.testing.assert_allclose(red, grey[..., 0], atol=0.5 / 255)
    assert not blue.any()
    share = green.sum(axis=(1, 2)) / red.sum(axis=(1, 2))
    np.testing.assert_allclose(green, red * share[:, None, None], atol=1 / 255)
    assert share.min() < 0.2 < 0.8 < share.max()
    np.testing.assert_array_equal(data.target, data.x[..., ::-1])


def test_coloured_digits_are_the_digits_times_a_random_colour():
    grey, data = load("digits8x8"), load("coloured_digits8x8")
    assert data.spec.fields == {"x": Image(8, 8, 3, "rgb"), "y": Labels(10)}
    assert dict(names())["coloured-digits8x8"] == "generated: x image, y labels"
    for part in ("train", "valid", "test"):
        ours, theirs = (getattr(each, part).batch(slice(None)) for each in (data, grey))
        np.testing.assert_array_equal(ours.y, theirs.y)
        colours = ours.x.max(axis=(1, 2), keepdims=True)
        np.testing.assert_allclose(ours.x, colours * theirs.x / theirs.x.max(axis=(1, 2), keepdims=True), atol=1 / 255)
        assert len(np.unique(colours.reshape(-1, 3), axis=0)) > 0.99 * len(colours)
        assert abs(colours.mean() - 0.5 * theirs.x.max(axis=(1, 2)).mean()) < 4 * np.sqrt(1 / 12 / colours.size)
    with pytest.raises(UsageError, match="coloured-digits8x8: its fields are known; leave size out"):
        load("coloured-digits8x8", size=4)


@pytest.mark.parametrize(
    ("name", "digest"),
    [("fashion-mnist-7k", "520aadf0a8c1f7e1eebc32079fc17c1a"), ("digits8x8", "47069141538cd6497e9d84ec76b50948")],
)
def test_digests_of_shipped_data_are_those_of_older_versions(name, digest):
    """The digests were written by the version before fields were read from the keys of a file."""
    assert describe_data(load(name))["digest"] == digest


FIELDS = {
    "audio-clips-mulaw": {"x": "waves of 240000 samples at 8000 Hz"},
    "cifar10-5k": {"x": "32×32 rgb images", "y": "labels of 10 classes"},
    "digits8x8": {"x": "8×8 grey images", "y": "labels of 10 classes"},
    "emoji32": {
        "x": "32×32 rgb images",
        "y": "labels of 10 classes",
        "caption": "sequences of up to 11 of 1826 tokens",
        "target": "32×32 rgb images",
    },
    "facades64": {"x": "64×64 rgb images", "target": "64×64 rgb images"},
    "fashion-mnist-7k": {"x": "28×28 grey images", "y": "labels of 10 classes"},
    "fsdd-mulaw": {
        "x": "waves of 18262 samples at 8000 Hz",
        "digit": "labels of 10 classes",
        "speaker": "labels of 6 classes",
    },
    "mnist": {"x": "28×28 grey images", "y": "labels of 10 classes"},
    "photo-patches64": {"x": "64×64 rgb images"},
    "pokemon-lecture": {"x": "20×20 indexed images"},
    "pokesprite-icons": {"x": "30×40 rgb images", "target": "30×40 rgb images"},
    "smiles32": {"x": "32×32 grey images", "y": "labels of 2 classes"},
    "text": {"x": "sequences of up to 127 of 81 tokens"},
}


@pytest.mark.slow
def test_every_file_of_the_users_folder_opens(folder_of_the_user, monkeypatch):
    monkeypatch.setenv("TINYGEN_DATA", folder_of_the_user)
    files = {file.stem.replace("_", "-"): file for file in Path(folder_of_the_user).glob("*.npz")}
    listed = dict(names())
    for name, file in files.items():
        data = load(file)
        fields = {field: each.in_words() for field, each in data.spec.fields.items()}
        assert FIELDS.get(name, fields) == fields
        assert name in listed
        for part in (data.train, data.valid, data.test):
            batch = part.batch([0])
            assert list(batch) == list(fields)
            assert all(data.spec[key].draw(batch[key][0]) is not None for key in batch)


def test_each_shipped_set_has_its_licence():
    assert {file.stem for file in SHIPPED.glob("*.npz")} == {file.stem for file in SHIPPED.glob("*.LICENSE")}
    assert "Copyright (c) 2017 Zalando SE" in (SHIPPED / "fashion_mnist_7k.LICENSE").read_text()


def test_data_sets_in_the_folder_of_the_environment_are_found(monkeypatch, tmp_path):
    np.savez(tmp_path / "my_own_set.npz", x=np.zeros((5, 2, 2), np.uint8))
    np.savez(tmp_path / "mnist.npz", x=np.zeros((7, 2, 2), np.uint8))
    np.savez(tmp_path / "text.npz", words=np.zeros(5, np.uint8))
    monkeypatch.setenv("TINYGEN_DATA", str(tmp_path))
    assert load("my-own_set").spec.name == "my-own-set"
    assert load("mnist").spec.x.shape == (2, 2, 1)
    listed = dict(names())
    assert listed["fashion-mnist-7k"] == "shipped: x image, y labels"
    assert listed["my-own-set"] == listed["mnist"] == f"in {tmp_path}: x image"
    assert "text" not in listed
    assert listed["cifar-10"] == "downloaded at first use (170 MB): x image, y labels"


def test_a_wrong_folder_in_the_environment_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("TINYGEN_DATA", str(tmp_path / "nowhere"))
    assert load("digits8x8").spec.name == "digits8x8"
    with pytest.raises(DataError, match=r"TINYGEN_DATA is .*nowhere"):
        load("mnist")


def test_unknown_names_are_refused_with_a_hint():
    with pytest.raises(UsageError, match=r"unknown data set 'fashion-mnist-7': did you mean fashion-mnist-7k\?"):
        load("fashion-mnist-7")
    with pytest.raises(UsageError, match=r"'zzz': use one of fashion-mnist-7k, digits8x8, "):
        load("zzz")
    with pytest.raises(UsageError, match="unknown data set ''"):
        load("")


def test_a_path_is_not_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("digits8x8", x=np.zeros((5, 3, 3), np.uint8))
    assert load("digits8x8.npz").spec.x.shape == (3, 3, 1)
    with pytest.raises(DataError, match="no such file"):
        load(Path("digits8x8"))
