"""Which key of a file becomes which field: tiny files with the keys of well-known data sets."""

import numpy as np
import pytest

from tinygen.data import Image, Labels, Points, SegmentMap, Tokens, Wave, load
from tinygen.errors import DataError, UsageError
from tinygen.random import Stream

N = 40
GREY = Stream(0, "grey").integers(256, (N, 4, 5)).astype(np.uint8)
RGB = Stream(0, "rgb").integers(256, (N, 4, 5, 3)).astype(np.uint8)
Y = (np.arange(N) % 4).astype(np.uint8)


@pytest.fixture
def file(tmp_path, request):
    """A function that writes an `.npz` named after the test, since notes are printed once for each file name."""

    def write(**arrays):
        path = tmp_path / f"{request.node.name}.npz"
        np.savez(path, **arrays)
        return path

    return write


def sizes(data):
    return [len(split) for split in (data.train, data.valid, data.test)]


def whole(data, name):
    return np.concatenate([getattr(data, part).values(name) for part in ("train", "valid", "test")])


def test_the_keys_of_medmnist_are_read(file):
    parts = {"train": slice(0, 20), "val": slice(20, 30), "test": slice(30, 40)}
    arrays = {f"{part}_images": RGB[rows] for part, rows in parts.items()}
    arrays |= {f"{part}_labels": Y[rows, None] for part, rows in parts.items()}
    data = load(file(**arrays))
    assert data.spec.fields == {"x": Image(4, 5, 3, "rgb"), "y": Labels(4)}
    assert sizes(data) == [20, 10, 10]
    np.testing.assert_array_equal(data.valid.values("y"), Y[20:30])
    np.testing.assert_array_equal(data.test.columns["x"], RGB[30:])


def test_several_labels_an_example_in_medmnist_are_attributes(file):
    labels = np.stack([Y > 1, Y % 2], axis=1).astype(np.uint8)
    data = load(file(train_images=GREY, train_labels=labels, test_images=GREY, test_labels=labels))
    np.testing.assert_array_equal(data.test.values("y"), labels)
    assert data.spec.y.binary


@pytest.mark.parametrize("valid", ["valid", "val", "validation"])
def test_given_splits_are_kept_and_other_arrays_left_out(file, valid):
    arrays = {"x_train": GREY[:30], "y_train": Y[:30], f"x_{valid}": GREY[30:35], f"y_{valid}": Y[30:35]}
    data = load(file(**arrays, x_test=GREY[35:], y_test=Y[35:], x=GREY))
    assert sizes(data) == [30, 5, 5]
    np.testing.assert_array_equal(data.valid.columns["x"][..., 0], GREY[30:35])


def test_arrays_sorted_by_class_are_split_in_proportion(file):
    data = load(file(x=GREY, y=np.sort(Y)))
    for part in ("train", "valid", "test"):
        assert len(set(getattr(data, part).values("y"))) >= 3
    first = data.test.columns["x"]
    np.testing.assert_array_equal(load(file(x=GREY, y=np.sort(Y))).test.columns["x"], first)


def test_two_arrays_of_images_are_x_and_target(file, capsys):
    data = load(file(photo=RGB, label=RGB[:, ::-1], name=np.array([f"{i}.jpg" for i in range(N)])))
    assert data.spec.fields == {"x": Image(4, 5, 3, "rgb"), "target": Image(4, 5, 3, "rgb")}
    np.testing.assert_array_equal(whole(data, "x")[:, ::-1], whole(data, "target"))
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert "x is photo, target is label; no field takes name (choose with fields: x=KEY" in message


def test_a_note_about_unused_keys_is_printed_once(file, capsys):
    path = file(x=GREY, other=Y)
    load(path)
    load(path)
    assert capsys.readouterr().err.count("no field takes other") == 1


