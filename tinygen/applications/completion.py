"""Completion of images whose missing pixels may lie anywhere: masks, and completions compared with trivial ones."""

from pathlib import Path

import numpy as np

from tinygen.data import Split
from tinygen.data.readers.decode import ignore_warnings_of_pillow
from tinygen.errors import DataError, UsageError
from tinygen.metrics.images import psnr
from tinygen.metrics.neighbours import squared_distances


def read_mask(path: str | Path, height: int, width: int) -> np.ndarray:
    """Which pixels are known by a picture that is white where they are missing, else black: bool (H, W, 1).

    DataError for a file that is no picture, of another size, of more than two values, or all black or all white.
    """
    from PIL import Image, UnidentifiedImageError

    ignore_warnings_of_pillow()
    try:
        with Image.open(path) as picture:
            values = np.asarray(picture.convert("L"))
    except FileNotFoundError:
        raise DataError(f"--mask: there is no file {path}") from None
    except (OSError, ValueError, UnidentifiedImageError):
        raise DataError(f"--mask: {path} is not a picture that can be read") from None
    if values.shape != (height, width):
        size = f"{values.shape[1]}x{values.shape[0]}"
        raise DataError(f"--mask: {path} has {size} pixels, images of the run {width}x{height}: make it as large")
    if odd := sorted(set(np.unique(values).tolist()) - {0, 255}):
        raise DataError(f"--mask: {path} has pixels of value {odd[0]}; make all white (missing) or black (known)")
    if len(np.unique(values)) < 2:
        what = "missing: use sample" if values[0, 0] else "known: make those white that are missing"
        raise DataError(f"--mask: by {path} all pixels are {what}")
    return (values == 0)[..., None]


def upper_rows(rows: int, height: int, width: int) -> np.ndarray:
    """The upper rows are known, bool (H, W, 1); UsageError for more than there are."""
    if not 0 <= rows < height:
        raise UsageError(f"--rows is {rows}: of {height} rows 0 to {height - 1} can be kept")
    return np.broadcast_to((np.arange(height) < rows)[:, None, None], (height, width, 1))


def hole_psnr(x: np.ndarray, drawn: np.ndarray, known: np.ndarray) -> float:
    """The PSNR in dB of missing pixels of images (N, H, W, C), all of them together."""
    return psnr(float(((x - drawn) ** 2)[np.broadcast_to(~known, x.shape)].mean(dtype=np.float64)))


def trivial(x: np.ndarray, known: np.ndarray, train: Split) -> dict[str, np.ndarray]:
    """Completions by the mean training image, and by that whose known pixels are nearest in squared error.

    `known`: bool (H, W, 1), of all images x.
    """
    items = train.values("x")
    where = np.broadcast_to(known, x.shape[1:])
    chunks = squared_distances(x[:, where], items[:, where])
    nearest = np.concatenate([squares.argmin(axis=1) for _, squares in chunks])
    drawn = {"mean training image": items.mean(axis=0), "nearest training image": items[nearest]}
    return {name: np.where(known, x, each) for name, each in drawn.items()}


def compared(x: np.ndarray, drawn: np.ndarray, known: np.ndarray, train: Split) -> dict[str, float]:
    """The PSNR in dB of missing pixels, by a system's completions and by `trivial` ones."""
    each = {"completions": drawn, **trivial(x, known, train)}
    return {name: hole_psnr(x, completed, known) for name, completed in each.items()}
