"""Pictures of examples: sheets of image tiles, which move if the examples are clips, and clouds of points."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygen.backend import to_numpy
from tinygen.data import Field, Points
from tinygen.data.fields import INTENSITIES
from tinygen.errors import RunError, UsageError

if TYPE_CHECKING:
    from PIL.Image import Image

TILE = 56
"""Small images are enlarged, by a whole number, to about this many pixels."""

SIDE = 224
"""Bins along each side of a cloud of points, in which they are counted."""

GROUND = 0.3
"""Intensity of the gaps between clips, whose own ground is often black."""

MILLISECONDS, STILL = 200, 1000
"""How long a frame of an animation is shown, and the last one."""

ANIMATED = (".png", ".apng", ".gif", ".webp")
"""Suffixes of files that can hold animations."""


def can_show(field: Field) -> bool:
    """Whether `picture` can draw examples; those of other fields are texts."""
    return field.is_picture or isinstance(field, Points)


def is_intensities(field: Field) -> bool:
    """Whether the field is of images in [0, 1]."""
    return any(each.accepts(field) for each in INTENSITIES)


def arrangement(model: Any) -> tuple[int, int | None]:
    """The number of samples to show, and their columns: one for each class of a conditional model of few classes."""
    shown, classes = model.spec.x.samples_shown, model.spec.classes
    if model.spec.x.has_class_columns and "y" in model.conditions and classes**2 <= 4 * shown:
        return shown // classes * classes, classes
    return shown, None


def picture(samples: np.ndarray, field: Field, columns: int | None = None) -> "Image":
    """A sheet of examples as the field draws them, or a cloud of points (N, D)."""
    if isinstance(field, Points):
        return cloud(samples, field.limits)
    return sheet(tiles(samples, field), columns)


def tiles(values: np.ndarray, field: Field) -> np.ndarray:
    """Examples of a field of pictures as the field draws them, (N, H, W, C) in [0, 1]."""
    if is_intensities(field):
        return values
    return np.stack([field.draw(value) for value in values]) / np.float32(255)


def filters(weight: Any, shape: tuple[int, ...], n: int) -> np.ndarray:
    """Weights (D, K) of the first n of K units that see images of this shape, as tiles (n, H, W, C) in [0, 1].

    One half is a weight of zero; the largest weight of a unit, by magnitude, is 0 or 1.
    """
    shown = to_numpy(weight).T[:n]
    scale = np.maximum(np.abs(shown).max(axis=1, keepdims=True), 1e-30)
    return (0.5 + 0.5 * shown / scale).reshape(-1, *shape)


def cloud(points: np.ndarray, limits: tuple[float, float] | None = None) -> "Image":
    """Points (N, D), brighter where they are dense: by their first two coordinates, or a histogram of their only one.

    Both axes show the range `limits`, by default that of the points, and a little more.
    """
    low, high = limits or (float(points.min()), float(points.max()))
    margin = 0.05 * (high - low)
    shown = low - margin, high + margin
    if points.shape[1] == 1:
        counts = np.histogram(points[:, 0], SIDE // 4, shown)[0].repeat(4)
        shades = (counts / max(counts.max(), 1) >= np.linspace(1, 0, SIDE, endpoint=False)[:, None]).astype(np.float32)
    else:
        counts, _, _ = np.histogram2d(points[:, 0], points[:, 1], SIDE, (shown, shown))
        shades = 1 - 0.4 ** counts.T[::-1]
    return sheet(shades[None, :, :, None], scale=2)


def sheet(
    images: np.ndarray, columns: int | None = None, *, gap: int = 1, scale: int | None = None, ground: float = 0.0
) -> "Image":
    """Images (N, H, W, C), float in [0, 1] with one channel or three, as tiles in rows of `columns`.

    By default as square as N allows, and enlarged to about `TILE` pixels a tile. `ground` is the intensity of gaps.
    """
    from PIL import Image

    n, height, width, channels = images.shape
    columns = min(columns or int(np.ceil(np.sqrt(n))), n)
    rows = -(-n // columns)
    scale = scale or max(1, round(TILE / max(height, width)))
    tiles = np.full((rows * columns, height + gap, width + gap, channels), round(255 * ground), np.uint8)
    tiles[:n, :height, :width] = np.rint(np.clip(np.nan_to_num(images), 0, 1) * 255)
    picture = tiles.reshape(rows, columns, height + gap, width + gap, channels).transpose(0, 2, 1, 3, 4)
    picture = picture.reshape(rows * (height + gap), columns * (width + gap), channels)[: -gap or None, : -gap or None]
    picture = picture.repeat(scale, 0).repeat(scale, 1)
    return Image.fromarray(picture[:, :, 0] if channels == 1 else picture)


def read(path: str | Path) -> np.ndarray:
    """The picture in a file, (H, W, C) in [0, 1] with one channel or three; (T, H, W, C) if it is animated."""
    from PIL import Image, ImageSequence

    with Image.open(path) as picture:
        frames = [pixels(frame) for frame in ImageSequence.Iterator(picture)]
    return np.stack(frames) if frames[1:] else frames[0]


def pixels(picture: "Image") -> np.ndarray:
    """The picture as (H, W, C) in [0, 1], with one channel or three."""
    values = np.asarray(picture, np.float32) / 255
    return values.reshape(*values.shape[:2], -1)


def png(picture: "Image", later: Sequence["Image"] = ()) -> bytes:
    """The picture, or the animation that it begins, as the bytes of a PNG file."""
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True, **_animation(later))
    return file.getvalue()


def save(picture: "Image", path: str | Path, later: Sequence["Image"] = ()) -> None:
    """Write the picture, or the animation that it begins, in the format of the file's suffix.

    UsageError for an unknown format, and for one that has no animations.
    """
    from PIL import Image

    path = Path(path)
    if path.suffix.lower() not in Image.registered_extensions():
        raise UsageError(f"{path}: the end of its name gives the format of a picture, such as .png")
    if later and path.suffix.lower() not in ANIMATED:
        raise UsageError(f"{path}: that format has no animations; use one of {', '.join(ANIMATED)}")
    try:
        picture.save(path, **_animation(later))
    except OSError as error:
        raise RunError(f"cannot write {path}: {(error.strerror or str(error)).lower()}") from error


def _animation(later: Sequence["Image"]) -> dict[str, Any]:
    """The options of Pillow that write an endless animation of a picture and those after it."""
    times = [MILLISECONDS] * len(later) + [STILL]
    return {"save_all": True, "append_images": list(later), "duration": times, "loop": 0} if later else {}
