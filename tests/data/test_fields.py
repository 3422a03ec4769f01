"""Fields: their checks, stored form, values in a batch, drawings for a person, and description in JSON."""

import json

import numpy as np
import pytest

from tinygen.data import Attributes, Clip, Field, Image, Labels, Points, SegmentMap, Tokens, Wave
from tinygen.data.batch import Padded
from tinygen.data.fields import INTENSITIES
from tinygen.errors import DataError, RunError, UsageError

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)

COMPLETE = [
    Image(3, 2, 1, "binary", binarisation="dynamic"),
    Image(3, 2, 3, "rgb"),
    Image(3, 2, 1, "indexed", (RED, GREEN)),
    Labels(3, ("a", "b", "c")),
    Attributes(("smiling", "male"), binary=True),
    Tokens(("the", "cat"), 5, " "),
    Points(2, (-1.0, 3.5)),
    Clip(4, 3, 2, 1, "grey"),
    Wave(100, 8000, 256),
    SegmentMap(3, 2, 2, ("wall", "door"), (RED, BLUE)),
]
each_field = pytest.mark.parametrize("field", COMPLETE, ids=lambda field: type(field).__name__)


def fit_and_store(field, array, where="x_train"):
    """The field fitted to an array, and the array's values in a batch."""
    fitted = field.fit({where: array})
    return fitted, fitted.value(fitted.store(where, array))


# All fields


@each_field
def test_a_field_is_rebuilt_from_its_description_in_json(field):
    assert Field.from_description(json.loads(json.dumps(field.describe()))) == field


def test_an_unknown_field_is_refused():
    with pytest.raises(RunError, match="unknown field 'Hologram'"):
        Field.from_description({"field": "Hologram"})


@each_field
def test_an_open_requirement_accepts_its_class_alone(field):
    assert type(field)().accepts(field)
    assert field.accepts(field)
    for other in COMPLETE:
        if type(other) is not type(field):
            assert not type(field)().accepts(other)
            assert type(field)().refusal(other) == f"takes {type(field)().in_words()}, not {other.in_words()}"


def test_a_requirement_compares_the_attributes_that_it_sets_except_notes():
    assert Image(kind="binary").accepts(COMPLETE[0])
    assert not Image(kind="binary").accepts(COMPLETE[1])
    assert not Image(height=4).accepts(COMPLETE[0])
    assert Image(3, 2, 1, "binary", binarisation="threshold").accepts(COMPLETE[0])
    assert Labels(3, ("x", "y", "z")).accepts(COMPLETE[3])
    assert not Labels(4).accepts(COMPLETE[3])
    assert [any(each.accepts(field) for each in INTENSITIES) for field in COMPLETE[:3]] == [True, True, False]
    assert Image(kind="rgb").refusal(COMPLETE[1]) is None


@each_field
def test_descriptions_in_words_are_one_line(field):
    assert "None" not in field.in_words() + type(field)().in_words()
    assert "\n" not in field.in_words()


@each_field
def test_fields_are_hashable_and_frozen(field):
    assert len({field, type(field)()}) == 2
    with pytest.raises(AttributeError):
        field.names = ()


@each_field
def test_an_open_field_without_arrays_stays_open(field):
    assert type(field)().fit({}) == type(field)()


def test_what_is_not_kept_of_an_example_is_grey_silent_or_missing():
    x = np.arange(24, dtype=np.float32).reshape(1, 4, 3, 2, 1) / 24
    for field, values in ((COMPLETE[0], x[:, 0]), (COMPLETE[7], x)):
        kept = field.kept(values, 1)
        np.testing.assert_array_equal(kept[:, :1], values[:, :1])
        np.testing.assert_array_equal(kept[:, 1:], 0.5)
    indexed = COMPLETE[2].draw(COMPLETE[2].kept(np.ones((1, 3, 2, 1), np.int64), 2)[0])
    np.testing.assert_array_equal(indexed, [[GREEN, GREEN], [GREEN, GREEN], [(128, 128, 128)] * 2])
    wave = COMPLETE[8].kept(np.full((1, 100), 200), 30)
    np.testing.assert_array_equal(wave[0, :30], 200)
    np.testing.assert_allclose(COMPLETE[8].decode(wave[0, 30:]), 0, atol=1e-3)
    tokens = COMPLETE[5].kept(Padded(np.array([[0, 1, 0, 1, 0], [1, 0, 0, 0, 0]]), np.array([5, 1])), 2)
    assert [COMPLETE[5].draw(example) for example in tokens] == ["the cat", "cat"]


