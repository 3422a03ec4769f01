"""Pictures whose pixels are not 8 bits of grey or colour, and files of a folder that are not read: never silently."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from tinygen.data import load
from tinygen.errors import DataError

RAMP = np.linspace(0, 65535, 64).reshape(8, 8).astype(np.uint16)
"""64 shades from black to white."""


def folder(path, content, suffix="png", n=3, **options):
    """A folder of n equal pictures."""
    path.mkdir(parents=True, exist_ok=True)
    for i in range(n):
        file = path / f"{i}.{suffix}"
        if isinstance(content, bytes):
            file.write_bytes(content)
        else:
            content.save(file, **options)
    return path


def first(path, **options):
    return load(path, **options).train.batch(slice(1)).x[0]


def tiff(pixels, bits, *, white_is_zero=False, signed=False):
    """A grey little-endian TIFF of 8 x 8 pixels, written by hand from the specification TIFF 6.0."""
    data, height = pixels.tobytes(), 8
    tags = {256: 8, 257: height, 258: bits, 259: 1, 262: 0 if white_is_zero else 1, 273: 8}
    tags |= {277: 1, 278: height, 279: len(data), 339: 2 if signed else 1}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    return struct.pack("<2sHI", b"II", 42, 8 + len(data)) + data + struct.pack("<H", len(tags)) + entries + bytes(4)


SIXTEEN = {
    "png": (Image.fromarray(RAMP), "png"),
    "tiff": (Image.fromarray(RAMP), "tif"),
    "big-endian tiff": (Image.fromarray(RAMP.astype(">u2")), "tif"),
    "pgm": (b"P5\n8 8\n65535\n" + RAMP.astype(">u2").tobytes(), "pgm"),
    "pgm of 10 bits": (b"P5\n8 8\n1023\n" + (RAMP >> 6).astype(">u2").tobytes(), "pgm"),
    "inverted tiff": (tiff(65535 - RAMP, 16, white_is_zero=True), "tiff"),
}


@pytest.mark.parametrize("name", SIXTEEN)
def test_more_than_8_bits_are_scaled_so_that_white_stays_white(tmp_path, name):
    content, suffix = SIXTEEN[name]
    x = first(folder(tmp_path, content, suffix))
    assert x.shape == (8, 8, 1)
    np.testing.assert_allclose(x[..., 0], RAMP / 65535, atol=1 / 255 + 1e-6)
    assert (x.min(), x.max()) == (0, 1)


def test_a_tiff_of_12_bits_has_its_own_white(tmp_path):
    values = np.arange(64) * 65  # up to 4095
    first_of_two, second = values[::2], values[1::2]  # two values lie in three bytes
    packed = np.stack([first_of_two >> 4, (first_of_two & 15) << 4 | second >> 8, second & 255], axis=1)
    x = first(folder(tmp_path, tiff(packed.astype(np.uint8), 12), "tif"))
    np.testing.assert_allclose(x.ravel(), values / 4095, atol=1 / 255 + 1e-6)


@pytest.mark.parametrize("bits", [8, 16, 32])
def test_signed_pixels_are_refused(tmp_path, bits):
    pixels = (np.arange(64).reshape(8, 8) - 32).astype(f"<i{bits // 8}")
    with pytest.raises(DataError, match=r"(signed pixels|pixels of 32 bits), whose white is not known: save it with"):
        load(folder(tmp_path, tiff(pixels, bits, signed=True), "tif"))


def test_pictures_of_16_bits_that_are_almost_black_are_noted_once(tmp_path, capsys):
    assert first(folder(tmp_path, Image.fromarray(RAMP // 16))).max() < 0.07
    err = capsys.readouterr().err
    assert err.count("no value above 4095: it is almost black; scale such pictures before") == 1


def test_greys_of_16_bits_with_transparency_are_grey(tmp_path):
    """A PNG of colour type 4, written by hand from its specification; Pillow cannot write one."""
    rows = np.full((8, 8, 2), 0xFFFF, ">u2")
    rows[..., 0] = 0x5A5A
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    chunks = {b"IHDR": struct.pack(">IIBBBBB", 8, 8, 16, 4, 0, 0, 0), b"IDAT": data, b"IEND": b""}
    parts = [struct.pack(">I", len(c)) + n + c + struct.pack(">I", zlib.crc32(n + c)) for n, c in chunks.items()]
    x = first(folder(tmp_path, b"\x89PNG\r\n\x1a\n" + b"".join(parts)))
    assert x.shape == (8, 8, 1)
    assert (np.rint(x * 255) == 0x5A).all()


def palette_image(colours):
    """Pixels of all colours in turn."""
    image = Image.frombytes("P", (8, 8), (np.arange(64, dtype=np.uint8) % len(colours)).tobytes())
    image.putpalette([value for colour in colours for value in colour])
    return image


@pytest.mark.parametrize("suffix", ["png", "gif", "bmp"])
def test_a_palette_of_greys_is_grey_whatever_its_unused_colours(tmp_path, suffix):
    greys = [(0, 0, 0), (200, 200, 200), (90, 90, 90)]
    x = first(folder(tmp_path / "grey", palette_image(greys), suffix))
    assert x.shape == (8, 8, 1)
    assert (np.rint(x.ravel()[:3] * 255) == (0, 200, 90)).all()
    assert first(folder(tmp_path / "red", palette_image([*greys, (200, 0, 0)]), suffix)).shape == (8, 8, 3)
    unused = palette_image(greys)
    unused.putpalette([*(value for colour in greys for value in colour), 255, 0, 0])
    assert first(folder(tmp_path / "unused", unused, suffix)).shape == (8, 8, 1)


def test_a_transparent_colour_of_a_grey_palette_is_white(tmp_path):
    image = palette_image([(0, 255, 0), (10, 10, 10)])
    x = first(folder(tmp_path, image, transparency=0))
    assert x.shape == (8, 8, 1)
    assert (np.rint(x.ravel()[:2] * 255) == (255, 10)).all()


@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "apng", "tiff"])
def test_further_frames_and_pages_are_counted_in_one_notice(tmp_path, suffix, capsys):
    still, later = (Image.new("RGB", (8, 8), colour) for colour in ((0, 0, 255), (255, 0, 0)))
    format_ = {"apng": "PNG"}.get(suffix, suffix.upper())
    for i in range(6):
        frames = {"save_all": True, "append_images": [later]} if i < 2 else {}
        still.save(tmp_path / f"{i}.{suffix}", format=format_, **frames)
    assert (np.rint(load(tmp_path).train.batch(slice(None)).x[..., 2]) == 1).all()
    err = capsys.readouterr().err
    assert err.count("several frames or pages") == 1
    assert f"2 of 6 images, such as {err.partition('such as ')[2][0]}.{suffix}, hold several frames" in err


def test_files_and_folders_that_are_not_read_are_counted_in_one_notice(tmp_path, capsys):
    for name in ("cat", "dog"):
        folder(tmp_path / name, Image.new("L", (4, 4)))
    (tmp_path / "cat" / "more").mkdir()
    for file in ("cat/a.heic", "cat/more/b.HEIC", "labels.csv", "dog/README", "Thumbs.db", ".DS_Store"):
        (tmp_path / file).write_text("")
    (tmp_path / "owl").mkdir()
    (tmp_path / "lost").symlink_to(tmp_path / "nowhere")
    (tmp_path / "@eaDir").mkdir()
    load(tmp_path)
    expected = "5 other files are not read (1 .csv, 2 .heic, 1 broken links, 1 without a suffix)"
    assert f"{expected}; no images are in the folders owl" in capsys.readouterr().err


@pytest.mark.parametrize("suffix", ["jfif", "JPE", "tif", "Jpeg", "dib"])
def test_rarer_suffixes_are_read(tmp_path, suffix):
    format_ = {"tif": "TIFF", "dib": "DIB"}.get(suffix, "JPEG")
    assert first(folder(tmp_path, Image.new("L", (4, 4), 255), suffix, format=format_)).min() > 0.9


def test_pictures_of_many_pixels_are_read_and_too_large_ones_are_named(tmp_path, monkeypatch):
    """Pillow refuses more than twice its limit, which is lowered here."""
    folder(tmp_path, Image.new("1", (100, 95), 1))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 9000)
    assert first(tmp_path, size=10).min() == 1
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4000)
    with pytest.raises(DataError, match=r"\d\.png is too large \(9500 pixels\): make it smaller, or remove it, or"):
        load(tmp_path)
    with pytest.raises(DataError, match="none of the images"):
        load(tmp_path, skip_broken=True)
