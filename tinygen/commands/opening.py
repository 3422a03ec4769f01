"""Opening a run for a command: the model with what it has learned, and examples for it."""

import shlex
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tinygen import capabilities, registry
from tinygen.data import Dataset
from tinygen.errors import DataError, RunError, UsageError
from tinygen.train import Run
from tinygen.train.images import is_intensities
from tinygen.train.loading import class_of, data_of, load_state, model_of


class Opened(NamedTuple):
    """A run, its model, and what else was saved with the state that the model has."""

    run: Run
    model: Any
    state: dict[str, Any]


def open_run(folder: str, device: str, which: str, capability: type | None = None) -> Opened:
    """A run with its last or its best state, which is said to be unfinished where training has not ended.

    UsageError where the model does not have the capability that a command needs.
    """
    run = Run.open(folder)
    if capability is not None:
        refuse_incapable(class_of(run), capability)
    go_on = f"tinygen resume {shlex.quote(str(run.folder))}"
    if not run.checkpoint_file.exists():
        raise RunError(f"{run.folder} has no checkpoint: make one with {go_on}")
    model = model_of(run, device)
    state = load_state(run, model, which)
    if run.summary() is None:
        best = ", the best so far" if which == "best" else ""
        told = f"{run.folder} is unfinished, at step {state['step']}{best}; go on with: {go_on}"
        print(f"tinygen: {told}", file=sys.stderr)
    return Opened(run, model, state)


def refuse_incapable(system: type[Any], capability: type) -> None:
    """UsageError where a system does not have a capability, naming those that have."""
    if not issubclass(system, capability):
        able = [name for name in registry.names() if issubclass(registry.get(name), capability)]
        who = f"models that can: {', '.join(able)}" if able else "no model of the package can"
        raise UsageError(f"{system.name} cannot {capabilities.VERBS[capability]}; {who}")


def examples(opened: Opened, images: str | None, n: int | None, place: str | None) -> tuple[list[str], np.ndarray]:
    """Names and examples x (n, ...): the pictures in a folder, or the first ones of test, whose data may have moved."""
    if images is not None:
        if not is_intensities(opened.model.spec.x):
            raise UsageError(f"--images: the run is of {opened.model.spec.x.in_words()}; leave it out")
        names, x = read_images(Path(images), opened.model.spec.x)
        return names[:n], x[:n]
    x = data_of(opened.run, place).test.take(n or 8).batch(slice(None)).x
    return [f"test image {i}" for i in range(len(x))], x


def read_images(folder: Path, field: Any) -> tuple[list[str], np.ndarray]:
    """Names and pictures of a folder as a model takes them: (N, H, W, C) in [0, 1], or 0 and 1.

    A picture of another size is resized, antialiased, and its longer sides cropped. DataError, naming the file, where
    one cannot be read.
    """
    from PIL import Image, ImageOps

    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder of pictures")
    known = Image.registered_extensions()
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in known and not file.name.startswith("."))
    if not files:
        raise DataError(f"{folder} holds no pictures; give a folder of .png or .jpg files")
    height, width, channels = field.shape
    pictures = []
    for file in files:
        try:
            with Image.open(file) as opened:
                picture = ImageOps.exif_transpose(opened).convert("L" if channels == 1 else "RGB")
        except Exception as error:  # decoders raise whatever they meet in a damaged file
            raise DataError(f"{file} is not an image that can be read; remove it") from error
        fitted = ImageOps.fit(picture, (width, height), Image.Resampling.LANCZOS)
        pictures.append(np.asarray(fitted, np.float32).reshape(field.shape) / 255)
    x = np.stack(pictures)
    return [file.name for file in files], (x >= 0.5).astype(np.float32) if field.kind == "binary" else x


def data_for(opened: Opened, place: str | None) -> Dataset:
    """The data at a place, or those of the run; DataError where the model was made for others."""
    from tinygen import data, models

    if place is None:
        return data_of(opened.run)
    dataset = models.check_data(type(opened.model), data.load(place))
    made_for, found = opened.model.spec.x, dataset.spec.x
    if not made_for.accepts(found):
        raise DataError(f"the model was made for {made_for.in_words()}, and {place} has {found.in_words()}")
    return dataset