# Images


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64])
def test_integer_images_of_any_dtype_become_floats_in_the_unit_range(dtype):
    field, x = fit_and_store(Image(), np.array([[[0, 51], [255, 102]]], dtype))
    assert field == Image(2, 2, 1, "grey")
    np.testing.assert_array_equal(x, np.float32([[[[0], [0.2]], [[1], [0.4]]]]))
    assert x.dtype == np.float32


def test_the_number_of_values_of_a_channel_follows_from_the_array_and_white():
    values = np.array([[[0, 3], [16, 12]]])
    for array, white, count in (
        (values.astype(np.uint8), None, 256),
        (values, 16, 17),
        (5 * values, 4095, 0),
        (values / 255, None, 256),
        (np.float32(values) / np.float32(255), None, 256),
        (values / 16, None, 0),
        (values / 16 > 0.5, None, 2),
    ):
        field, x = fit_and_store(Image(white=white), array)
        assert field.value_count == count
        assert Image.from_description(field.describe()).value_count == count
        if count:
            np.testing.assert_allclose(x * (count - 1), np.rint(x * (count - 1)), atol=1e-4)
    assert Image(kind="grey").accepts(Image(2, 2, 1, "grey", levels=0)), "a requirement does not ask for it"
    assert Image(2, 2, 1, "binary", levels=17) == Image(2, 2, 1, "binary")


def test_a_given_kind_is_checked_instead_of_guessed():
    zeros = np.zeros((2, 3, 3), np.uint8)
    assert Image().fit({"x_train": zeros}).kind == "binary"
    assert Image(kind="grey").fit({"x_train": zeros}).kind == "grey"
    with pytest.raises(DataError, match="x_train has values between black and white"):
        Image(kind="binary").store("x_train", zeros + 7)
    with pytest.raises(DataError, match=r"x_train has shape \(2, 3, 3\); images are \(N, H, W, 3\)"):
        Image(kind="rgb").fit({"x_train": zeros})


def test_indices_of_a_palette_are_not_scaled():
    palette = np.array([(i, 0, 255 - i) for i in range(200)], np.uint8)
    ids = np.array([[[0, 199], [3, 7]]], np.uint8)
    field, x = fit_and_store(Image(kind="indexed", palette=palette), ids)
    np.testing.assert_array_equal(x, ids[..., None])
    assert (x.dtype, field.shape) == (np.int64, (2, 2, 1))
    np.testing.assert_array_equal(field.draw(x[0]), palette[ids[0]])
    with pytest.raises(DataError, match="x_test has values from 0 to 200; the 200 colours of the palette are 0 to 199"):
        field.store("x_test", ids + (ids == 199))
    with pytest.raises(UsageError, match="indexed images need their palette"):
        Image(kind="indexed").fit({"x_train": ids})


def test_images_are_drawn_as_uint8_rgb_with_extreme_values_clipped():
    assert Image(1, 2, 1, "grey").draw(np.float32([[[0.2], [2.0]]])).tolist() == [[[51] * 3, [255] * 3]]
    assert Image(1, 1, 3, "rgb").draw(np.float32([[[1, 0, np.nan]]])).tolist() == [[[255, 0, 0]]]


def test_impossible_images_are_refused():
    with pytest.raises(UsageError, match="unknown kind of image 'sepia': use one of binary, grey, rgb, indexed"):
        Image(kind="sepia")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="rgb images have 3 channels, not 1"):
        Image(2, 2, 1, "rgb")
    with pytest.raises(DataError, match=r"colours have shape \(2,\)"):
        Image(kind="indexed", palette=(0, 1))  # type: ignore[arg-type]


