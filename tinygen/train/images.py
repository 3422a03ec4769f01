"""Pictures of images in data space: sheets of tiles as PNG."""

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tinygen.data import Spec
from tinygen.errors import RunError, UsageError

if TYPE_CHECKING:
    from PIL.Image import Image

TILE = 56
"""Small images are enlarged, by a whole number, to about this many pixels."""


def can_show(spec: Spec) -> bool:
    """Whether examples are images that need no palette."""
    return spec.kind in ("binary", "grey", "rgb")


def sheet(images: np.ndarray, columns: int | None = None, *, gap: int = 1, scale: int | None = None) -> "Image":
    """Images (N, H, W, C), float in [0, 1] with one channel or three, as tiles in rows of `columns`.

    By default as square as N allows, and enlarged to about `TILE` pixels a tile.
    """
    from PIL import Image

    n, height, width, channels = images.shape
    columns = min(columns or int(np.ceil(np.sqrt(n))), n)
    rows = -(-n // columns)
    scale = scale or max(1, round(TILE / max(height, width)))
    tiles = np.zeros((rows * columns, height + gap, width + gap, channels), np.uint8)
    tiles[:n, :height, :width] = np.rint(np.clip(np.nan_to_num(images), 0, 1) * 255)
    picture = tiles.reshape(rows, columns, height + gap, width + gap, channels).transpose(0, 2, 1, 3, 4)
    picture = picture.reshape(rows * (height + gap), columns * (width + gap), channels)[: -gap or None, : -gap or None]
    picture = picture.repeat(scale, 0).repeat(scale, 1)
    return Image.fromarray(picture[:, :, 0] if channels == 1 else picture)


def read(path: str | Path) -> np.ndarray:
    """The picture in a file, (H, W, C) in [0, 1] with one channel or three."""
    from PIL import Image

    with Image.open(path) as picture:
        pixels = np.asarray(picture, np.float32) / 255
    return pixels.reshape(*pixels.shape[:2], -1)


def png(picture: "Image") -> bytes:
    """The picture as the bytes of a PNG file."""
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return file.getvalue()


def save(picture: "Image", path: str | Path) -> None:
    """Write the picture in the format that the name ends in; UsageError where there is none such."""
    from PIL import Image

    path = Path(path)
    if path.suffix.lower() not in Image.registered_extensions():
        raise UsageError(f"{path} does not end like a picture: use a name in .png")
    try:
        picture.save(path)
    except OSError as error:
        raise RunError(f"cannot write {path}: {(error.strerror or str(error)).lower()}") from error
