"""Names: shipped sets, $TINYGEN_DATA, near matches."""

from pathlib import Path

import numpy as np
import pytest

from tinygen.data import Image, Labels, Loader, load, names
from tinygen.data.catalogue import SHIPPED
from tinygen.errors import DataError, UsageError


@pytest.fixture(autouse=True)
def no_data_of_the_user(monkeypatch, tmp_path):
    monkeypatch.delenv("TINYGEN_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_the_shipped_default():
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


def test_each_shipped_set_has_its_licence():
    assert {file.stem for file in SHIPPED.glob("*.npz")} == {file.stem for file in SHIPPED.glob("*.LICENSE")}
    assert "Copyright (c) 2017 Zalando SE" in (SHIPPED / "fashion_mnist_7k.LICENSE").read_text()


def test_the_folder_of_the_environment(monkeypatch, tmp_path):
    np.savez(tmp_path / "my_own_set.npz", x=np.zeros((5, 2, 2), np.uint8))
    np.savez(tmp_path / "mnist.npz", x=np.zeros((7, 2, 2), np.uint8))
    np.savez(tmp_path / "text.npz", words=np.zeros(5, np.uint8))
    monkeypatch.setenv("TINYGEN_DATA", str(tmp_path))
    assert load("my-own_set").spec.name == "my-own-set"
    assert load("mnist").spec.x.shape == (2, 2, 1)
    listed = dict(names())
    assert listed["fashion-mnist-7k"] == "shipped"
    assert listed["my-own-set"] == listed["mnist"] == f"in {tmp_path}"
    assert "text" not in listed
    assert listed["cifar-10"] == "downloaded at first use (170 MB)"


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
