"""Opening a run for a command: its trained model, examples for it, and conditions on its samples."""

import dataclasses
import difflib
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

import numpy as np

from tinygen import capabilities, data, registry
from tinygen.arguments import KINDS
from tinygen.data import Attributes, Dataset, Field, Labels, SegmentMap, Tokens
from tinygen.data.fields.pictures import unit_range
from tinygen.data.naming import naming
from tinygen.data.needs import met_by_binarising
from tinygen.data.readers import waves
from tinygen.data.readers.decode import Decoder, ignore_warnings_of_pillow
from tinygen.data.readers.listing import Unread, is_visible
from tinygen.data.readers.pictures import SUFFIXES
from tinygen.data.readers.request import Size
from tinygen.errors import DataError, RunError, UsageError
from tinygen.train import Run
from tinygen.train.description import refuse_unfit_data
from tinygen.train.images import is_intensities
from tinygen.train.loading import class_of, data_of, load_state, model_of


class Opened(NamedTuple):
    """A run, its model in a saved state, and the metadata in the file of that state."""

    run: Run
    model: Any
    state: dict[str, Any]


def open_run(folder: str, device: str, which: str, *capabilities: type) -> Opened:
    """Open a run and load the last or the best state of its model; print a notice if training has not ended.

    UsageError if the model has none of these capabilities.
    """
    run = Run.open(folder)
    if capabilities:
        refuse_incapable(class_of(run), *capabilities)
    go_on = f"tinygen resume {shlex.quote(str(run.folder))}"
    if not run.checkpoint_file.exists():
        raise RunError(f"{run.folder} has no checkpoint: make one with {go_on}")
    model = model_of(run, device)
    state = load_state(run, model, which)
    if run.summary() is None:
        best = ", the best so far" if which == "best" else ""
        notice = f"{run.folder} is unfinished, at step {state['step']}{best}; go on with: {go_on}"
        print(f"tinygen: {notice}", file=sys.stderr)
    return Opened(run, model, state)


def open_run_of_pictures(folder: str, device: str, which: str, *capabilities: type) -> Opened:
    """As `open_run`; UsageError if the run is not of images with intensities."""
    opened = open_run(folder, device, which, *capabilities)
    if not is_intensities(opened.model.spec.x):
        raise UsageError(f"{folder}: the run is of {opened.model.spec.x.in_words()}; this command compares images")
    return opened


def refuse_incapable(system: type[Any], *needed: type) -> None:
    """UsageError if a system has none of these capabilities, naming those that have one."""
    if not issubclass(system, needed):
        able = [name for name in registry.names() if issubclass(registry.get(name), needed)]
        who = f"models that can: {', '.join(able)}" if able else "no model of the package can"
        raise UsageError(f"{system.name} cannot {' or '.join(capabilities.VERBS[each] for each in needed)}; {who}")


def conditions(model: Any, n: int, **flags: Sequence[str] | None) -> dict[str, Any]:
    """The conditions of n samples, for the argument `given` of `sample`: the values of each flag in turn.

    A flag that is None is left out. UsageError for one that the model cannot be conditioned on, or for a word that
    cannot be parsed. `CONDITIONS` has the field of each flag, `PARSERS` the parser of each type of field.
    """
    chosen = {}
    for flag, words in flags.items():
        for name, values in words_by_field(model, flag, words or ()).items():
            field = model.spec[name]
            if type(field) not in PARSERS:
                remedy = "use model.sample(given=...)"
                raise UsageError(f"--{flag}: {field.in_words()} cannot be written as words; {remedy}")
            parsed = [PARSERS[type(field)](field, word) for word in values]
            chosen[name] = np.stack([parsed[i % len(parsed)] for i in range(n)])
    return chosen


def words_by_field(model: Any, flag: str, words: Sequence[str]) -> dict[str, list[str]]:
    """The words of a flag by their fields: that of the flag, or another condition in words such as speaker=theo."""
    found: dict[str, list[str]] = {}
    for word in words:
        name, _, value = word.partition("=")
        if name not in model.conditions or not value:
            name, value = CONDITIONS[flag], word
        found.setdefault(name, []).append(value)
    if CONDITIONS[flag] in found.keys() - set(model.conditions):
        if flag == "labels" and model.conditions:
            fields = ", ".join(model.conditions)
            raise UsageError(f"--labels: say of which field, as in {model.conditions[0]}=NAME; there are {fields}")
        able = [each for each in registry.names() if CONDITIONS[flag] in registry.get(each).conditions]
        raise UsageError(f"--{flag}: {model.name} takes no {flag}; models that do: {', '.join(able)}")
    return found