def test_clips_are_stored_as_images_and_drawn_in_a_row():
    frames = np.arange(2 * 3 * 2 * 2, dtype=np.uint8).reshape(2, 3, 2, 2)
    field, x = fit_and_store(Clip(), frames)
    assert field == Clip(3, 2, 2, 1, "grey")
    np.testing.assert_array_equal(x, frames[..., None] / np.float32(255))
    np.testing.assert_array_equal(field.draw(x[0])[..., 1], np.concatenate(frames[0], axis=1))
    with pytest.raises(DataError, match=r"clips are \(N, T, H, W\), \(N, T, H, W, 1\) or \(N, T, H, W, 3\)"):
        Clip().fit({"x_train": frames[0]})


def test_segments_are_class_ids_whatever_their_dtype():
    ids = np.array([[[3, 7], [0, 3]]], np.uint8)
    field, x = fit_and_store(SegmentMap(classes=8), ids)
    assert (field.classes, field.shape, x.dtype, x.tolist()) == (8, (2, 2), np.int64, ids.tolist())
    drawn = SegmentMap(2, 2, 8, colours=[(i, i, i) for i in range(8)]).draw(x[0])
    np.testing.assert_array_equal(drawn[..., 2], ids[0])
    assert len({tuple(colour) for colour in field.draw(np.arange(8)[None])[0]}) == 8
    with pytest.raises(DataError, match="x_train has dtype float64; the classes of a segment map are integers"):
        field.store("x_train", ids / 1.0)
    with pytest.raises(DataError, match="from 0 to 7; the 5 classes are 0 to 4"):
        SegmentMap(classes=5).store("x_train", ids)


# Labels and attributes


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, bool])
def test_labels_from_0_keep_their_numbers(dtype):
    ids = np.array([1, 0, 1], dtype) if dtype is bool else np.array([2, 1, 0, 2], dtype)
    field, y = fit_and_store(Labels(), ids, "y_train")
    assert (field, y.dtype, y.tolist()) == (Labels(ids.max() + 1), np.int64, ids.tolist())
    assert field.draw(y[0]) == str(int(ids[0]))


@pytest.mark.parametrize("dtype", [np.uint8, np.int64])
def test_labels_that_skip_numbers_are_renumbered(dtype):
    field, y = fit_and_store(Labels(), np.array([3, 7, 3, 200], dtype), "y_train")
    assert field == Labels(3, ("3", "7", "200"), (3, 7, 200))
    assert (y.tolist(), y.dtype, field.draw(y[1])) == ([0, 1, 0, 2], np.int64, "7")
    assert field.renumbering_in_words() == (
        "no example has the label 0 to 2, 4 to 6, 8 to 199; 3 to 200 are now the classes 0 to 2"
    )
    assert Field.from_description(json.loads(json.dumps(field.describe()))) == field
    for label in (0, 4, 201):
        with pytest.raises(DataError, match=f"y_test holds the label {label}, of which train has no example"):
            field.store("y_test", [3, label])


def test_labels_that_start_at_1_keep_their_names():
    letters = tuple("abcdef")
    field, y = fit_and_store(Labels(names=letters), np.arange(1, 7), "y_train")
    assert (field.names, field.classes, y.tolist()) == (letters, 6, list(range(6)))
    assert Labels(names=letters).fit({"y_train": np.array([1, 2, 3])}) == Labels(6, letters)


