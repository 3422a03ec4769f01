"""What a report shows of each capability of a model; the first of these is also the picture during training."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygen.capabilities import Classifies, Codes, Completes, Density, Ranks, Samples, Translates
from tinygen.data import Dataset, Field, Points, Spec, Tokens
from tinygen.data.batch import Padded
from tinygen.train import images, plots
from tinygen.train.figures import Figure

COLUMNS = 10
PLANE = 20
SCATTERED = 1000
EXAMINED = 100
"""Images whose probabilities are compared."""
PLACES = 100
"""Along each side of a map of a density."""


@dataclass(frozen=True)
class Panel:
    """A section of the report."""

    capability: type
    title: str
    about: str
    fits: Callable[[Spec], bool]
    """Whether examples of data of this description can be shown so."""
    figures: Callable[[Any, Dataset, int], Iterator[Figure]]
    """Of a model and its data, by a seed: pictures, texts or drawings; the first one is no drawing."""
    layout: str = "wide"


def panels_of(model: Any, spec: Spec) -> list[Panel]:
    """Those of the capabilities that a model has, as far as its data can be shown."""
    return [panel for panel in PANELS if isinstance(model, panel.capability) and panel.fits(spec)]


def progress(model: Any, data: Dataset, seed: int) -> Figure | None:
    """The picture during training: the first one of the first panel; None where there is none."""
    panels = panels_of(model, data.spec)
    return next(panels[0].figures(model, data, seed)) if panels else None


def samples(model: Any, data: Dataset, seed: int) -> Iterator[Figure]:
    """Samples from the same noise each time."""
    n, columns = images.arrangement(model)
    yield Figure.of_examples("Samples.", model.sample(n, seed=seed), model.spec.x, columns)


def translations(model: Any, data: Dataset, seed: int) -> Iterator[Figure]:
    """Examples of valid, what the model makes of them, and the true targets where they are pictures of that size."""
    batch = _first(data, COLUMNS)
    target = data.spec.fields.get("target", data.spec.x)
    rows = [images.tiles(batch.x, data.spec.x), images.tiles(model.translate(batch.x, seed=seed), target)]
    rows += [images.tiles(batch.target, target)] if "target" in batch else []
    caption = "Examples of validation, and below them what the model makes of each"
    yield Figure(f"{caption}{', and the target' if 'target' in batch else ''}.", above_one_another(*rows), len(batch))


def above_one_another(*rows: np.ndarray) -> np.ndarray:
    """Rows of pictures (N, H, W, C), of which some may be grey and others coloured, as tiles of one shape."""
    channels = max(row.shape[3] for row in rows)
    height, width = (max(row.shape[axis] for row in rows) for axis in (1, 2))
    room = [[(0, 0), (0, height - row.shape[1]), (0, width - row.shape[2]), (0, 0)] for row in rows]
    coloured = [np.broadcast_to(row, (*row.shape[:3], channels)) for row in rows]
    return np.concatenate([np.pad(row, pad) for row, pad in zip(coloured, room, strict=True)])


def completions(model: Any, data: Dataset, seed: int) -> Iterator[Figure]:
    """Examples of valid of which the first half is kept."""
    x = _first(data, COLUMNS).x
    keep = half_of(x)
    yield completed(x, keep, [model.complete(x, keep, seed=seed + i) for i in range(3)], data.spec.x)


def half_of(x: Any) -> int:
    """Half of the rows of images, or of the tokens of a sequence of median length."""
    return max(1, int(np.median(x.length)) // 2) if isinstance(x, Padded) else x.shape[1] // 2


def completed(x: Any, keep: int, drawn: Sequence[Any], field: Field) -> Figure:
    """Examples, what is kept of them (upper rows of images, the first tokens of sequences), and completions of that."""
    if isinstance(x, Padded):
        beginnings = [f"{field.draw(example[:keep])} …" for example in x]
        texts = [[field.draw(example) for example in examples] for examples in (x, *drawn)]
        lines = zip(texts[0], beginnings, *texts[1:], strict=True)
        text = "\n\n".join("\n".join(each) for each in lines)
        return Figure("Sequences of validation, what is kept of each, and what the model draws of that.", text=text)
    kept = x.copy()
    kept[:, keep:] = 0.5
    caption = "Images of validation, their upper halves, and three completions that the model draws of each."
    return Figure(caption, np.concatenate([x, kept, *drawn]), len(x))


def reconstructions(model: Any, data: Dataset, seed: int) -> Iterator[Figure]:
    """Images of valid beside what the model makes of their codes, and what lies between two codes."""
    columns = min(COLUMNS, len(data.valid))
    x = _first(data, min(2, len(data.valid) // columns) * columns).x
    codes = model.encode(x)
    made = model.decode(codes)
    rows = [half[start : start + columns] for start in range(0, len(x), columns) for half in (x, made)]
    caption = "Each image of validation, and below it what the model makes of its code."
    yield Figure(caption, np.concatenate(rows), columns)
    if codes.ndim == 2 and columns > 1:
        share = np.linspace(0, 1, COLUMNS, dtype=codes.dtype)[:, None]
        pairs = zip(codes[0 : columns - 1 : 2], codes[1:columns:2], strict=True)
        paths = [(1 - share) * start + share * end for start, end in pairs]
        caption = "Straight lines from the code of one image to that of another."
        yield Figure(caption, model.decode(np.concatenate(paths)), COLUMNS)


def plane(model: Any, data: Dataset, seed: int) -> Iterator[Figure]:
    """The whole code space, where it is a plane."""
    batch = _first(data, SCATTERED)
    codes = model.encode(batch.x)
    if codes.ndim != 2 or codes.shape[1] != 2:
        return
    across, up = np.quantile(codes, np.linspace(0.02, 0.98, PLANE), axis=0).T
    grid = np.stack(np.meshgrid(across, up[::-1]), axis=-1).reshape(-1, 2).astype(codes.dtype)
    caption = "What the decoder makes of places all over the plane, closer together where codes are."
    yield Figure(caption, model.decode(grid), PLANE, gap=0)
    classes = [data.spec.y.draw(number) for number in range(data.spec.classes or 0)]
    legend = tuple(zip(itertools.cycle(plots.CLASSES), classes, strict=False))
    caption = "Where the images of validation lie in it" + (", coloured by class." if legend else ".")
    yield Figure(caption, svg=plots.scatter(codes, batch.get("y")), legend=legend)


def probabilities(model: Any, data: Dataset, seed: int) -> Iterator[Figure]:
    """Of points in the plane a map of the density; of images the most and the least probable ones."""
    which = "a lower bound on their log-probability" if model.log_prob_is_bound else "their exact log-probability"
    if isinstance(data.spec.x, Points):
        points = _first(data, SCATTERED).x
        low, high = data.spec.x.limits or (float(points.min()), float(points.max()))
        places = np.linspace(low, high, PLACES, dtype=np.float32)
        grid = np.stack(np.meshgrid(places, places[::-1]), axis=-1).reshape(-1, 2)
        density = np.exp(model.log_prob(grid, seed=seed).clip(-700, 700))
        shades = (density / max(density.max(), 1e-300)).astype(np.float32).reshape(1, PLACES, PLACES, 1)
        yield Figure(f"The density from {low:g} to {high:g} along both axes, by {which}.", shades)
        return
    x = _first(data, EXAMINED).x
    order = model.log_prob(x, seed=seed).argsort(kind="stable")[::-1]
    shown = min(COLUMNS, len(x))
    caption = f"Of {len(x)} images of validation the most probable, and below them the least, by {which}."
    yield Figure(caption, np.concatenate([x[order[:shown]], x[order[::-1][:shown]]]), shown)


def confusions(model: Any, data: Dataset, seed: int) -> Iterator[Figure]:
    """How often each class of valid is taken for each."""
    batch = _first(data, SCATTERED)
    classes = data.spec.classes or 0
    table = np.zeros((classes, classes), np.float32)
    np.add.at(table, (batch.y, model.classify(batch.x).argmax(axis=1)), 1)
    error = 1 - np.trace(table) / table.sum()
    shades = table / table.sum(axis=1, keepdims=True).clip(1)
    caption = f"How often examples of each class (a row) are taken for each (a column): {error:.1%} wrong."
    yield Figure(caption, shades.reshape(-1, 1, 1, 1).repeat(8, axis=1).repeat(8, axis=2), classes)


def ranking(model: Any, data: Dataset, seed: int) -> Iterator[Figure]:
    """Examples of valid, each before those of train that are most like it."""
    queries, items = _first(data, 8).x, data.train.take(SCATTERED).batch(slice(None)).x
    best = model.rank(queries, items)[:, : COLUMNS - 1]
    rows = np.concatenate([queries[:, None], items[best]], axis=1)
    caption = "An image of validation in each row, and after it the training images that are most like it."
    yield Figure(caption, rows.reshape(-1, *queries.shape[1:]), rows.shape[1])


def _first(data: Dataset, n: int) -> Any:
    """The first n examples of valid, as a batch."""
    return data.valid.take(n).batch(slice(None))


def _of_intensities(spec: Spec) -> bool:
    return "x" in spec and images.is_intensities(spec.x)


def _of_tokens(spec: Spec) -> bool:
    return "x" in spec and isinstance(spec.x, Tokens)


def _of_pictures(spec: Spec) -> bool:
    return "x" in spec and spec.x.is_picture and spec.fields.get("target", spec.x).is_picture


def _in_the_plane(spec: Spec) -> bool:
    return "x" in spec and isinstance(spec.x, Points) and spec.x.shape == (2,)


PANELS = (
    Panel(
        Samples,
        "Samples",
        "Drawn from the model; none is chosen by hand.",
        lambda spec: "x" in spec,
        samples,
    ),
    Panel(Translates, "Translations", "Inputs above what is made of them.", _of_pictures, translations),
    Panel(
        Completes,
        "Completions",
        "The model draws what is missing.",
        lambda spec: _of_intensities(spec) or _of_tokens(spec),
        completions,
    ),
    Panel(Codes, "Codes and back", "How much of an image its code holds.", _of_intensities, reconstructions),
    Panel(
        Codes,
        "The code plane",
        "Codes have two numbers here, so all of them can be seen at once.",
        _of_intensities,
        plane,
        "plane",
    ),
    Panel(
        Density,
        "Probabilities",
        "What the model finds probable.",
        lambda spec: _of_intensities(spec) or _in_the_plane(spec),
        probabilities,
    ),
    Panel(
        Classifies,
        "Classes",
        "How well it tells the classes of validation apart.",
        lambda spec: spec.classes is not None,
        confusions,
    ),
    Panel(Ranks, "Likeness", "What the model takes to be alike.", _of_intensities, ranking),
)
