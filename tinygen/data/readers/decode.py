"""Decoding picture files with Pillow."""

import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

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
            raise BrokenFile(f"{file} is not an image that can be read; {self.remedy}") from error
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
        with Image.open(os.path.join(self.folder, file)) as image:
            if Image.MAX_IMAGE_PIXELS and image.width * image.height > Image.MAX_IMAGE_PIXELS:
                raise BrokenFile(f"{file} has more than {Image.MAX_IMAGE_PIXELS} pixels; {self.remedy}")
            ImageOps.exif_transpose(image, in_place=True)
            image.load()
            image = self._to_8_bits(file, image, image.format)
        grey = image.mode in GREY_MODES
        if image.mode.endswith("A") or "transparency" in image.info:
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
        image = image.convert("L" if grey or self.convert else "RGB")
        if self.size:
            image = ImageOps.fit(image, self.size, Image.Resampling.LANCZOS)
        return np.asarray(image).reshape(image.height, image.width, -1)

    def _to_8_bits(self, file: str, image: Any, format_: str | None) -> Any:
        """Scale 16-bit intensities to 8 bits; BrokenFile for pixels of 32 bits, whose white is not known."""
        from PIL import Image

        if image.mode.startswith("I;16") or (image.mode == "I" and format_ in ("PNG", "PPM")):
            return Image.fromarray((np.asarray(image).astype(np.int64) >> 8).astype(np.uint8))
        if image.mode in ("I", "F"):
            raise BrokenFile(
                f"{file} has pixels of 32 bits, whose white is not known: save it with 8 or 16, or {self.remedy}"
            )
        return image


def ignore_warnings_of_pillow() -> None:
    """Ignore Pillow's warnings from now on: they are harmless, or about damage that raises an error here.

    `warnings.catch_warnings` would restore them afterwards, but is not safe while threads decode.
    """
    warnings.filterwarnings("ignore", module="PIL")


def header(path: Path) -> tuple[bool, Size]:
    """Whether the picture is grey, and its width and height before rotation by EXIF; the pixels are not decoded."""
    from PIL import Image

    with Image.open(path) as image:
        return image.mode in GREY_MODES, image.size
