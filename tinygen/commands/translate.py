"""`tinygen translate RUN`."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from tinygen.applications import results
from tinygen.capabilities import Translates
from tinygen.commands.flags import (
    Debug,
    Device,
    File,
    Images,
    OptionalInt,
    PictureSize,
    RunFolder,
    Which,
    at_least_one,
    default,
)
from tinygen.commands.opening import Opened, open_run, read_pictures, refuse_images
from tinygen.data.fields import Field, SegmentMap
from tinygen.data.readers.request import parse_size
from tinygen.errors import RunError, UsageError
from tinygen.metrics.catalogue import describe
from tinygen.train import images
from tinygen.train.description import refuse_unfit_data
from tinygen.train.loading import load_data
from tinygen.train.panels import above_one_another

SHOWN = 10
"""Columns of the sheet."""


@dataclass(frozen=True)
class Flags:
    """Let the model of a run translate images into another domain, such as photos into segment maps."""

    run: RunFolder
    images: Images = None
    size: Annotated[PictureSize, default("their own where the model takes any, else that of the run's images")] = None
    """Width and height to which pictures are resized and cropped, such as 64 or 640x480."""
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


def run(flags: Flags) -> None:
    at_least_one(n=flags.n)
    if flags.images and flags.data:
        raise UsageError("--images and --data both say what is translated; give one of them")
    opened = open_run(flags.run, flags.device, flags.which, Translates)
    out = Path(flags.out or opened.run.folder / f"translated-{flags.seed}").resolve()
    if flags.images:
        names, rows = pictures(opened, flags, out)
        metrics: dict[str, float] = {}
    else:
        names, rows, metrics = test_images(opened, flags)
    files = file_names(names)
    save(rows[1], target_of(opened.model), out, files)
    pairs = [{"input": name, "translation": file} for name, file in zip(names, files, strict=True)]
    for name, value in metrics.items():
        print(describe(name).format(value))
    fields = opened.model.spec.x, *(target_of(opened.model) for _ in rows[1:])
    tiles = [tiles_of(row[:SHOWN], field) for row, field in zip(rows, fields, strict=True)]
    sheet = images.sheet(above_one_another(*tiles), len(tiles[0]))
    results.save(sheet, {"images": pairs, "metrics": metrics}, out.with_name(f"{out.name}.png"))
    print(out)


def target_of(model: Any) -> Field:
    """The field of a model's translations."""
    return model.spec.fields.get("target", model.spec.x)


Rows = list[list[np.ndarray]]
"""Inputs, translations and, where they are known, targets: a list of examples each."""


def test_images(opened: Opened, flags: Flags) -> tuple[list[str], Rows, dict[str, float]]:
    """The names of test images, the rows of the sheet, and the metrics of these images."""
    if flags.size:
        raise UsageError("--size is that of pictures in a folder; give one with --images")
    model, data = opened.model, load_data(opened.run, flags.data)
    refuse_unfit_data(model, data)
    split = data.test.take(flags.n or 8)
    pairs = model.pairs(split.batch(slice(None)), seed=flags.seed)
    rows = [pairs.x, model.translate(pairs.x, seed=flags.seed), *([pairs.target] if "target" in pairs else [])]
    metrics = model.evaluate(split, seed=flags.seed) if "target" in pairs else {}
    return [f"test-image-{i}" for i in range(len(pairs))], [list(row) for row in rows], metrics


def pictures(opened: Opened, flags: Flags, out: Path) -> tuple[list[str], Rows]:
    """The names of pictures, and these above their translations; each is translated alone, at its own size."""
    model, folder = opened.model, Path(str(flags.images))
    refuse_images(opened)
    if out == (folder.parent if folder.is_file() else folder).resolve():
        raise UsageError(f"--out {flags.out}: translations would replace the pictures; give another folder")
    size = parse_size(flags.size)
    if not model.translates_any_size:
        height, width, _ = model.spec.x.shape
        if size not in (None, (width, height)):
            raise UsageError(f"--size: {model.name} translates images of {width}x{height} alone; leave it out")
        size = width, height
    names, x = read_pictures(folder, model.spec.x, size, flags.n)
    return names, [x, [model.translate(each[None], seed=flags.seed)[0] for each in x]]


def file_names(names: list[str]) -> list[str]:
    """The file names of translations: those of the pictures, with .png as suffix.

    Pictures whose names differ in the suffix alone keep it before .png.
    """
    stems = [Path(name).stem for name in names]
    counts = Counter(stems)
    return [f"{name if counts[stem] > 1 else stem}.png" for name, stem in zip(names, stems, strict=True)]


def save(translations: list[np.ndarray], field: Field, out: Path, files: list[str]) -> None:
    """Write each translation; RunError if it cannot be done."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"cannot write into {out}: {(error.strerror or str(error)).lower()}") from error
    for translation, file in zip(translations, files, strict=True):
        images.save(as_picture(translation, field), out / file)


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
