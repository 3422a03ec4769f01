"""Folders of images that are decoded on demand: the same batches as in memory, exact resume, broken files."""

import itertools
import json
import os

import numpy as np
import pytest
from PIL import Image

from tinygen.data import Column, Loader, load
from tinygen.data.readers import pictures, stream
from tinygen.data.readers.decode import Decoder
from tinygen.errors import DataError
from tinygen.train.description import describe_data

N = 60


def numbered_image(i):
    """An asymmetric 3x2 image of number i, which is its value at the upper left."""
    return np.array([[i, 200, i], [i, 0, 100]], np.uint8)


@pytest.fixture
def folder(tmp_path, request, monkeypatch):
    monkeypatch.setattr(pictures, "MOST_IN_MEMORY", 0)
    root = tmp_path / request.node.name.replace("/", "-")
    for i in range(N):
        path = root / f"class{i % 3}" / f"{i:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(numbered_image(i)).save(path)
    return root


def numbers(batch):
    return np.rint(batch.x[:, 0, 0, 0] * 255).astype(int).tolist(), batch.y.tolist()


def test_a_streamed_folder_gives_what_one_in_memory_gives(folder, monkeypatch):
    streamed = load(folder)
    monkeypatch.setattr(pictures, "MOST_IN_MEMORY", 10**6)
    in_memory = load(folder)
    assert isinstance(streamed.train.columns["x"], Column)
    assert isinstance(in_memory.train.columns["x"], np.ndarray)
    assert streamed.spec == in_memory.spec
    for part in ("train", "valid", "test"):
        for name in ("x", "y"):
            np.testing.assert_array_equal(getattr(streamed, part).values(name), getattr(in_memory, part).values(name))
    for ours, theirs in zip(streamed.train.batches(7), in_memory.train.batches(7), strict=True):
        np.testing.assert_array_equal(ours.x, theirs.x)
    for first, second in itertools.islice(
        zip(*(Loader(d.train, 8, seed=1) for d in (streamed, in_memory)), strict=True), 20
    ):
        np.testing.assert_array_equal(first.x, second.x)
        np.testing.assert_array_equal(first.y, second.y)


@pytest.mark.parametrize("batches", [0, 1, 5, 6, 7])
def test_a_restored_loader_gives_the_same_batches_to_the_bit(folder, batches):
    (folder / "class1" / "04.png").write_bytes(b"broken")
    loader = Loader(load(folder, augment="flip", skip_broken=True).train, 8, seed=3)
    for _ in range(batches):
        next(loader)
    other = Loader(load(folder, augment="flip", skip_broken=True).train, 8, seed=9)
    other.restore(json.loads(json.dumps(loader.state())))
    for expected, batch in zip(itertools.islice(loader, 14), other, strict=False):
        assert batch.x.tobytes() == expected.x.tobytes()
        np.testing.assert_array_equal(batch.y, expected.y)


def test_only_a_few_batches_are_read_ahead(folder):
    train = load(folder).train
    column = train.columns["x"].column
    for _ in zip(Loader(train, 4, seed=0), range(30), strict=False):
        assert len(column._prepared) <= 2
    for i in range(20):
        train.prepare([i])
    assert len(column._prepared) == stream.BATCHES_AHEAD


@pytest.fixture
def decoded(monkeypatch):
    """The list of files that have been decoded, in order, with repetitions."""
    files, decode = [], Decoder.__call__
    monkeypatch.setattr(Decoder, "__call__", lambda self, file: files.append(file) or decode(self, file))
    return files


def test_the_first_batches_of_an_epoch_are_read_ahead_too(folder, monkeypatch):
    started, start = [], stream.Files._start
    monkeypatch.setattr(stream.Files, "_start", lambda self, rows: started.append(rows) or start(self, rows))
    data = load(folder)
    loader = Loader(data.train, 8, seed=0)
    read = [len(started) for _ in itertools.islice(loader, 2 * loader.steps_per_epoch)]
    assert read == [3 + i for i in range(12)], "three batches at first, then one with each that is used"
    list(data.valid.batches(2))
    del started[:]
    next(loader)
    assert len(started) == 1, "a validation between two epochs leaves them alone"


@pytest.mark.parametrize("how", ["threshold", "dynamic"])
def test_binarised_images_are_decoded_only_for_batches(folder, monkeypatch, decoded, how):
    grey = load(folder)
    del decoded[:]
    streamed = grey.binarised(how)
    digest = describe_data(streamed)["digest"]
    assert decoded == []
    next(Loader(streamed.train, 4, seed=0))
    streamed.valid.take(2).batch([1, 0])
    assert 4 + 2 <= len(decoded) <= 3 * 4 + 2
    monkeypatch.setattr(pictures, "MOST_IN_MEMORY", 10**6)
    in_memory = load(folder).binarised(how)
    for part in ("train", "valid", "test"):
        ours, theirs = (getattr(each, part) for each in (streamed, in_memory))
        rows = np.arange(len(theirs))[::-1][:5]
        if part != "train" or how == "threshold":
            np.testing.assert_array_equal(ours.batch(rows).x, theirs.batch(rows).x)
        for first, second in zip(ours.batches(3), theirs.batches(3), strict=True):
            np.testing.assert_array_equal(first.x, second.x)
    assert digest not in {describe_data(each)["digest"] for each in (grey, in_memory)}


