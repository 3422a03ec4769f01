"""What arrays must be to serve as a data set; every refusal names the array and says what it should be."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tinygen.data.spec import Kind
from tinygen.errors import DataError


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Refusals from inside this context begin with the path."""
    try:
        yield
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def check_images(where: str, images: Any, white: int = 255) -> np.ndarray:
    """The images as uint8 up to 255, or float32 in [0, 1], of shape (N, H, W, C).

    ``white`` is the value of uint8 images that means 1.
    """
    x = np.asarray(images)
    if x.ndim not in (3, 4) or (x.ndim == 4 and x.shape[3] not in (1, 3)) or 0 in x.shape[1:]:
        raise DataError(f"{where} has shape {x.shape}; images are (N, H, W), (N, H, W, 1) or (N, H, W, 3)")
    if len(x) == 0:
        raise DataError(f"{where} holds no images")
    x = x if x.ndim == 4 else x[..., None]
    if x.dtype == bool:
        return x * np.uint8(255)
    if x.dtype == np.uint8:
        return x if white == 255 else _stretched(where, x, white)
    if x.dtype.kind != "f":
        raise DataError(f"{where} has dtype {x.dtype}; images are uint8, bool, or floats in [0, 1]")
    low, high = float(x.min()), float(x.max())
    if not np.isfinite([low, high]).all():
        raise DataError(f"{where} holds NaN or infinite values; images are finite")
    if low < 0 or high > 1:
        raise DataError(f"{where} has values from {low:g} to {high:g}; float images lie in [0, 1]")
    return x.astype(np.float32)


def _stretched(where: str, x: np.ndarray, white: int) -> np.ndarray:
    if x.max() > white:
        raise DataError(f"{where} has values up to {x.max()}; those of train end at {white}")
    return x * np.uint8(255 // white) if 255 % white == 0 else x / np.float32(white)


def check_labels(where: str, labels: Any, images: int) -> np.ndarray:
    """The labels as int64 of shape (N,), one for each image."""
    y = np.asarray(labels)
    if y.ndim != 1 or y.dtype.kind not in "iub":
        raise DataError(f"{where} has shape {y.shape} and dtype {y.dtype}; labels are integers of shape (N,)")
    if len(y) != images:
        raise DataError(f"{where} holds {len(y)} labels for {images} images; there must be one for each")
    y = y.astype(np.int64)
    if y.min() < 0:
        raise DataError(f"{where} holds the label {y.min()}; labels count from 0")
    return y


def kind_of(*images: np.ndarray) -> Kind:
    """rgb or grey by the number of channels, and binary for grey images without a value between 0 and 1."""
    if images[0].shape[3] == 3:
        return "rgb"
    return "binary" if all(((x == 0) | (x == (255 if x.dtype == np.uint8 else 1))).all() for x in images) else "grey"


def check_classes(class_names: Any, *labels: np.ndarray) -> tuple[int, tuple[str, ...] | None]:
    """How many classes there are, as many as names or else as the labels need, and their names."""
    needed = 1 + max(int(y.max()) for y in labels)
    if class_names is None:
        return needed, None
    names = np.asarray(class_names)
    if names.ndim != 1 or names.dtype.kind != "U":
        raise DataError(f"class_names has shape {names.shape} and dtype {names.dtype}; it is a list of strings")
    if needed > len(names):
        raise DataError(f"label {needed - 1} has no name: there are only {len(names)} class_names")
    return len(names), tuple(names.tolist())
