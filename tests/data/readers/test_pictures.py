"""Folders of images: classes, modes, sizes, broken files."""

import numpy as np
import pytest
from PIL import Image

from tinygen.data import Image as ImageField
from tinygen.data import load
from tinygen.errors import DataError

GRADIENT = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5


def save(path, image, **options):
    path.parent.mkdir(exist_ok=True)
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path, **options)


def pixels(data):
    """Every image of the set, as rounded 8-bit values."""
    parts = [split.batch(slice(None)).x for split in (data.train, data.valid, data.test)]
    return np.rint(np.concatenate(parts) * 255).astype(int)


@pytest.fixture
def greys(tmp_path):
    for i in range(12):
        save(tmp_path / "pictures" / f"{i:02}.png", GRADIENT + np.uint8(i))
    return tmp_path / "pictures"


def test_grey_images(greys):
    (greys / "notes.txt").write_text("left alone")
    (greys / "._00.png").write_text("so are hidden files")
    data = load(greys)
    assert data.spec.name == "pictures"
    assert data.spec.fields == {"x": ImageField(6, 8, 1, "grey")}
    assert sorted(pixels(data)[:, 0, 0, 0]) == list(range(12))
    np.testing.assert_array_equal(pixels(data), pixels(load(str(greys))))
    assert pixels(data)[:, 0, 0, 0].tolist() != list(range(12))


def test_sub_folders_are_classes(tmp_path):
    for i, name in enumerate(["cat", "dog", "owl"]):
        for j in range(10):
            save(tmp_path / name / f"{j}.png", np.full((3, 3), 10 * j + i, np.uint8))
    (tmp_path / "empty").mkdir()
    data = load(tmp_path)
    assert data.spec.y.names == ("cat", "dog", "owl")
    batch = data.train.batch(slice(None))
    np.testing.assert_array_equal(np.rint(batch.x[:, 0, 0, 0] * 255) % 10, batch.y)
    assert set(data.train.values("y")) == {0, 1, 2}


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.new("1", (8, 6), 1), (255,)),
        (Image.new("L", (8, 6), 7), (7,)),
        (Image.fromarray(np.full((6, 8), 7 * 256 + 200, np.uint16)), (7,)),
        (Image.new("LA", (8, 6), (0, 0)), (255,)),
        (Image.new("RGB", (8, 6), (1, 2, 3)), (1, 2, 3)),
        (Image.new("RGBA", (8, 6), (1, 2, 3, 255)), (1, 2, 3)),
        (Image.new("RGBA", (8, 6), (1, 2, 3, 0)), (255, 255, 255)),
        (Image.new("RGB", (8, 6), (200, 0, 0)).quantize(4), (200, 0, 0)),
    ],
    ids=["bits", "grey", "16-bit", "clear grey", "rgb", "opaque", "clear", "palette"],
)
def test_modes(tmp_path, image, expected):
    for i in range(3):
        save(tmp_path / f"{i}.png", image)
    data = load(tmp_path)
    assert data.spec.x.shape == (6, 8, len(expected))
    assert (pixels(data) == expected).all()


def test_one_coloured_image_makes_all_rgb(greys):
    save(greys / "red.png", Image.new("RGB", (8, 6), (255, 0, 0)))
    data = load(greys)
    assert data.spec.x == ImageField(6, 8, 3, "rgb")
    assert sum((image[..., 0] == image[..., 2]).all() for image in pixels(data)) == 12


def test_orientation_of_a_camera_is_followed(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    for i in range(3):
        save(tmp_path / f"{i}.png", GRADIENT, exif=exif)
    np.testing.assert_array_equal(pixels(load(tmp_path))[0, ..., 0], np.rot90(GRADIENT, -1))


def test_mixed_sizes_are_refused_by_name(greys):
    save(greys / "wide.png", np.zeros((6, 9), np.uint8))
    with pytest.raises(DataError, match=r"pictures: sizes differ: \d\d\.png is 8x6 but wide\.png is 9x6"):
        load(greys, skip_broken=True)


@pytest.mark.parametrize("damage", ["empty", "text", "cut"])
def test_a_broken_image_is_refused_by_name_or_skipped(greys, damage, capsys):
    whole = (greys / "03.png").read_bytes()
    content = {"empty": b"", "text": b"<html>not found</html>", "cut": whole[: len(whole) * 2 // 3]}[damage]
    (greys / "03.png").write_bytes(content)
    with pytest.raises(DataError, match=r"pictures: 03\.png is not an image that can be read; .*--skip-broken"):
        load(greys)
    assert len(pixels(load(greys, skip_broken=True))) == 11
    assert "skipped 1 broken of 12 images" in capsys.readouterr().err


def test_folders_without_usable_images(tmp_path):
    with pytest.raises(DataError, match="no images in the folder"):
        load(tmp_path)
    (tmp_path / "only.png").write_text("broken")
    with pytest.raises(DataError, match="none of the images"):
        load(tmp_path, skip_broken=True)
    save(tmp_path / "cats" / "a.png", GRADIENT)
    with pytest.raises(DataError, match=r"both in it \(only\.png\) and in its folder cats"):
        load(tmp_path)