def test_only_training_images_are_flipped(folder):
    data = load(folder, augment="flip")
    flipped = 0
    for _ in range(30):
        batch = data.train.batch(np.arange(20))
        plain = next(data.train.batches(20))
        same = (batch.x == plain.x).all(axis=(1, 2, 3))
        np.testing.assert_array_equal(batch.x[~same], plain.x[~same][:, :, ::-1])
        flipped += (~same).sum()
    assert abs(flipped / 600 - 0.5) < 4 * 0.5 / np.sqrt(600)
    np.testing.assert_array_equal(data.test.batch([0, 1]).x, load(folder).test.batch([0, 1]).x)
    binary = data.binarised("dynamic").train
    assert binary.augment is data.train.augment
    np.testing.assert_array_equal(binary.take(9).batch([3]).y, data.train.batch([3]).y)


def test_a_broken_image_is_named_when_it_is_decoded(folder):
    column = load(folder).train.columns["x"]
    file = column.column.files[column.rows[20]]
    (folder / file).write_bytes((folder / file).read_bytes()[:45])
    loader, met = Loader(load(folder).train, 8, seed=0), []
    with pytest.raises(DataError, match=rf"{file} is not an image that can be read; .*--skip-broken") as refusal:
        met += [*itertools.islice(loader, 6)]
    assert str(refusal.value).startswith(f"{folder}: ")
    assert "\n" not in str(refusal.value)
    assert len(met) < 6


def test_the_next_example_takes_the_place_of_a_broken_one(folder, capsys):
    train = load(folder).train
    order = [numbers(train.batch([i]))[0][0] for i in range(len(train))]
    for i in (order[10], order[11], order[-1]):
        (folder / f"class{i % 3}" / f"{i:02}.png").write_bytes(b"broken")
    train = load(folder, skip_broken=True).train
    read, labels = numbers(train.batch([9, 10, 11, len(train) - 1]))
    assert read == [order[9], order[12], order[12], order[0]]
    assert labels == [i % 3 for i in read]
    assert [len(batch) for batch in train.batches(10)] == [10, 10, 10, 10, 9]
    message = capsys.readouterr().err
    assert message.count("which cannot be read; another takes its place") == 3
    assert f"skipped class{order[10] % 3}/{order[10]:02}.png" in message


def test_a_folder_with_only_broken_images_is_refused(folder):
    data = load(folder, skip_broken=True)
    for path in folder.rglob("*.png"):
        path.write_bytes(b"broken")
    with pytest.raises(DataError, match="none of the 49 examples can be read"):
        data.train.batch([0, 1])


def test_images_of_other_sizes_and_colours_are_refused_by_name(folder, monkeypatch):
    monkeypatch.setattr(pictures, "EXAMINED_PICTURES", 1)
    data = load(folder)
    Image.new("L", (5, 2)).save(folder / "class0" / "00.png")
    Image.new("RGB", (3, 2), "red").save(folder / "class1" / "01.png")
    message = r"00\.png is 5x2 .*--size 5|01\.png is in colour, .* use fields x=:rgb"
    with pytest.raises(DataError, match=message):
        list(data.train.batches(6)), list(data.valid.batches(6)), list(data.test.batches(6))
    monkeypatch.setattr(pictures, "EXAMINED_PICTURES", 1000)
    with pytest.raises(DataError, match=r"sizes differ: .*00\.png is 5x2"):
        load(folder)
    assert load(folder, size=2).spec.x.kind == "rgb"
    grey = load(folder, size=2, fields={"x": ":grey"})
    assert grey.spec.x.kind == "grey"
    assert sum(len(batch) for part in (grey.train, grey.valid, grey.test) for batch in part.batches(9)) == N


def test_the_digest_depends_on_names_lengths_bytes_and_size(folder):
    def digest(**options):
        return describe_data(load(folder, **options))["digest"]

    file, first = folder / "class0" / "03.png", digest()
    digests = {first, digest(size=2)}
    assert digest() == first
    content = file.read_bytes()
    Image.fromarray(numbered_image(3) + np.uint8(1)).save(file)
    digests.add(digest())
    file.write_bytes(content + b"x")
    digests.add(digest())
    file.rename(file.with_name("033.png"))
    digests.add(digest())
    assert len(digests) == 5


def test_names_that_are_not_utf8_are_escaped(folder, capsys):
    class_folder = os.fsencode(folder / "class1")
    os.rename(os.path.join(class_folder, b"01.png"), os.path.join(class_folder, b"\xff01.png"))
    os.rename(class_folder, os.path.join(os.fsencode(folder), b"cl\xe9"))
    data = load(folder)
    assert data.spec.y.names == ("class0", "class2", "cl\\xe9")
    assert json.dumps(describe_data(data)).isascii()
    with open(os.path.join(os.fsencode(folder), b"cl\xe9", b"\xff01.png"), "wb"):
        pass
    with pytest.raises(DataError, match=r"cl\\xe9/\\xff01\.png is not an image") as refusal:
        [list(part.batches(9)) for part in (data.train, data.valid, data.test)]
    str(refusal.value).encode()
    [list(part.batches(9)) for part in vars(load(folder, skip_broken=True)).values() if hasattr(part, "batches")]
    assert "skipped cl\\xe9/\\xff01.png" in capsys.readouterr().err
