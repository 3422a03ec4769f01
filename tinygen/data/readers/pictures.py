"""Folders of pictures: small ones are kept in memory, large ones are decoded while batches are read."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tinygen.data.column import Column
from tinygen.data.dataset import Dataset, last_tenth
from tinygen.data.fields import Field, Image, Labels
from tinygen.data.naming import naming
from tinygen.data.notices import printable, say_once, silent
from tinygen.data.readers.decode import BrokenFile, Decoder, frames_of, header, ignore_warnings_of_pillow
from tinygen.data.readers.listing import Listing, list_files
from tinygen.data.readers.request import Request
from tinygen.data.readers.stream import Files
from tinygen.errors import DataError, UsageError
from tinygen.random import Stream

takes = ("fields", "size")
SUFFIXES = (
    *(".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm"),
    *(".apng", ".dib", ".ppm", ".tga", ".tif", ".tiff", ".webp"),
)
MOST_IN_MEMORY = 64 * 2**20
"""Most bytes of decoded pictures that are kept in memory."""
EXAMINED_PICTURES = 1000
"""Number of evenly spaced pictures that are examined for the size and colours of a larger folder."""


def recognises(path: Path) -> bool:
    """Whether the path is a folder with any content: this reader is tried last."""
    return path.is_dir()


def read(path: Path, request: Request) -> Dataset:
    """Read the pictures x of a folder and, if they are in class folders (`list_files`), their classes y.

    They are grey if every file is, else rgb; transparent pixels become white. The order is a fixed shuffle; its last
    tenth is valid, and also test if there is none. Up to `MOST_IN_MEMORY` bytes are decoded now; of a larger folder
    only the names are kept (`Files`). Raises DataError for a folder without images, for sizes that differ, and for a
    file that cannot be read.
    """
    with naming(path):
        return make(path, request)


@dataclass(frozen=True)
class ExtraField:
    """Another field of the pictures: a file has the value ``array[row[file]]``; files without a row are left out."""

    name: str
    field: Field
    array: np.ndarray
    row: dict[str, int]
    file: str
    """Name of the file of the values."""


def make(folder: Path, request: Request, extra: ExtraField | None = None) -> Dataset:
    """Make the data set of `read`, with an extra field."""
    ignore_warnings_of_pillow()
    parts, classes = list_files(folder, SUFFIXES, "images", used=[extra.file] if extra else [])
    for part, listing in parts.items():
        order = Stream(0, "folder").permutation(len(listing.files)).tolist()
        parts[part] = listing.rows(i for i in order if not extra or listing.files[i] in extra.row)
    kind = _requested_kind(request)
    decoder, in_memory = _make_decoder(folder, parts, request, kind)
    columns: dict[str, dict[str, Any]] = {}
    for part, listing in parts.items():
        x: np.ndarray | Column
        if in_memory:
            listing, x = _decode_all(listing, decoder, request.skip_broken)
        else:
            x = Files(folder, listing.files, listing.sizes, decoder, request.skip_broken)
        columns[part] = {"x": x} | ({"y": np.array(listing.labels)} if classes else {})
        if extra:
            columns[part][extra.name] = extra.array[[extra.row[file] for file in listing.files]]
    every: dict[str, Field] = {"x": Image(kind=kind) if in_memory else _image(decoder)}
    every |= {"y": Labels(names=tuple(map(printable, classes)))} if classes else {}
    every |= {extra.name: extra.field} if extra else {}
    return Dataset.from_fields(request.name, every, **columns, hold_out=last_tenth)


def _requested_kind(request: Request) -> Any:
    for name, source in request.fields.items():
        if name != "x" or source not in (":grey", ":rgb"):
            raise UsageError(f"fields: a folder of pictures takes x=:grey or x=:rgb, not {name}={source}")
    return request.fields["x"][1:] if request.fields else None


def _make_decoder(folder: Path, parts: dict[str, Listing], request: Request, kind: Any) -> tuple[Decoder, bool]:
    """The decoder that brings all pictures of the folder to one shape, and whether they are few enough for memory."""
    files = [file for part in parts.values() for file in part.files]
    width, height = request.size or (decoder := _expecting_one_size(folder, files, request)).expected[1]  # type: ignore[index]
    decoder = Decoder(folder, request.size) if request.size else decoder
    colours = _colours(decoder, files[:: -(-len(files) // EXAMINED_PICTURES)])
    colours = {"grey": 1, "rgb": 3}.get(kind, colours)
    in_memory = len(files) * width * height * colours <= MOST_IN_MEMORY
    if in_memory and kind is None:
        colours = _colours(decoder, files)
    return replace(decoder, channels=colours, convert=kind == "grey"), in_memory


def _expecting_one_size(folder: Path, files: list[str], request: Request) -> Decoder:
    """A decoder for pictures of the size of the first one that can be read."""
    for file in files:
        try:
            with silent():  # it is decoded again
                first = Decoder(folder)(file)
        except BrokenFile:
            if not request.skip_broken:
                raise
            continue
        return Decoder(folder, expected=(file, (first.shape[1], first.shape[0])))
    raise DataError("none of the images in the folder can be read; put intact ones there")


def _colours(decoder: Decoder, files: list[str]) -> int:
    """The number of colours: 1 if all pictures that can be read are grey, else 3; DataError if sizes differ.

    A notice says how many files hold several frames.
    """
    colours, animated = 1, []
    for file in files:
        try:
            grey, size, has_frames = header(decoder.folder / file)
        except Exception:  # reported when it is decoded
            continue
        colours = colours if grey else 3
        animated += [file] if has_frames else []
        if decoder.expected and sorted(size) != sorted(decoder.expected[1]):  # sorted: EXIF rotation is not applied yet
            decoder.refuse_size(file, size)
    if animated:
        some = f"{len(animated)} of {len(files)} images, such as {animated[0]}, hold several frames or pages"
        say_once(f"{decoder.folder}: {some}, of which only the first is read", about=frames_of(decoder.folder))
    return colours


def _image(decoder: Decoder) -> Image:
    width, height = decoder.size or decoder.expected[1]  # type: ignore[index]
    return Image(height, width, decoder.channels, "grey" if decoder.channels == 1 else "rgb")


def _decode_all(listing: Listing, decoder: Decoder, skip_broken: bool) -> tuple[Listing, np.ndarray]:
    """Decode all files; returns the listing of those that could be read, and their pictures (N, H, W, C)."""
    images, kept = [], []
    for i, file in enumerate(listing.files):
        try:
            images.append(decoder(file))
            kept.append(i)
        except BrokenFile:
            if not skip_broken:
                raise
    if not images:
        raise DataError("none of the images in the folder can be read; put intact ones there")
    if broken := len(listing.files) - len(kept):
        say_once(f"{decoder.folder}: skipped {broken} broken of {len(listing.files)} images")
    return listing.rows(kept), np.stack(images)
