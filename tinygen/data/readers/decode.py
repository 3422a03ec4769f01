"""Decoding picture files with Pillow."""

import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np

from tinygen.data.notices import say_once
from tinygen.data.readers.request import Size
from tinygen.errors import DataError

GREY_MODES = ("1", "L", "LA", "I;16", "I;16B", "I;16L", "I")


class BrokenFile(DataError):
    """A file that cannot be decoded, which `skip_broken` leaves out."""


@dataclass(frozen=True)
class Decoder:
    """Decodes picture files of a folder to uint8 arrays (H, W, channels)."""

    folder: Path
    size: Size | None = None
    """Width and height to which each is resized, antialiased, and cropped in the centre."""
    channels: int | None = None
    """1 or 3; None: as many as the file has."""
    convert: bool = False
    """Whether pictures in colour are converted to grey rather than refused."""
    expected: tuple[str, Size] | None = None
    """A file, and its width and height, which all others must have."""
    remedy: str = "remove it, or go on without such files with --skip-broken"
    """What to do about a file that cannot be decoded."""

    def __call__(self, file: str) -> np.ndarray:
        """Decode a file. Raises BrokenFile, or DataError if its size or its colours are not those of the others."""
        try:
            pixels = self._decode(file)
        except DataError:
            raise
        except Exception as error:  # decoders raise whatever they meet in a damaged file
            why = f" ({error.strerror.lower()})" if isinstance(error, OSError) and error.strerror else ""
            raise BrokenFile(f"{file} is not an image that can be read{why}; {self.remedy}") from error
        if self.channels == 1 and pixels.shape[2] == 3:
            raise DataError(f"{file} is in colour, but the pictures examined first are grey: use fields x=:rgb")
        height, width = pixels.shape[:2]
        if self.expected and (width, height) != self.expected[1]:
            self.refuse_size(file, (width, height))
        return np.broadcast_to(pixels, (height, width, self.channels or pixels.shape[2]))

    def refuse_size(self, file: str, size: Size) -> NoReturn:
        """Raise the DataError for a file that is not of the expected size."""
        assert self.expected
        sizes = sorted([self.expected, (file, size)])
        words = " but ".join(f"{name} is {w}x{h}" for name, (w, h) in sizes)
        raise DataError(f"sizes differ: {words} pixels; bring all images to one size, such as with --size {size[0]}")

    def _decode(self, file: str) -> np.ndarray:
        from PIL import Image, ImageOps

        image: Image.Image
        try:
            opened = Image.open(os.path.join(self.folder, file))
        except Image.DecompressionBombError as error:
            what = f"{file} is too large ({str(error).partition('(')[2].partition(')')[0]})"
            raise BrokenFile(f"{what}: make it smaller, or {self.remedy}") from error
        with opened as image:
            self._note_frames(file, image)
            grey = is_grey(image)
            ImageOps.exif_transpose(image, in_place=True)
            image.load()
            image = self._to_8_bits(file, image)
        if image.mode.endswith("A") or "transparency" in image.info:
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
        image = image.convert("L" if grey or self.convert else "RGB")
        if self.size:
            image = ImageOps.fit(image, self.size, Image.Resampling.LANCZOS)
        return np.asarray(image).reshape(image.height, image.width, -1)

    def _note_frames(self, file: str, image: Any) -> None:
        if has_frames(image):
            note = f"{self.folder}: {file} holds several frames or pages; of such files only the first is read"
            say_once(note, about=frames_of(self.folder))

    def _to_8_bits(self, file: str, image: Any) -> Any:
        """Bring intensities of 12 or 16 bits to 8; BrokenFile for others, whose black and white are not known."""
        from PIL import Image

        tags = getattr(image, "tag_v2", {})
        signed = SIGNED in np.atleast_1d(tags.get(SAMPLE_FORMAT, 1))
        bits = int(np.atleast_1d(tags.get(BITS_PER_SAMPLE, 16))[0])
        if signed or image.mode == "F" or (image.mode == "I" and image.format not in ("PNG", "PPM")):
            which = "signed pixels" if signed and bits < 32 else "pixels of 32 bits"
            remedy = f"save it with 8 or 16 bits from 0 (black) up to white, or {self.remedy}"
            raise BrokenFile(f"{file} has {which}, whose white is not known: {remedy}")
        if not image.mode.startswith("I"):
            return image
        pixels = np.asarray(image).astype(np.int64)
        if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO:
            pixels = 2**bits - 1 - pixels
        if bits == 16 and pixels.max() < 4096:
            dark = f"{file} has 16 bits of which white is 65535, but no value above {pixels.max()}: it is almost black"
            say_once(f"{self.folder}: {dark}; scale such pictures before", about=f"dark pictures in {self.folder}")
        return Image.fromarray((pixels >> (bits - 8)).astype(np.uint8))


BITS_PER_SAMPLE, PHOTOMETRIC, SAMPLE_FORMAT = 258, 262, 339
WHITE_IS_ZERO, SIGNED = 0, 2
"""Tags of TIFF and their values, by the specification TIFF 6.0."""


def is_grey(image: Any) -> bool:
    """Whether a picture that was not loaded is grey, by its mode, or by the colours that it uses of its palette."""
    if image.mode not in ("P", "PA"):
        stored = [tile[-1] for tile in image.tile]  # Pillow makes colours of 16-bit greys with transparency
        return image.mode in GREY_MODES or any(str(each).startswith("LA") for each in stored)
    red, green, blue, opacity = np.moveaxis(np.asarray(image.convert("RGBA")), -1, 0)
    return bool(((red == green) & (green == blue) | (opacity == 0)).all())


def has_frames(image: Any) -> bool:
    """Whether a file holds further frames or pages; the previews in a camera's MPO do not count."""
    try:
        return image.format != "MPO" and getattr(image, "is_animated", False)
    except Exception:  # a damaged second frame, behind an intact first one
        return True


def frames_of(folder: Path) -> str:
    """What a notice about files with several frames is about."""
    return f"frames in {folder}"


def ignore_warnings_of_pillow() -> None:
    """Ignore Pillow's warnings from now on: they are harmless, or about damage that raises an error here.

    `warnings.catch_warnings` would restore them afterwards, but is not safe while threads decode.
    """
    warnings.filterwarnings("ignore", module="PIL")


class Header(NamedTuple):
    """What is known of a picture without decoding it, unless it has a palette."""

    is_grey: bool
    size: Size
    """Width and height before rotation by EXIF."""
    has_frames: bool


def header(path: Path) -> Header:
    """Read the header of a picture."""
    from PIL import Image

    with Image.open(path) as image:
        frames, size = has_frames(image), image.size
        return Header(is_grey(image), size, frames)
