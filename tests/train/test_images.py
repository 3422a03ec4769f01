"""Sheets of tiles: their layout, values and colours, and the files that they are written to."""

import base64

import numpy as np
import pytest
from PIL import Image

from tinygen import data
from tinygen.errors import RunError, UsageError
from tinygen.random import Stream
from tinygen.train import images, panels
from tinygen.train.figures import Figure


def test_tiles_lie_in_rows_with_gaps_between_them():
    tiles = np.stack([np.full((2, 3, 1), value, np.float32) for value in (0.2, 0.4, 0.6, 0.8, 1.0)])
    pixels = np.asarray(images.sheet(tiles, 3, scale=1))
    assert pixels.shape == (2 + 1 + 2, 3 + 1 + 3 + 1 + 3)
    np.testing.assert_array_equal(pixels[0], [51, 51, 51, 0, 102, 102, 102, 0, 153, 153, 153])
    np.testing.assert_array_equal(pixels[2], 0)
    np.testing.assert_array_equal(pixels[4], [204, 204, 204, 0, 255, 255, 255, 0, 0, 0, 0])
    assert np.asarray(images.sheet(tiles, 3, gap=0, scale=2)).shape == (8, 18)


def test_a_sheet_is_as_square_as_it_can_be_and_small_tiles_are_enlarged():
    assert images.sheet(np.zeros((9, 28, 28, 1), np.float32)).size == (2 * (3 * 29 - 1),) * 2
    assert images.sheet(np.zeros((1, 100, 100, 3), np.float32)).size == (100, 100)
    assert images.sheet(np.zeros((3, 8, 8, 1), np.float32), 10, scale=1).size == (3 * 9 - 1, 8)


def test_values_are_rounded_and_those_outside_the_range_clipped():
    values = np.array([-1.0, 0.0, 0.499 / 255, 0.501 / 255, 1.0, 7.0], np.float32)
    pixels = np.asarray(images.sheet(values.reshape(1, 1, 6, 1), scale=1))
    np.testing.assert_array_equal(pixels, [[0, 0, 0, 1, 255, 255]])


def test_colours_are_the_same_after_saving_and_reading(tmp_path):
    tile = np.zeros((1, 2, 2, 3), np.float32)
    tile[0, 0, 1] = (1.0, 0.2, 0.0)
    images.save(images.sheet(tile, scale=1), tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.getpixel((1, 0)) == (255, 51, 0)
    np.testing.assert_array_equal(images.read(tmp_path / "a.png"), tile[0])


def test_files_that_cannot_be_written_are_refused(tmp_path):
    picture = images.sheet(np.zeros((1, 2, 2, 1), np.float32))
    with pytest.raises(UsageError, match=r"the end of its name gives the format of a picture"):
        images.save(picture, tmp_path / "a.doc")
    with pytest.raises(RunError, match="no such file or directory"):
        images.save(picture, tmp_path / "gone" / "a.png")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", [".png", ".gif"])
def test_clips_are_animations_of_sheets_with_grey_gaps(suffix, tmp_path):
    clips = np.eye(3, dtype=np.float32)[:2, :, None, None, None] * np.ones((8, 8, 1), np.float32)  # (2, 3, 8, 8, 1)
    figure = Figure.of_examples("Samples.", clips, data.Clip(3, 8, 8, 1, "binary"), 2)
    figure.save(file := tmp_path / f"clips{suffix}")
    with Image.open(file) as picture:
        assert (picture.n_frames, picture.size, picture.info["loop"]) == (3, (7 * 17, 7 * 8), 0)
    frames = [images.pixels(sheet.convert("L"))[0, ::63, 0] for sheet in (figure.picture, *figure.later_pictures)]
    np.testing.assert_array_equal(frames, [[1, 0], [0, 1], [0, 0]])
    assert figure.picture.getpixel((7 * 8, 0)) == round(255 * images.GROUND)
    if suffix == ".png":
        again = Figure.read("Samples.", file)
        assert again.source == figure.source
        assert b"acTL" in base64.b64decode(again.source.partition(",")[2])  # the chunk of an animation
    with pytest.raises(UsageError, match=r"a.jpg: that format has no animations; use one of .png, "):
        figure.save(tmp_path / "a.jpg")


def test_completed_clips_are_shown_frame_by_frame():
    x = Stream(0, "clips").uniform((2, 4, 3, 3, 1))
    figure = panels.completions_figure(x, 1, [1 - x], data.Clip(4, 3, 3, 1, "grey"))
    rows = figure.images.reshape(2, 3, 4, 3, 3, 1)
    assert figure.columns == 4
    np.testing.assert_array_equal(rows[:, 0], x)
    np.testing.assert_array_equal(rows[:, 1, :1], x[:, :1])
    np.testing.assert_array_equal(rows[:, 1, 1:], 0.5)
    np.testing.assert_array_equal(rows[:, 2], 1 - x)


def test_fields_that_are_pictures_can_be_shown():
    fields = (data.Image(), data.Points(), data.Clip(), data.Wave(), data.SegmentMap(), data.Tokens(), data.Labels())
    assert [images.can_show(each) for each in fields] == [True] * 5 + [False] * 2


def test_indexed_samples_are_shown_in_the_colours_of_the_palette():
    field = data.Image(1, 2, 1, "indexed", ((1, 2, 3), (250, 100, 0)))
    picture = images.picture(np.array([[[[1], [0]]]]), field)
    assert picture.getpixel((0, 0)) == (250, 100, 0)
    assert picture.getpixel((picture.width - 1, picture.height - 1)) == (1, 2, 3)
