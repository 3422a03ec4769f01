"""Folders of images: classes, modes, sizes, broken files."""

import numpy as np
import pytest
from PIL import Image

from tinygen.data import Image as ImageField
from tinygen.data import load
from tinygen.errors import DataError, UsageError
from tinygen.train.description import describe_data

GRADIENT = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5


def save(path, image, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path, **options)


def pixels(data):
    """All images of the data set (N, H, W, C), as integers 0 to 255."""
    parts = [split.batch(slice(None)).x for split in (data.train, data.valid, data.test)]
    return np.rint(np.concatenate(parts) * 255).astype(int)


@pytest.fixture
def greys(tmp_path):
    for i in range(12):
        save(tmp_path / "pictures" / f"{i:02}.png", GRADIENT + np.uint8(i))
    return tmp_path / "pictures"


def test_a_folder_of_grey_images_is_shuffled_and_other_files_are_ignored(greys):
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
def test_every_mode_of_pillow_becomes_grey_or_rgb(tmp_path, image, expected):
    for i in range(3):
        save(tmp_path / f"{i}.png", image)
    data = load(tmp_path)
    assert data.spec.x.shape == (6, 8, len(expected))
    assert (pixels(data) == expected).all()


def test_one_colour_image_makes_the_data_set_rgb(greys):
    save(greys / "red.png", Image.new("RGB", (8, 6), (255, 0, 0)))
    data = load(greys)
    assert data.spec.x == ImageField(6, 8, 3, "rgb")
    assert sum((image[..., 0] == image[..., 2]).all() for image in pixels(data)) == 12