def test_fields_choose_the_keys(file, capsys):
    path = file(photo=RGB, label=RGB[:, ::-1], source=Y, source_names=list("abcd"))
    data = load(path, fields={"x": "label", "target": "photo", "y": "source"})
    assert capsys.readouterr().err == ""
    assert data.spec.y == Labels(4, tuple("abcd"))
    reverse = load(path)
    np.testing.assert_array_equal(np.sort(whole(data, "x"), axis=0), np.sort(whole(reverse, "target"), axis=0))
    assert "x is photo, target is label; no field takes source, source_names" in capsys.readouterr().err


def test_fields_choose_the_kinds(file):
    path = file(
        pictures=np.where(GREY > 99, 255, 0).astype(np.uint8), classes=GREY % 3, size=Y / 4, shade=GREY[:, 0, :2]
    )
    wanted = {"x": "pictures:grey", "mask": "classes:map", "amount": "size:attributes", "place": "shade:points"}
    data = load(path, fields=wanted)
    assert data.spec.x == Image(4, 5, 1, "grey")
    assert data.spec.mask == SegmentMap(4, 5, 3)
    assert data.spec.place == Points(2, (0, 255))
    assert data.train.values("amount").shape[1:] == (1,)
    assert load(path, fields={"x": "pictures"}).spec.x.kind == "binary"


def test_indexed_images_are_read_with_their_palette(file):
    palette = np.arange(30, dtype=np.uint8).reshape(10, 3)
    small, large = GREY % 10, np.repeat(RGB, 2, axis=1)
    path = file(idx20=small, palette=palette, rgb40=large)
    for data in (load(path), load(path, fields={"x": "idx20:indexed"})):
        assert data.spec.fields == {"x": Image(4, 5, 1, "indexed", palette)}
        assert whole(data, "x").max() == 9
    assert load(path, fields={"x": "rgb40"}).spec.x == Image(8, 5, 3, "rgb")


