"""`tinygen translate RUN`."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from tinygen.applications import results, tiles
from tinygen.capabilities import Translates, TranslatesBack
from tinygen.commands.flags import (
    Debug,
    Device,
    File,
    OptionalInt,
    PictureSize,
    RunFolder,
    Switch,
    Which,
    at_least_one,
    default,
)
from tinygen.commands.opening import Opened, decoder, open_run, picture, picture_files
from tinygen.data.fields import Field, SegmentMap
from tinygen.data.readers.decode import header
from tinygen.data.readers.request import Size, parse_size
from tinygen.errors import DataError, RunError, UsageError
from tinygen.metrics.catalogue import describe
from tinygen.train import images
from tinygen.train.description import refuse_unfit_data
from tinygen.train.loading import load_data
from tinygen.train.panels import above_one_another

SHOWN = 10
"""Columns of the sheet."""
LARGEST_SHOWN = 256
"""Longest side of a picture in the sheet; of larger ones every n-th pixel is shown."""
TILE, LEAST_TILE = 512, 64
MOST_PIXELS = 128 << 20
"""Most pixels of a picture, which take two gigabytes of memory."""


class NotAllTranslated(DataError):
    """Some pictures of a folder could not be translated, but others were."""

    exit_code = 1


@dataclass(frozen=True)
class Flags:
    """Let the model of a run translate images into another domain, such as photos into segment maps."""

    run: RunFolder
    images: Annotated[
        str | None,
        tyro.conf.arg(
            metavar="FOLDER",
            help="Pictures to translate, each at its own size where the model takes any.",
            help_behavior_hint="(default: test images of the run's data)",
        ),
    ] = None
    reverse: Switch = False
    """Translate the other way, for models that can: examples of the target into the domain of x."""
    size: Annotated[PictureSize, default("their own where the model takes any, else that of the run's images")] = None
    """Width and height to which pictures are resized and cropped, such as 64 or 640x480."""
    tile: int = TILE
    """Side of the overlapping tiles by which larger pictures are translated, for less memory."""
    n: Annotated[OptionalInt, default("8, or all of a folder")] = None
    """How many images."""
    seed: int = 0
    """Seed of the translations, and of inputs computed from test images, such as noisy ones."""
    out: Annotated[File, default("translated-<seed> in the run's folder")] = None
    """Folder of the translations, which keep the names of the pictures. Beside it lie a sheet of inputs, translations
    and, for test images, targets (.png), and its legend (.json), with metrics if targets are known."""
    which: Which = "last"
    data: Annotated[File, default("the data of the run")] = None
    """Data whose test images are translated."""
    device: Device = "auto"
    debug: Debug = False


@dataclass(frozen=True)
class Direction:
    """A way in which a model translates: examples of one field into such of another."""

    given: Field
    wanted: Field
    translate: Callable[..., np.ndarray]


Rows = list[list[np.ndarray]]
"""Inputs, translations and, where they are known, targets: a list of examples each."""


def run(flags: Flags) -> None:
    at_least_one(n=flags.n)
    if flags.tile < LEAST_TILE:
        raise UsageError(f"--tile is {flags.tile}; it must be at least {LEAST_TILE}")
    if flags.images and flags.data:
        raise UsageError("--images and --data both say what is translated; give one of them")
    opened = open_run(flags.run, flags.device, flags.which, TranslatesBack if flags.reverse else Translates)
    out = Path(flags.out or opened.run.folder / f"translated-{flags.seed}").resolve()
    direction = direction_of(opened.model, flags.reverse)
    left_out: list[str] = []
    metrics: dict[str, float] = {}
    if flags.images:
        pairs, rows, left_out = pictures(opened, direction, flags, out)
    else:
        pairs, rows, metrics = test_images(opened, direction, flags, out)
    for name, value in metrics.items():
        print(describe(name).format(value))
    fields = direction.given, *(direction.wanted for _ in rows[1:])
    drawn = [tiles_of(row[:SHOWN], field) for row, field in zip(rows, fields, strict=True)]
    sheet = images.sheet(above_one_another(*drawn), len(drawn[0]))
    results.save(sheet, {"images": pairs, "metrics": metrics}, out.with_name(f"{out.name}.png"))
    print(out)
    if left_out:
        count = f"{len(left_out)} of {len(left_out) + len(pairs)} pictures"
        raise NotAllTranslated(f"{count} were left out: {'; '.join(left_out)}")


def direction_of(model: Any, reverse: bool) -> Direction:
    """The direction of a model; that of a model without a target goes from images to images."""
    x, target = model.spec.x, model.spec.fields.get("target", model.spec.x)
    return Direction(target, x, model.translate_back) if reverse else Direction(x, target, model.translate)


def test_images(
    opened: Opened, direction: Direction, flags: Flags, out: Path
) -> tuple[list[dict[str, str]], Rows, dict[str, float]]:
    """Translate test images: their names and files, the rows of the sheet, and the metrics of these images."""
    if flags.size:
        raise UsageError("--size is that of pictures in a folder; give one with --images")
    model, data = opened.model, load_data(opened.run, flags.data)
    refuse_unfit_data(model, data)
    split = data.test.take(flags.n or 8)
    pairs = model.pairs(split.batch(slice(None)), seed=flags.seed)
    given, true = (pairs.target, pairs.x) if flags.reverse else (pairs.x, pairs.get("target"))
    rows = [given, direction.translate(given, seed=flags.seed), *([] if true is None else [true])]
    metrics = {} if true is None else model.evaluate(split, seed=flags.seed)
    names = [f"test-image-{i}" for i in range(len(pairs))]
    make_folder(out)
    for name, translation in zip(names, rows[1], strict=True):
        images.save(as_picture(translation, direction.wanted), out / f"{name}.png")
    listed = [{"input": name, "translation": f"{name}.png"} for name in names]
    return listed, [list(row) for row in rows], metrics


def pictures(
    opened: Opened, direction: Direction, flags: Flags, out: Path
) -> tuple[list[dict[str, str]], Rows, list[str]]:
    """Translate pictures one by one: their names and files, the first ones for the sheet, and why others are left out.

    DataError if none can be translated.
    """
    place = Path(str(flags.images))
    refuse_other_inputs(direction)
    if out == (place.parent if place.is_file() else place).resolve():
        raise UsageError(f"--out {flags.out}: translations would replace the pictures; give another folder")
    folder, names = picture_files(place, flags.n)
    decode = decoder(folder, size_of_pictures(opened.model, direction, flags), direction.given)
    make_folder(out)
    listed: list[dict[str, str]] = []
    rows: Rows = [[], []]
    left_out: list[str] = []
    for name, file in zip(names, file_names(names), strict=True):
        try:
            x = picture(decode, direction.given, small_enough(folder, name, resized=decode.size is not None))
        except DataError as error:
            left_out.append(str(error))
            continue
        y = tiles.translated(lambda x: direction.translate(x, seed=flags.seed), x, flags.tile)
        images.save(as_picture(y, direction.wanted), out / file)
        listed.append({"input": name, "translation": file})
        if len(listed) <= SHOWN:
            step = -(-max(x.shape[:2]) // LARGEST_SHOWN)
            rows[0].append(x[::step, ::step])
            rows[1].append(y[::step, ::step])
    if not listed:
        raise DataError(f"{folder}: {left_out[0]}")
    return listed, rows, left_out


def refuse_other_inputs(direction: Direction) -> None:
    """UsageError if what is translated is not in picture files."""
    if not (images.is_intensities(direction.given) or isinstance(direction.given, SegmentMap)):
        raise UsageError(f"--images: the run is of {direction.given.in_words()}; leave it out")


def size_of_pictures(model: Any, direction: Direction, flags: Flags) -> Size | None:
    """The width and height to which pictures are resized; None: each keeps its own."""
    size = parse_size(flags.size)
    if model.translates_any_size:
        return size
    height, width = direction.given.shape[:2]
    if size not in (None, (width, height)):
        raise UsageError(f"--size: {model.name} translates images of {width}x{height} alone; leave it out")
    return width, height


def small_enough(folder: Path, name: str, *, resized: bool) -> str:
    """The name itself; DataError for a picture that takes too much memory in its own size."""
    try:
        width, height = header(folder / name).size
    except Exception:  # whatever is wrong is said where it is decoded
        return name
    if width * height > MOST_PIXELS and not resized:
        raise DataError(f"{name} has {width}x{height} pixels; have it made smaller with --size, such as 1024x768")
    return name


def file_names(names: list[str]) -> list[str]:
    """The file names of translations: those of the pictures, with .png as suffix.

    Pictures whose names differ in the suffix alone keep it before .png.
    """
    stems = [Path(name).stem for name in names]
    counts = Counter(stems)
    return [f"{name if counts[stem] > 1 else stem}.png" for name, stem in zip(names, stems, strict=True)]


def make_folder(out: Path) -> None:
    """Make the folder of the translations; RunError if it cannot be done."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"cannot write into {out}: {(error.strerror or str(error)).lower()}") from error


def as_picture(translation: np.ndarray, field: Field) -> Any:
    """A translation as a Pillow image; the pixels of a segment map are its classes, with a palette of their colours."""
    from PIL import Image

    if not isinstance(field, SegmentMap) or (field.classes or 0) > 256:
        return images.sheet(images.tiles(translation[None], field), scale=1)
    picture = Image.fromarray(translation.astype(np.uint8))
    picture.putpalette(field.draw(np.arange(field.classes or 0)).tobytes())
    return picture


def tiles_of(examples: list[np.ndarray], field: Field) -> np.ndarray:
    """Examples (N, H, W, C) in [0, 1] for the sheet, with black below and beside smaller ones."""
    height, width = (max(each.shape[axis] for each in examples) for axis in (0, 1))
    drawn = [images.tiles(each[None], field)[0] for each in examples]
    padding = [((0, height - each.shape[0]), (0, width - each.shape[1]), (0, 0)) for each in drawn]
    return np.stack([np.pad(each, pad) for each, pad in zip(drawn, padding, strict=True)])
