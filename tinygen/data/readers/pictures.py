"""Reading a folder of images with Pillow."""

import sys
import warnings
from pathlib import Path

import numpy as np

from tinygen.data.dataset import Dataset
from tinygen.data.naming import naming
from tinygen.errors import DataError
from tinygen.random import Stream

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
GREY_MODES = ("1", "L", "LA", "I;16")


takes = ("fields", "size")


def recognises(path: Path) -> bool:
    return path.is_dir()


def read(path: Path, request) -> Dataset:
    return read_folder(path, skip_broken=request.skip_broken)


def read_folder(folder: Path, *, skip_broken: bool = False) -> Dataset:
    """The images in a folder; where they lie in its sub-folders instead, each of these is a class.

    Grey where every file is, else rgb; transparent pixels show white; files of other kinds are left alone.
    The order is a fixed shuffle, so that each split meets each class. Raises DataError for a folder without
    images, for sizes that differ, and for a file that cannot be read; ``skip_broken`` counts these on
    stderr instead.
    """
    with naming(folder):
        files, class_names = _find(folder)
        files = [files[i] for i in Stream(0, "folder").permutation(len(files))]
        images = _read_all(folder, files, skip_broken)
        _refuse_mixed_sizes(images)
        labels = [class_names.index(file.parent.name) for file in images] if class_names else None
        return Dataset.from_arrays(folder.name, _stack(images), labels, class_names=class_names or None)


def _find(folder: Path) -> tuple[list[Path], list[str]]:
    """Image files relative to the folder, and the names of the classes where sub-folders hold them."""
    try:
        here = _image_files(folder)
        by_class = {each.name: _image_files(each) for each in sorted(folder.iterdir()) if each.is_dir()}
    except OSError as error:
        raise DataError(f"the folder cannot be read ({error.strerror})") from error
    classes = [name for name, files in by_class.items() if files]
    if here and classes:
        raise DataError(f"there are images both in it ({here[0]}) and in its folder {classes[0]}; move one of them")
    if not here and not classes:
        raise DataError(f"there are no images in the folder; they end in {', '.join(SUFFIXES)}")
    return [*map(Path, here), *(Path(name, file) for name in classes for file in by_class[name])], classes


def _image_files(folder: Path) -> list[str]:
    visible = (each for each in folder.iterdir() if not each.name.startswith("."))
    return sorted(each.name for each in visible if each.suffix.lower() in SUFFIXES and each.is_file())


def _read_all(folder: Path, files: list[Path], skip_broken: bool) -> dict[Path, np.ndarray]:
    images = {}
    for file in files:
        try:
            images[file] = _read(folder / file)
        except Exception as error:  # decoders raise whatever they meet in a damaged file
            if not skip_broken:
                remedy = "remove it, or go on without such files with --skip-broken"
                raise DataError(f"{file} is not an image that can be read; {remedy}") from error
    if not images:
        raise DataError("none of the images in the folder can be read; put whole ones there")
    if broken := len(files) - len(images):
        print(f"tinygen: {folder}: skipped {broken} broken of {len(files)} images", file=sys.stderr)
    return images


def _read(path: Path) -> np.ndarray:
    """uint8 of shape (H, W, 1) or (H, W, 3)."""
    from PIL import Image, ImageOps

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(path) as file:
            image: Image.Image = ImageOps.exif_transpose(file)
    grey = image.mode in GREY_MODES
    if image.mode == "I;16":
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode.endswith("A") or "transparency" in image.info:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    pixels = np.asarray(image.convert("L" if grey else "RGB"))
    return pixels.reshape(image.height, image.width, -1)


def _refuse_mixed_sizes(images: dict[Path, np.ndarray]) -> None:
    first, *rest = images
    for path in rest:
        if images[path].shape[:2] != images[first].shape[:2]:
            sizes = (f"{p} is {images[p].shape[1]}x{images[p].shape[0]}" for p in sorted((first, path)))
            raise DataError(f"sizes differ: {' but '.join(sizes)} pixels; bring all images to one size")


def _stack(images: dict[Path, np.ndarray]) -> np.ndarray:
    channels = max(image.shape[2] for image in images.values())
    return np.stack([np.broadcast_to(image, (*image.shape[:2], channels)) for image in images.values()])
