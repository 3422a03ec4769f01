"""Readers of IDX and CIFAR files, .npy arrays, tables, texts, waves, and CelebA's list of attributes."""

import gzip
import itertools
import struct
import wave

import numpy as np
import pytest
from PIL import Image

from tinygen.data import Attributes, Labels, Points, Tokens, Wave, load
from tinygen.data import Image as ImageField
from tinygen.data.readers import pictures
from tinygen.errors import DataError, UsageError
from tinygen.random import Stream

N = 30
X = Stream(0, "images").integers(256, (N, 4, 5)).astype(np.uint8)
Y = (np.arange(N) % 3).astype(np.uint8)


def sizes(data):
    return [len(part) for part in (data.train, data.valid, data.test)]


def idx(array, code=8):
    return bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.fixture
def idx_folder(tmp_path):
    for name, array in (("train-images-idx3", X), ("train-labels-idx1", Y), ("t10k-images-idx3", X[:6])):
        (tmp_path / f"{name}-ubyte").write_bytes(idx(array))
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(Y[:6])))
    return tmp_path


def test_idx_files_are_read(idx_folder):
    data = load(idx_folder)
    assert data.spec.fields == {"x": ImageField(4, 5, 1, "grey"), "y": Labels(3)}
    assert sizes(data) == [27, 3, 6]
    np.testing.assert_array_equal(data.test.columns["x"][..., 0], X[:6])
    np.testing.assert_array_equal(data.valid.values("y"), Y[27:])
    from_training_file = load(idx_folder / "train-images-idx3-ubyte")
    np.testing.assert_array_equal(from_training_file.train.columns["x"], load(idx_folder).train.columns["x"][:25])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (idx(X)[:-3], "train-images-idx3-ubyte: the file has 613 bytes and should have 616; copy it again"),
        (b"<html>", "the file is not an IDX file"),
        (gzip.compress(idx(X))[:-20], "truncated or damaged"),
        (b"", "the file is not an IDX file"),
    ],
)
def test_damaged_idx_files_are_refused(idx_folder, content, message):
    (idx_folder / "train-images-idx3-ubyte").write_bytes(content)
    with pytest.raises(DataError, match=message):
        load(idx_folder)


def test_idx_files_without_training_images_are_refused(idx_folder):
    (idx_folder / "train-images-idx3-ubyte").unlink()
    with pytest.raises(DataError, match="no file of training images beside"):
        load(idx_folder)


CIFAR = Stream(0, "cifar").integers(256, (10, 32, 32, 3)).astype(np.uint8)


def records(*labels):
    columns = np.stack([np.broadcast_to(each, 10) for each in labels], axis=1).astype(np.uint8)
    return np.concatenate([columns, CIFAR.transpose(0, 3, 1, 2).reshape(10, -1)], axis=1).tobytes()


def test_cifar_10_is_read(tmp_path):
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    for i in (1, 2):
        (folder / f"data_batch_{i}.bin").write_bytes(records(np.arange(10) % 2))
    (folder / "test_batch.bin").write_bytes(records(np.arange(10) % 2))
    (folder / "batches.meta.txt").write_text("airplane\nautomobile\n\n")
    for path in (folder, tmp_path):
        data = load(path)
        assert data.spec.y.names == ("airplane", "automobile")
        assert sizes(data) == [18, 2, 10]
        np.testing.assert_array_equal(data.test.columns["x"], CIFAR)
    (folder / "test_batch.bin").write_bytes(records(0)[:-1])
    with pytest.raises(DataError, match=r"test_batch\.bin: 30729 bytes are not records of 3073"):
        load(folder)


def test_cifar_100_is_read_with_fine_labels(tmp_path):
    (tmp_path / "train.bin").write_bytes(records(9, np.arange(10)))
    (tmp_path / "test.bin").write_bytes(records(9, np.arange(10)))
    data = load(tmp_path)
    np.testing.assert_array_equal(data.test.values("y"), np.arange(10))
    np.testing.assert_array_equal(data.test.columns["x"], CIFAR)


def test_pickled_cifar_is_never_read(tmp_path):
    for name in ("data_batch_1", "test_batch"):
        (tmp_path / name).write_bytes(b"\x80\x04.")
    with pytest.raises(DataError, match=r"pickled .* never read: download the binary version"):
        load(tmp_path)