def test_labels_that_differ_in_every_example_are_refused_as_identifiers():
    n = 3000
    with pytest.raises(
        DataError, match=r"y_train holds 3000 different labels in 3000 examples: these are ids, .*y=KEY"
    ):
        Labels().fit({"y_train": 200_000 + np.arange(n)})
    with pytest.raises(DataError, match="these are ids, not classes"):
        Labels().fit({"y_train": np.array([f"{i}.jpg" for i in range(n)])})
    assert Labels().fit({"y_train": np.arange(n) // 2}).classes == n // 2
    assert Labels().fit({"y_train": np.array([200_017, 5])}).classes == 2


def test_labels_of_strings_are_numbered_in_alphabetical_order():
    field, y = fit_and_store(Labels(), np.array(["owl", "cat", "owl"]), "y_train")
    assert (field, y.tolist(), field.draw(y[0])) == (Labels(2, ("cat", "owl")), [1, 0, 1], "owl")
    with pytest.raises(DataError, match="y_test holds 'dog', which is no class"):
        field.store("y_test", ["dog"])


def test_unknown_labels_and_bad_names_are_refused():
    with pytest.raises(DataError, match="y_test: label 3 is unknown; the 3 classes are 0 to 2"):
        Labels(3).store("y_test", [0, 3])
    with pytest.raises(DataError, match="the names have shape"):
        Labels(names="abc")  # type: ignore[arg-type]


@pytest.mark.parametrize("off", [0, -1])
def test_attributes_of_two_values_are_binary(off):
    field, a = fit_and_store(Attributes(("smiling", "male", "young")), [[1, off, 1], [off, off, off]], "a_train")
    assert (field.binary, a.dtype, a.tolist()) == (True, np.float32, [[1, 0, 1], [0, 0, 0]])
    assert (field.draw(a[0]), field.draw(a[1])) == ("smiling, young", "")
    with pytest.raises(DataError, match="a_test holds other values than 0 and 1"):
        field.store("a_test", [[0.5, 0, 0]])
    with pytest.raises(DataError, match=r"a_test has shape \(1, 2\) .* attributes are numbers \(N, 3\)"):
        field.store("a_test", [[0, 0]])


def test_attributes_of_other_values_are_real():
    field, a = fit_and_store(Attributes(), np.array([[0.5, 20], [1, 30]]), "a_train")
    assert field == Attributes(("attribute 0", "attribute 1"), binary=False)
    assert (a.dtype, field.draw(a[0])) == (np.float32, "attribute 0 0.5, attribute 1 20")
    with pytest.raises(DataError, match="a_train holds NaN"):
        Attributes().fit({"a_train": [[np.nan]]})


# Sequences


def test_strings_become_tokens_of_characters():
    field, tokens = fit_and_store(Tokens(), ["abba", "c"], "text_train")
    assert field == Tokens(("a", "b", "c"), 4)
    assert tokens.values.tolist() == [[0, 1, 1, 0], [2, 0, 0, 0]]
    assert (tokens.values.dtype, tokens.length.tolist(), len(tokens)) == (np.int64, [4, 1], 2)
    assert tokens.mask.tolist() == [[True] * 4, [True, False, False, False]]
    assert [field.draw(tokens[i]) for i in range(2)] == ["abba", "c"]
    with pytest.raises(DataError, match="text_test holds the token 'z', which is not in the vocabulary"):
        field.store("text_test", ["az"])
    with pytest.raises(DataError, match="text_test holds a sequence of 5 tokens; the longest may have 4"):
        field.store("text_test", ["aaaaa"])


def test_the_most_frequent_tokens_are_kept_and_others_are_unknown(capsys):
    lines = ["the cat sat", "the cat ran", "a cat", "the end", "a a b"]
    field, tokens = fit_and_store(Tokens(separator=" ", limit=3), lines, "text_train")
    assert field.vocabulary == ("<unk>", "a", "cat", "the")
    assert [field.draw(each) for each in tokens][:2] == ["the cat <unk>", "the cat <unk>"]
    said = "text_train: 4 of 13 tokens are not in the vocabulary; they count as <unk>"
    assert capsys.readouterr().err == f"tinygen: {said}\n"
    assert field.store("text_test", ["zebra the"]).tolist() == [[0, 3, -1]]
    whole, _ = fit_and_store(Tokens(separator=" ", limit=7), lines, "text_train")
    assert whole.vocabulary == ("a", "b", "cat", "end", "ran", "sat", "the"), "nothing is unknown"
    with pytest.raises(DataError, match="the token 'zebra', which is not in the vocabulary"):
        whole.store("text_test", ["zebra"])
    own, _ = fit_and_store(Tokens(separator=" ", limit=2), ["<unk> <unk> <unk> a b b c"], "text_train")
    assert own.vocabulary == ("<unk>", "a", "b"), "a text that has unknown tokens already"


def test_sequences_are_cut_where_that_is_asked_for(capsys):
    field, tokens = fit_and_store(Tokens(length=2, cut=True), ["abc", "ab", "", "c"], "text_train")
    assert (field.length, tokens.length.tolist()) == (2, [2, 2, 0, 1])
    assert capsys.readouterr().err == "tinygen: text_train: 1 of 4 sequences are cut to their first 2 tokens\n"


def test_strings_with_a_separator_become_tokens_of_words():
    field, tokens = fit_and_store(Tokens(separator=" "), np.array(["the cat", "cat  sat\n down"]), "text_train")
    assert field.vocabulary == ("cat", "down", "sat", "the")
    assert [field.draw(tokens[i]) for i in range(2)] == ["the cat", "cat sat down"]


@pytest.mark.parametrize("ids", [[[5, 0, 2], [1]], np.array([[5, 0, 2], [1, -1, -1]], np.int8)])
def test_integers_become_tokens(ids):
    field, tokens = fit_and_store(Tokens(), ids, "text_train")
    assert (len(field.vocabulary), field.length) == (6, 3)
    assert (tokens.values.tolist(), tokens.length.tolist()) == ([[5, 0, 2], [1, 0, 0]], [3, 1])
    with pytest.raises(DataError, match="text_test holds the token 6; the 6 tokens of the vocabulary are 0 to 5"):
        field.store("text_test", [[6]])
    with pytest.raises(DataError, match="tokens are strings, or integers"):
        field.store("text_test", [[0.5]])


def test_waves_are_mu_law_levels():
    """mu-law with mu = 255, as in G.711: silence is level 128, and 1/16 is about three quarters of the way up."""
    field, ids = fit_and_store(Wave(rate=8000), [np.array([-1.0, 0.0, 1.0]), np.array([1 / 16])], "w_train")
    assert (field.samples, field.rate, ids.dtype) == (3, 8000, np.int64)
    middle = 128
    assert ids.tolist() == [
        [0, middle, 255],
        [round(127.5 + 127.5 * np.log(1 + 255 / 16) / np.log(256)), middle, middle],
    ]
    amplitudes = np.linspace(-1, 1, 1001)
    np.testing.assert_allclose(field.decode(field.encode(amplitudes)), amplitudes, atol=0.03)
    levels = np.arange(256)
    np.testing.assert_array_equal(field.encode(field.decode(levels)), levels)
    np.testing.assert_array_equal(field.store("w", [np.arange(3, dtype=np.uint8)])[0], [0, 1, 2])
    with pytest.raises(DataError, match=r"w_test holds values that are not in \[-1, 1\]"):
        field.store("w_test", [[1.5]])
    with pytest.raises(DataError, match="w_test holds values from -3 to 300; mu-law levels are 0 to 255"):
        field.store("w_test", [np.array([-3, 300])])


# Points


def test_points_are_float32_with_their_limits():
    field, x = fit_and_store(Points(), np.array([[1, -2], [0, 5]]))
    assert (field, x.dtype, x.tolist()) == (Points(2, (-2.0, 5.0)), np.float32, [[1, -2], [0, 5]])
    assert field.draw(x[0]) == "(1, -2)"
    assert fit_and_store(Points(), [0.5, 1.5])[1].shape == (2, 1)
    with pytest.raises(DataError, match=r"x_test has shape \(1, 3\) .* points are numbers of shape \(N, 2\)"):
        field.store("x_test", [[1, 2, 3]])
    with pytest.raises(DataError, match="x_test holds NaN"):
        field.store("x_test", [[np.inf, 0]])


def test_a_field_class_of_the_user_is_rebuilt_from_its_description():
    import dataclasses

    @dataclasses.dataclass(frozen=True)
    class Angles(Field):
        count: int | None = None

    assert Field.from_description({"field": "Angles", "count": 3}) == Angles(3)