def label_number(field: Labels, word: str) -> np.int64:
    """The number of a class, given by its name or by the number itself; UsageError if there is no such class."""
    classes = field.classes or 0
    names = [field.draw(np.int64(number)) for number in range(classes)]
    if word in names:
        return np.int64(names.index(word))
    if word.isascii() and word.isdecimal() and int(word) < classes:
        return np.int64(word)
    known = ", ".join(names[:MOST_NAMES]) + (", ..." if classes > MOST_NAMES else "")
    raise UsageError(f"label {word!r} is unknown: use a name ({known}) or a number from 0 to {classes - 1}")


def attribute_values(field: Attributes, word: str) -> np.ndarray:
    """Attributes (A,): 1 for each that a word such as "red+square" names, else 0; UsageError for an unknown name."""
    names, asked = list(field.names or ()), [part for part in word.split("+") if part]
    if not field.binary:
        raise UsageError(f"--attributes: {field.in_words()} cannot be written as words; use model.sample(given=...)")
    if unknown := [name for name in asked if name not in names]:
        known = ", ".join(names[:MOST_NAMES]) + (", ..." if len(names) > MOST_NAMES else "")
        raise UsageError(f"attribute {unknown[0]!r} is unknown: join names of {known} by +")
    return np.isin(names, asked).astype(np.float32)


def sampling_settings(model: Any, words: Sequence[str]) -> dict[str, Any]:
    """The fields of a model's Config that words such as guidance=2 set for sampling (`System.sampling_with`).

    UsageError for a field that only training can choose, and for a value of another type than the field's.
    """
    kinds, settings = get_type_hints(type(model.config)), {}
    for word in words:
        name, _, value = word.partition("=")
        name = name.replace("-", "_")
        if name not in model.at_sampling:
            known = ", ".join(model.at_sampling) or "nothing"
            raise UsageError(f"--sampling: {model.name} does not let {name} be chosen; it lets {known}")
        settings[name] = _parsed(name, kinds[name], value)
    return settings


def _parsed(name: str, kind: Any, value: str) -> Any:
    """The value of a field of this type, from a word."""
    if get_origin(kind) is Literal or kind is bool:
        choices = {str(each): each for each in get_args(kind) or (True, False)}
        if value not in choices:
            raise UsageError(f"--sampling: {name}={value} is not one of {', '.join(choices)}")
        return choices[value]
    try:
        return kind(value)
    except ValueError:
        raise UsageError(f"--sampling: {name}={value} is not {KINDS[kind][1]}") from None


def caption_tokens(field: Tokens, text: str) -> np.ndarray:
    """The tokens (T,) of a caption, -1 after its end; UsageError for unknown words, with similar ones, or too many."""
    known, words = field.vocabulary or (), field.split(text)
    words = [word if word in known else word.lower() for word in words]
    for word in words:
        if word not in known:
            near = difflib.get_close_matches(word, known, n=3)
            listed = ", ".join(known[:MOST_NAMES]) + (", ..." if len(known) > MOST_NAMES else "")
            hint = f"did you mean {' or '.join(near)}?" if near else f"the captions of its data have {listed}"
            raise UsageError(f"--text: the model does not know {word!r}; {hint}")
    if len(words) > (field.length or 0):
        raise UsageError(
            f"--text: {text!r} has {len(words)} tokens; the longest caption of the data has {field.length}"
        )
    tokens = np.full(field.length or 0, -1, np.int64)
    tokens[: len(words)] = [known.index(word) for word in words]
    return tokens


CONDITIONS = {"labels": "y", "attributes": "attributes", "text": "caption"}
"""The field that each flag sets where its words name no other."""
PARSERS: dict[type[Field], Callable[[Any, str], Any]] = {
    Labels: label_number,
    Attributes: attribute_values,
    Tokens: caption_tokens,
}
"""For each type of field that can be a condition, a function from the field and a word to the value in a batch."""
MOST_NAMES = 12
"""Most names of classes in a message."""


def examples(opened: Opened, images: str | None, n: int | None, place: str | None) -> tuple[list[str], np.ndarray]:
    """Names and values x (n, ...) of pictures in a folder, or of the first test examples of the data at `place`."""
    if images is not None:
        refuse_images(opened)
    test = None if images is not None else data_of(opened.run, place).test
    return pictures_or_test(opened.model, images, n, test)


def labelled_examples(
    opened: Opened, images: str | None, n: int | None, place: str | None
) -> tuple[list[str], np.ndarray, np.ndarray | None]:
    """As `examples`, and the labels of test examples (n,); None for those of pictures, and where there are none."""
    if images is not None:
        return *examples(opened, images, n, place), None
    test = data_of(opened.run, place).test.take(n or 8)
    names, x = pictures_or_test(opened.model, None, n, test)
    return names, x, test.values("y") if isinstance(test.fields.get("y"), Labels) else None