def test_npy_files_are_read_or_refused(tmp_path):
    np.save(tmp_path / "pictures.npy", X)
    data = load(tmp_path / "pictures.npy")
    assert data.spec.fields == {"x": ImageField(4, 5, 1, "grey")}
    assert data.spec.name == "pictures"
    np.save(tmp_path / "points.npy", np.linspace(0, 1, 60).reshape(30, 2))
    assert isinstance(load(tmp_path / "points.npy").spec.x, Points)
    np.save(tmp_path / "objects.npy", np.array([{}]))
    with pytest.raises(DataError, match="pickled objects, which are never read"):
        load(tmp_path / "objects.npy")
    (tmp_path / "cut.npy").write_bytes((tmp_path / "points.npy").read_bytes()[:200])
    with pytest.raises(DataError, match=r"cut\.npy: the file is not an \.npy file, or is truncated"):
        load(tmp_path / "cut.npy")


TABLE = "width,height,species\n" + "".join(f"{i},{i / 2},{'ab'[i % 2]}\n" for i in range(20))


def test_a_table_with_a_column_of_words_is_points_and_labels(tmp_path):
    path = tmp_path / "flowers.csv"
    path.write_text(TABLE)
    data = load(path)
    assert (data.spec.x.dimensions, data.spec.y) == (2, Labels(2, ("a", "b")))
    x, y = data.train.values("x"), data.train.values("y")
    np.testing.assert_array_equal(x[:, 1], x[:, 0] / 2)
    np.testing.assert_array_equal(y, x[:, 0] % 2)
    named = load(path, fields={"y": "species", "size": "height:attributes"})
    assert named.spec.x.dimensions == 1
    np.testing.assert_array_equal(named.train.values("size"), named.train.values("x") / 2)


def test_a_table_of_numbers_is_points(tmp_path):
    path = tmp_path / "numbers.csv"
    path.write_text("".join(f"{i};{-i}\n" for i in range(20)))
    data = load(path)
    assert list(data.spec.fields) == ["x"]
    assert sorted(np.concatenate([p.values("x")[:, 0] for p in (data.train, data.valid, data.test)])) == list(range(20))
    assert load(path, fields={"y": "column 1"}).spec.classes == 20