def test_transparent_images_are_composited_on_white(file):
    opacity = np.where(GREY > 99, 255, 0).astype(np.uint8)[..., None]
    data = load(file(regular=np.concatenate([RGB, opacity], axis=3), shiny=np.concatenate([RGB // 2, opacity], axis=3)))
    assert data.spec.target == Image(4, 5, 3, "rgb")
    assert sorted(whole(data, "x").sum(axis=(1, 2, 3))) == pytest.approx(
        sorted((np.where(opacity, RGB, 255) / 255).sum(axis=(1, 2, 3))), rel=1e-6
    )


def test_one_long_wave_is_cut_at_its_offsets(file):
    lengths = 3 + np.arange(N) % 5
    offset = np.concatenate([[0], np.cumsum(lengths)])
    names = {"speaker_names": np.array(["ann", "bob"])}
    path = file(mulaw=np.arange(offset[-1]).astype(np.uint8), offset=offset, digit=Y, speaker=Y % 2, rate=8000, **names)
    data = load(path)
    assert data.spec.fields == {"x": Wave(7, 8000), "digit": Labels(4), "speaker": Labels(2, ("ann", "bob"))}
    first = data.train.values("x")[:, 0]
    example = np.searchsorted(offset[:-1], first)
    np.testing.assert_array_equal(data.train.values("digit"), Y[example])
    assert set(data.test.values("digit")) == {0, 1, 2, 3}


def test_sounds_are_divided_by_their_take(file, capsys):
    """The first five recordings of each word are test; here the first sample tells the recording."""
    take = np.arange(N) % 8
    clips = {"mulaw": np.repeat(take, 3).astype(np.uint8), "offset": 3 * np.arange(N + 1), "digit": Y}
    data = load(file(**clips, take=take))
    assert list(data.spec.fields) == ["x", "digit"]
    assert set(data.test.values("x")[:, 0]) == set(range(5))
    assert set(data.train.values("x")[:, 0]) | set(data.valid.values("x")[:, 0]) == {5, 6, 7}
    assert len(data.train) + len(data.valid) + len(data.test) == N
    assert capsys.readouterr().err == ""
    of_one_kind = load(file(**clips, take=take % 5))
    assert len(of_one_kind.test) == N // 10
    with pytest.raises(DataError, match=rf"take has shape \(3,\); it numbers each of the {N} recordings"):
        load(file(**clips, take=take[:3]))


def test_bytes_of_text_are_sequences_of_tokens(file, capsys):
    sayings, names = "\n".join(["see the cat", "", "a dog"] * 10), "\n".join(["ann", "bob", "zoë"] * 10)
    path = file(
        sayings=np.frombuffer(sayings.encode(), np.uint8),
        score=np.zeros(30),
        names=np.frombuffer(names.encode(), np.uint8),
    )
    data = load(path)
    assert data.spec.fields == {"x": Tokens(tuple(sorted(set("see the cata dog"))), 11)}
    assert "x is sayings; no field takes score, names" in capsys.readouterr().err
    assert load(path, fields={"x": "names"}).spec.x.length == 3
    words = load(path, fields={"x": "sayings:words"}).spec.x
    assert words.vocabulary == ("a", "cat", "dog", "see", "the")


def test_paired_emoji_have_labels_names_and_captions(file):
    caption = np.array([f"grinning face {i % 5}" for i in range(N)])
    path = file(x_noto=RGB, x_twemoji=RGB // 2, y=Y, category_names=list("abcd"), caption=caption, subcategory=caption)
    data = load(path)
    assert list(data.spec.fields) == ["x", "y", "caption", "target"]
    assert data.spec.y.names == ("a", "b", "c", "d")
    assert data.spec.caption == Tokens((*"01234", "face", "grinning"), 3, " ")
    assert data.spec.target.in_words() == "4×5 rgb images"


def test_five_axes_are_clips_and_two_are_points(file):
    assert load(file(x=np.zeros((9, 6, 4, 5, 3), np.uint8))).spec.x.in_words() == "rgb clips of 6 frames, 4×5"
    assert load(file(x=GREY.reshape(N, -1) / 255)).spec.x.in_words() == "20-dimensional points"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"x": "photos"}, r"fields: there is no photos for x; the file holds photo, weight, ids, half, lines"),
        ({"target": ":rgb"}, "fields: there is no target for target; the file holds photo"),
        ({"x": "photo:hologram"}, "unknown kind 'hologram' of photo: use one of image, binary,"),
        ({"x": "photo:binary"}, "x_train has values between black and white"),
        ({"x": "photo:indexed"}, "indexed pictures need an array called palette"),
        ({"x": "weight:image"}, r"x_train has shape \(40,\); images are"),
        ({"y": "weight"}, "y_train has shape .* and dtype float64; labels are integers"),
        ({"y": "half"}, "y_train holds 20 examples and x_train 40; there must be one for each"),
        ({"caption": "ids:words"}, r"caption_train holds the token 9; the 3 tokens of the vocabulary are 0 to 2"),
        ({"x": "lines:wave"}, "lines is one long wave: give offset"),
        ({"x": ":"}, "fields: 'x' is ':'; give a name and a key"),
        ({"x y": "photo"}, "fields: 'x y' is 'photo'; give a name and a key"),
        ({"x": 3}, "fields: 'x' is 3; give"),
    ],
)
def test_fields_that_do_not_fit_are_refused(file, fields, message):
    arrays = {"photo": RGB, "weight": Y / 3, "ids": np.full((N, 2), 9), "half": Y[:20]}
    path = file(**arrays, lines=np.zeros(9, np.uint8), ids_vocabulary=list("abc"))
    with pytest.raises((DataError, UsageError), match=message) as refusal:
        load(path, fields=fields)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("offset", [[0, 9, 5], [0, 99], [-1, 5], [[0, 5]], [0.0, 5.0]])
def test_offsets_that_do_not_fit_are_refused(file, offset):
    with pytest.raises(DataError, match="offset"):
        load(file(mulaw=np.zeros(20, np.uint8), offset=np.array(offset)))


def test_options_that_do_not_apply_are_refused(file):
    with pytest.raises(UsageError, match="size does not apply to data of this format; leave it out"):
        load(file(x=GREY), size=64)
    with pytest.raises(UsageError, match="ring8: its fields are known"):
        load("ring8", fields={"x": "x"})