def test_the_exif_orientation_is_applied(tmp_path):
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
    original = (greys / "03.png").read_bytes()
    content = {"empty": b"", "text": b"<html>not found</html>", "cut": original[: len(original) * 2 // 3]}[damage]
    (greys / "03.png").write_bytes(content)
    with pytest.raises(DataError, match=r"pictures: 03\.png is not an image that can be read; .*--skip-broken"):
        load(greys)
    assert len(pixels(load(greys, skip_broken=True))) == 11
    assert "skipped 1 broken of 12 images" in capsys.readouterr().err


def test_folders_without_usable_images_are_refused(tmp_path):
    with pytest.raises(DataError, match="no images in the folder"):
        load(tmp_path)
    (tmp_path / "only.png").write_text("broken")
    with pytest.raises(DataError, match="none of the images"):
        load(tmp_path, skip_broken=True)
    save(tmp_path / "cats" / "a.png", GRADIENT)
    with pytest.raises(DataError, match=r"both in it \(only\.png\) and in its folder cats"):
        load(tmp_path)


def test_classes_are_in_natural_order(tmp_path):
    for name in ("10", "9", "Class 2", "1"):
        save(tmp_path / name / "a.png", np.full((2, 2), len(name), np.uint8))
    assert load(tmp_path).spec.y.names == ("1", "9", "10", "Class 2")


@pytest.mark.parametrize("valid", ["valid", "val", "Validation"])
def test_folders_named_after_splits_are_the_splits(tmp_path, valid, capsys):
    for part, n in (("train", 6), (valid, 2), ("test", 3)):
        for i in range(n):
            save(tmp_path / part / f"{i % 2}" / f"{i}.png", np.full((2, 2), 10 * n + i, np.uint8))
    save(tmp_path / "extra" / "0.png", GRADIENT)
    data = load(tmp_path)
    assert [len(part) for part in (data.train, data.valid, data.test)] == [6, 2, 3]
    assert sorted(np.rint(data.test.values("x")[:, 0, 0, 0] * 255)) == [30, 31, 32]
    assert sorted(data.test.values("y")) == [0, 0, 1]
    assert "only train, valid and test are read, not extra" in capsys.readouterr().err


def test_folders_of_splits_may_lack_classes_and_valid(tmp_path):
    for part, n in (("train", 20), ("test", 3)):
        for i in range(n):
            save(tmp_path / part / f"{i}.png", np.full((2, 2), i, np.uint8))
    data = load(tmp_path)
    assert list(data.spec.fields) == ["x"]
    assert [len(part) for part in (data.train, data.valid, data.test)] == [18, 2, 3]
    save(tmp_path / "train" / "class" / "a.png", GRADIENT)
    with pytest.raises(DataError, match=r"images both in it \(train/0\.png\) and in its folder class"):
        load(tmp_path)


def test_a_split_without_the_classes_of_train_is_refused(tmp_path):
    save(tmp_path / "train" / "cat" / "a.png", GRADIENT)
    save(tmp_path / "test" / "b.png", GRADIENT)
    with pytest.raises(DataError, match=r"test has images without a class \(test/b\.png\)"):
        load(tmp_path)


def test_hidden_folders_are_no_classes_and_deeper_ones_are_read(tmp_path):
    for folder in ("cat/images", "dog", ".ipynb_checkpoints", "__MACOSX", "cat/.ipynb_checkpoints"):
        for i in range(3):
            save(tmp_path / folder / f"{i}.JFIF", Image.new("RGB", (4, 4), (i, 0, 0)), format="JPEG")
    (tmp_path / "dog" / "again").symlink_to(tmp_path / "dog")
    data = load(tmp_path)
    assert data.spec.y.names == ("cat", "dog")
    assert len(pixels(data)) == 6


def test_size_scales_and_crops_in_the_centre(tmp_path):
    """One-pixel stripes become grey when they are scaled; a wider image loses both sides."""
    picture = np.zeros((8, 40), np.uint8)
    picture[:, 10:30:2] = 200
    picture[:, :8] = picture[:, -8:] = 255
    for i in range(4):
        save(tmp_path / f"{i}.png", picture[:, : 40 - 2 * i or None] if i == 0 else picture)
    cropped = load(tmp_path, size="10x4")
    assert cropped.spec.x.shape == (4, 10, 1)
    assert abs(pixels(cropped)[:, :, 1:9] - 100).max() < 25
    assert load(tmp_path, size=4).spec.x.shape == load(tmp_path, size=(4, 4)).spec.x.shape == (4, 4, 1)
    assert load(tmp_path, size=(6, 2)).spec.x.shape == (2, 6, 1)
    save(tmp_path / "other.png", np.zeros((3, 50), np.uint8))
    assert len(pixels(load(tmp_path, size=4))) == 5


@pytest.mark.parametrize(
    "size", ["", "x", "64x", "x64", "a", "-3", "3x4x5", 0, -1, (0, 4), (1, 2, 3), 2.5, True, [4, "a"]]
)
def test_an_impossible_size_is_refused(tmp_path, size):
    with pytest.raises(UsageError, match=r"size is .*; give one number of pixels, or width and height, such as 64 or"):
        load(tmp_path, size=size)


@pytest.mark.parametrize(("dtype", "format_"), [(np.uint16, "png"), (np.uint16, "tiff"), (np.uint16, "pgm")])
def test_16_bit_images_are_scaled_to_8_bits(tmp_path, dtype, format_):
    for i in range(3):
        save(tmp_path / f"{i}.{format_}", Image.fromarray(np.full((2, 3), 256 * 200 + 99, dtype)))
    assert (pixels(load(tmp_path)) == 200).all()


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_32_bit_images_are_refused(tmp_path, dtype):
    for i in range(3):
        save(tmp_path / f"{i}.tiff", Image.fromarray(np.full((2, 3), 70, dtype)))
    with pytest.raises(DataError, match=r"\d\.tiff has pixels of 32 bits, whose white is not known: save it with 8"):
        load(tmp_path)


def test_a_broken_symbolic_link_is_refused_by_name_or_skipped(greys, capsys):
    (greys / "lost.png").symlink_to(greys / "nowhere.png")
    with pytest.raises(DataError, match=r"lost\.png is not an image that can be read"):
        load(greys)
    assert len(pixels(load(greys, skip_broken=True))) == 12
    assert "skipped 1 broken of 13 images" in capsys.readouterr().err


def test_fields_of_a_folder_may_only_set_the_kind_of_x(greys):
    assert load(greys, fields={"x": ":rgb"}).spec.x == ImageField(6, 8, 3, "rgb")
    for fields in ({"y": "name"}, {"x": "photo"}, {"x": ":indexed"}):
        with pytest.raises(UsageError, match="a folder of pictures takes x=:grey or x=:rgb, not"):
            load(greys, fields=fields)


def test_augment_is_refused_without_images_or_by_an_unknown_name():
    with pytest.raises(UsageError, match="ring8 has no pictures to augment"):
        load("ring8", augment="flip")
    with pytest.raises(UsageError, match="unknown augment 'turn'"):
        load("digits8x8", augment="turn")


def test_the_digest_of_a_folder_is_that_of_older_versions(tmp_path):
    """The digest was written by the version that held every folder in memory."""
    for i in range(30):
        save(tmp_path / ("cat", "dog")[i % 2] / f"{i:02}.png", GRADIENT + np.uint8(i))
    assert describe_data(load(tmp_path))["digest"] == "ee590349df40aa2627c556d95bce9680"