@pytest.mark.parametrize(
    ("text", "fields", "message"),
    [
        ("", {}, "the file is empty"),
        ("a,b\n1,2\n3\n", {}, "row 3 has 1 cells and the first 2"),
        ("a,b\n1,2\n3,x\n", {}, "b holds 'x' in example 2, which is no number; remove the column, or name it"),
        (TABLE, {"y": "color"}, "there is no color for y; the columns are width, height, species"),
        (TABLE, {"x": "width"}, "a column is labels or attributes"),
        (TABLE, {"y": "width", "a": "height:attributes", "b": "species"}, "no column is left for the points x"),
        (TABLE, {"size": "species:attributes"}, "species holds 'a' in example 1"),
        ("a,a\n1,2\n", {}, "two columns have the same name"),
        ("1,nan\n" * 9, {}, "NaN"),
        ("\xff", {}, "not a table in UTF-8"),
    ],
)
def test_tables_that_do_not_fit_are_refused(tmp_path, text, fields, message):
    (tmp_path / "t.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match=message) as refusal:
        load(tmp_path / "t.csv", fields=fields)
    assert "\n" not in str(refusal.value)


def test_lines_of_a_text_are_sequences_of_characters_or_words(tmp_path):
    path = tmp_path / "pets.txt"
    path.write_text("a cat\n\n  the dog \n" * 10, "utf-8")
    data = load(path)
    assert data.spec.fields == {"x": Tokens(tuple(" acdeghot"), 7)}
    assert sizes(data) == [17, 1, 2]
    words = load(path, fields={"x": ":words"}).spec.x
    assert (words.vocabulary, words.length, words.separator) == (("a", "cat", "dog", "the"), 2, " ")
    with pytest.raises(UsageError, match="a text takes x=:characters or x=:words, not y=label"):
        load(path, fields={"y": "label"})
    path.write_bytes("zoë".encode("latin-1"))
    with pytest.raises(DataError, match=r"pets\.txt: the text is not UTF-8 \(byte 2\); save it as UTF-8"):
        load(path)
    path.write_text("\n \n")
    with pytest.raises(DataError, match=r"^\S*pets\.txt: there are no lines; a line is an example$"):
        load(path)


def test_a_text_can_have_a_limited_vocabulary_and_length(tmp_path, capsys):
    path = tmp_path / "pets.txt"
    path.write_text("the cat\nthe dog sees the cat\n" * 10)
    data = load(path, fields={"x": ":words"}, vocabulary=2, length=3)
    assert data.spec.x == Tokens(("<unk>", "cat", "the"), 3, " ", 2, True)
    notes = capsys.readouterr().err
    assert "x_train: 10 of 20 sequences are cut to their first 3 tokens" in notes
    assert "x_train: 20 of 50 tokens are not in the vocabulary; they count as <unk>" in notes
    for name in ("vocabulary", "length"):
        with pytest.raises(UsageError, match=f"^{name} is 0; it must be at least 1$"):
            load(path, **{name: 0})
        (tmp_path / "t.csv").write_text("".join(f"{i},{-i}\n" for i in range(20)))
        with pytest.raises(UsageError, match=f"{name} does not apply to data of this format; leave it out"):
            load(tmp_path / "t.csv", **{name: 5})
        with pytest.raises(UsageError, match=f"sentences: its fields are known; leave {name} out"):
            load("sentences", **{name: 5})


def test_a_folder_of_texts_named_after_splits_is_read(tmp_path):
    for name, n in (("train", 20), ("test", 3)):
        (tmp_path / f"{name}.txt").write_text("ab\n" * n)
    assert sizes(load(tmp_path)) == [18, 2, 3]


def write_wave(path, samples, width=2, rate=8000, channels=1):
    path.parent.mkdir(exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels), file.setsampwidth(width), file.setframerate(rate)
        scaled = np.rint(np.asarray(samples) * (2 ** (8 * width - 1) - 1)).astype(np.int64)
        raw = (scaled + 128 if width == 1 else scaled).astype("<i8")
        file.writeframes(raw.reshape(-1, 1).view(np.uint8).reshape(-1, 8)[:, :width].tobytes())


@pytest.mark.parametrize(("width", "precision"), [(1, 2 / 127), (2, 1e-4), (3, 1e-6), (4, 1e-6)])
def test_waves_of_every_sample_width_are_read_and_channels_averaged(tmp_path, width, precision):
    from tinygen.data.readers.waves import read_clip

    samples = np.sin(np.arange(50) / 3)
    write_wave(tmp_path / "a.wav", samples, width)
    clip, rate = read_clip(tmp_path / "a.wav")
    np.testing.assert_allclose(clip, samples, atol=precision)
    assert (rate, clip.dtype) == (8000, np.float32)
    write_wave(tmp_path / "b.wav", np.stack([samples, np.zeros(50)], axis=1).ravel(), width, channels=2)
    np.testing.assert_allclose(read_clip(tmp_path / "b.wav")[0], samples / 2, atol=precision)


def test_waves_with_an_extensible_header_are_read(tmp_path):
    """Recorders write it for 24 bits: the format 0xFFFE, and 1, which is PCM, as the beginning of its subformat."""
    from tinygen.data.readers.waves import read_clip

    write_wave(tmp_path / "a.wav", np.sin(np.arange(50) / 3), width=3)
    content = (tmp_path / "a.wav").read_bytes()
    extension = struct.pack("<HHIH14s", 22, 24, 4, 1, b"\0\0\0\0\x10\0\x80\0\0\xaa\0\x38\x9b\x71")
    header = struct.pack("<4sIH", b"fmt ", 40, 0xFFFE) + content[22:36] + extension
    riff = struct.pack("<4sI4s", b"RIFF", len(content) - 8 + 24, b"WAVE")
    (tmp_path / "b.wav").write_bytes(riff + header + content[36:])
    np.testing.assert_array_equal(read_clip(tmp_path / "b.wav")[0], read_clip(tmp_path / "a.wav")[0])


@pytest.fixture
def wave_folder(tmp_path):
    for i in range(12):
        samples = np.sin(np.arange(20 + i) / (1 + i))
        write_wave(tmp_path / ("cat", "dog")[i % 2] / f"{i}.wav", samples)
    return tmp_path


def test_a_folder_of_waves_has_its_subfolders_as_classes(wave_folder):
    data = load(wave_folder)
    assert data.spec.fields == {"x": Wave(31, 8000), "y": Labels(2, ("cat", "dog"))}
    assert sizes(data) == [10, 1, 1]
    field, silence = data.spec.x, data.spec.x.encode(np.zeros(1))[0]
    for batch in data.train.batches(1):
        end = len(np.trim_zeros(batch.x[0] - silence, "b"))
        i = next(i for i in range(12) if i % 2 == batch.y[0] and abs(20 + i - end) < 1)
        np.testing.assert_allclose(field.decode(batch.x[0, :end]), np.sin(np.arange(end) / (1 + i)), atol=0.03)


def test_spoken_digits_are_tested_on_recordings_0_to_4(tmp_path):
    """Files are named digit_speaker_recording; here the length of a sound encodes these three."""
    for digit, (s, speaker), recording in itertools.product((3, 7), enumerate(("ann", "bob")), range(12)):
        write_wave(tmp_path / f"{digit}_{speaker}_{recording}.wav", np.full(100 * digit + 20 * s + recording + 1, 0.9))
    data = load(tmp_path)
    assert data.spec.fields == {"x": Wave(732, 8000), "y": Labels(2, ("3", "7")), "speaker": Labels(2, ("ann", "bob"))}
    met = {}
    for part in ("train", "valid", "test"):
        batch = getattr(data, part).batch(slice(None))
        lengths = [len(np.trim_zeros(x - data.spec.x.encode(np.zeros(1))[0], "b")) for x in batch.x]
        met[part] = [n - 1 - 100 * (3, 7)[y] - 20 * s for n, y, s in zip(lengths, batch.y, batch.speaker, strict=True)]
    assert sorted(met["test"]) == sorted([*range(5)] * 4)
    assert sorted(met["train"] + met["valid"]) == sorted([*range(5, 12)] * 4)
    write_wave(tmp_path / "other.wav", np.zeros(9))
    assert load(tmp_path).spec.classes is None


def test_waves_that_do_not_fit_are_refused_or_skipped(wave_folder, capsys):
    (wave_folder / "cat" / "x.wav").write_bytes(b"RIFFbroken")
    with pytest.raises(DataError, match=r"cat/x\.wav cannot be read .*; save it as PCM, remove it"):
        load(wave_folder)
    assert sizes(load(wave_folder, skip_broken=True)) == [10, 1, 1]
    assert "skipped cat/x.wav" in capsys.readouterr().err
    write_wave(wave_folder / "cat" / "x.wav", np.zeros(9), rate=16000)
    with pytest.raises(DataError, match=r"samples a second and .* bring all to one rate"):
        load(wave_folder)
    with pytest.raises(UsageError, match="size does not apply to data of this format"):
        load(wave_folder, size=3)


@pytest.fixture(params=["txt", "csv"])
def celeba(tmp_path, request):
    names, lines = ("Bald", "Smiling"), []
    for i in range(N):
        path = tmp_path / "img_align_celeba" / f"{i:06}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((4, 3, 3), (8 * i, 0, 0), np.uint8)).save(path)
        lines.append((path.name, "-1" if i % 2 else "1", "1" if i % 3 else "-1"))
    if request.param == "txt":
        text = "\n".join([str(N), " ".join(names), *("  ".join(line) for line in lines)])
    else:
        text = "\n".join([",".join(("image_id", *names)), *(",".join(line) for line in lines)])
    (tmp_path / f"list_attr_celeba.{request.param}").write_text(text + "\n")
    return tmp_path


@pytest.mark.parametrize("most_in_memory", [0, 10**6])
def test_celeba_is_images_with_attributes(celeba, most_in_memory, monkeypatch, capsys):
    monkeypatch.setattr(pictures, "MOST_IN_MEMORY", most_in_memory)
    Image.new("RGB", (3, 4)).save(celeba / "img_align_celeba" / "unlisted.png")
    data = load(celeba)
    assert data.spec.fields == {"x": ImageField(4, 3, 3, "rgb"), "attributes": Attributes(("Bald", "Smiling"), True)}
    assert sizes(data) == [25, 2, 3]
    assert "1 of 31 pictures have no line in list_attr_celeba" in capsys.readouterr().err
    for part in (data.train, data.valid, data.test):
        batch = part.batch(slice(None))
        i = np.rint(batch.x[:, 0, 0, 0] * 255) // 8
        np.testing.assert_array_equal(batch.attributes, np.stack([i % 2 == 0, i % 3 > 0], axis=1))
    assert load(celeba, size="2x2").spec.x.shape == (2, 2, 3)


def test_the_list_of_attributes_beside_the_pictures_is_not_called_unread(celeba, capsys):
    for picture in (celeba / "img_align_celeba").iterdir():
        picture.rename(celeba / picture.name)
    (celeba / "img_align_celeba").rmdir()
    (celeba / "notes.md").write_text("mine")
    assert "attributes" in load(celeba).spec.fields
    assert capsys.readouterr().err.count("1 other files are not read (1 .md)") == 1


def test_a_list_of_attributes_that_does_not_fit_is_refused(celeba):
    path = next(celeba.glob("list*"))
    text = path.read_text()
    path.write_text(text.replace("-1", "2", 1))
    with pytest.raises(DataError, match="is not 2 numbers -1 or 1; copy it again"):
        load(celeba)
    path.write_text(text.replace("0000", "9999"))
    with pytest.raises(DataError, match="no picture in its folder img_align_celeba has a line"):
        load(celeba)
    path.write_text("")
    with pytest.raises(DataError, match="lists no pictures"):
        load(celeba)


def test_a_file_of_an_unknown_format_is_refused(tmp_path):
    (tmp_path / "film.mp4").write_bytes(b"\0\0\0")
    with pytest.raises(DataError, match=r"film\.mp4: no reader knows this file; give \.npz, \.npy, \.csv"):
        load(tmp_path / "film.mp4")