def refuse_images(opened: Opened) -> None:
    """UsageError if the run is not of pictures in files."""
    if not is_intensities(opened.model.spec.x):
        raise UsageError(f"--images: the run is of {opened.model.spec.x.in_words()}; leave it out")


def pictures_or_test(model: Any, pictures: str | None, n: int | None, test: Any) -> tuple[list[str], np.ndarray]:
    """Names and values x (n, ...) of a picture, of pictures in a folder, or of the first examples of `test`."""
    if pictures is not None:
        names, x = read_images(Path(pictures), model.spec.x)
        return names[:n], x[:n]
    x = test.take(n or 8).batch(slice(None)).x
    noun = "image" if is_intensities(model.spec.x) else "example"
    return [f"test {noun} {i}" for i in range(len(x))], x


def read_sounds(place: Path, field: Any) -> np.ndarray:
    """The sounds of a .wav file, or of those of a folder in the order of their names, as levels (N, T).

    Shorter ones end in silence. DataError for one that cannot be read, or of another rate than the field's.
    """
    if not place.exists():
        raise DataError(f"{place} is not a .wav file, nor a folder of them")
    folder = place.parent if place.is_file() else place
    files = [place] if place.is_file() else [each for each in sorted(place.iterdir()) if waves.is_wave(each)]
    if not files:
        raise DataError(f"{place} holds no .wav files; put some there")
    with naming(folder):
        clips = [waves.read_clip_of_rate(file, field.rate) for file in files]
    field = dataclasses.replace(field, samples=None)
    return field.value(field.store("sounds", clips))


def read_images(place: Path, field: Any) -> tuple[list[str], np.ndarray]:
    """Names and pictures of a file or a folder as a model takes them: (N, H, W, C) in [0, 1], or 0 and 1."""
    height, width, _ = field.shape
    names, pictures = read_pictures(place, field, (width, height))
    return names, np.stack(pictures)


def read_pictures(
    place: Path, field: Any, size: Size | None, n: int | None = None
) -> tuple[list[str], list[np.ndarray]]:
    """Names and pictures, each (H, W, C) in [0, 1], or 0 and 1, of a file or of the first n files of a folder.

    `size`: width and height to which they are resized, antialiased, and their longer sides cropped; None: their own.
    DataError, naming the file, where one cannot be read.
    """
    folder, files = picture_files(place, n)
    decode = decoder(folder, size, field)
    with naming(folder):
        return files, [picture(decode, field, name) for name in files]


def picture_files(place: Path, n: int | None = None) -> tuple[Path, list[str]]:
    """A folder and the names of its first n pictures, or those of a single picture; a notice counts other files."""
    folder, files = place, [place.name]
    if place.is_file():
        folder = place.parent
    elif place.is_dir():
        files, unread = [], Unread()
        for file in sorted(place.iterdir()):
            if is_visible(file.name) and file.name.lower().endswith(SUFFIXES) and not file.is_dir():
                files.append(file.name)
            else:
                unread.add(file)
        unread.say(place)
        files = files[:n]
    else:
        raise DataError(f"{place} is not a folder of pictures, nor a picture")
    if not files:
        raise DataError(f"{folder} holds no pictures; give a folder of .png or .jpg files")
    return folder, files


def decoder(folder: Path, size: Size | None, field: Any) -> Decoder:
    """The decoder of the pictures of a folder for a field of images or segment maps."""
    ignore_warnings_of_pillow()
    channels = getattr(field, "channels", None)
    return Decoder(folder, size, channels, convert=channels == 1, remedy="remove it")


def picture(decode: Decoder, field: Any, name: str) -> np.ndarray:
    """A picture as a model takes it; DataError if it cannot be read.

    (H, W, C) in [0, 1], or 0 and 1; the classes (H, W) of a segment map, which is drawn in its colours or has them as
    intensities.
    """
    pixels = decode(name)
    if isinstance(field, SegmentMap):
        of_any_size = dataclasses.replace(field, height=None, width=None)
        return field.value(of_any_size.store(name, pixels[None] if field.colours else pixels[None, ..., 0]))[0]
    x = unit_range(pixels)
    return (x >= 0.5).astype(np.float32) if field.kind == "binary" else x


def data_for(opened: Opened, place: str | None) -> Dataset:
    """Load the data of the run, or those at `place`, with grey images binarised as the run's were.

    DataError if they do not fit the model.
    """
    if place is None:
        return data_of(opened.run)
    dataset, x = data.load(place), opened.model.spec.x
    if met_by_binarising({"x": x}, dataset.spec):
        dataset = dataset.binarised(x.binarisation or "dynamic")
    refuse_unfit_data(opened.model, dataset)
    return dataset
