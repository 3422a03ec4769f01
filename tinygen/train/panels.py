"""The sections of a report, one for a capability of the model; the first also gives the picture during training."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygen.capabilities import (
    Classifies,
    Codes,
    Completes,
    Density,
    Fills,
    Inverts,
    Ranks,
    Samples,
    Translates,
    TranslatesBack,
)
from tinygen.data import Dataset, Points, Spec, Tokens
from tinygen.data.batch import Padded
from tinygen.metrics.neighbours import nearest_examples
from tinygen.random import Stream
from tinygen.train import images, plots
from tinygen.train.figures import Figure

COLUMNS = 10
"""Tiles in a row."""
PLANE = 20
"""Decoded points along each side of the code plane."""
SHOWN_EXAMPLES = 1000
"""Examples in a scatter plot, in a confusion matrix, or to be ranked."""
COMPARED = 100
"""Images or sentences whose probabilities are compared."""
SEARCHED = 10_000
"""Training images among which the nearest ones are looked for."""
QUIZ = 8
"""Real images, and as many samples, in the quiz."""
FILLED = 8
"""Images that are filled in, or whose codes are searched for."""
LINE_POINTS = 8
"""Decoded points of a line between two sentences."""
MAP_POINTS = 100
"""Points along each side of the map of a density."""


@dataclass(frozen=True)
class Panel:
    """A section of the report."""

    capability: type
    title: str
    about: str
    fits: Callable[[Spec], bool]
    """Whether it can show data of this description."""
    figures: Callable[[Any, Dataset, int], Iterator[Figure]]
    """The figures for a model, its data and a seed: pictures, texts or drawings; the first is a picture or a text."""
    layout: str = "wide"


def panels_of(model: Any, spec: Spec) -> list[Panel]:
    """The panels of a model's capabilities that can show its data."""
    return [panel for panel in PANELS if isinstance(model, panel.capability) and panel.fits(spec)]


def progress(model: Any, data: Dataset, seed: int) -> Figure | None:
    """The picture shown during training: the first figure of the first panel, None without panels."""
    panels = panels_of(model, data.spec)
    return next(panels[0].figures(model, data, seed)) if panels else None


def samples(model: Any, data: Dataset, seed: int) -> Iterator[Figure]:
    """Samples, from the same noise at every call."""
    n, columns = images.arrangement(model)
    yield Figure.of_examples("Samples.", model.sample(n, seed=seed), model.spec.x, columns)


def beside_real(model: Any, data: Dataset, seed: int) -> Iterator[Figure]:
    """Samples above the training images nearest to them, and a quiz of real images among samples."""
    drawn = model.sample(COLUMNS + QUIZ, seed=seed)
    shown, train = drawn[:COLUMNS], data.train.take(SEARCHED).only("x")
    nearest = nearest_examples(shown, (batch.x for batch in train.batches(SHOWN_EXAMPLES)))
    caption = f"Samples, and below each the nearest of {len(train):,} training images by the distance of pixels."
    yield Figure(caption, np.concatenate([shown, nearest]), COLUMNS)
    yield quiz(_first(data, QUIZ).x, drawn[COLUMNS:], seed)


def quiz(real: np.ndarray, drawn: np.ndarray, seed: int) -> Figure:
    """Real images and as many drawn ones in random order; the real ones alone are the answer."""
    n = min(len(real), len(drawn))
    order = Stream(seed, "quiz").permutation(2 * n)
    mixed = np.concatenate([real[:n], drawn[:n]])[order]
    only_real = np.where((order < n)[:, None, None, None], mixed, np.float32(0.5))
    answer = Figure("The real ones. The model drew the others.", only_real, n)
    caption = f"Spot the fake: {n} of these images are real, from validation, and {n} were drawn by the model."
    return Figure(caption, mixed, n, answer=answer)


def translations(model: Any, data: Dataset, seed: int) -> Iterator[Figure]:
    """Validation examples, their translations, and the true targets where there are any."""
    pairs = model.pairs(_first(data, COLUMNS), seed=seed)
    target = model.spec.fields.get("target", model.spec.x)
    rows = [images.tiles(pairs.x, model.spec.x), images.tiles(model.translate(pairs.x, seed=seed), target)]
    rows += [images.tiles(pairs.target, target)] if "target" in pairs else []
    caption = "Validation inputs, and below each its translation" + (" and the target." if "target" in pairs else ".")
    yield Figure(caption, above_one_another(*rows), len(pairs))


def cycles(model: Any, data: Dataset, seed: int) -> Iterator[Figure]:
    """Validation examples of either domain, their translations, and these translated back."""
    batch, x, target = _first(data, COLUMNS), data.spec.x, data.spec.target
    ways = (
        (batch.x, x, model.translate, target, model.translate_back),
        (batch.target, target, model.translate_back, x, model.translate),
    )
    for (given, field, there, other, back), name in zip(ways, ("x", "target"), strict=True):
        translated = there(given, seed=seed)
        rows = (given, field), (translated, other), (back(translated, seed=seed), field)
        caption = f"Validation examples of {name}, below each its translation, and this translated back."
        yield Figure(caption, above_one_another(*(images.tiles(*row) for row in rows)), len(given))


def above_one_another(*rows: np.ndarray) -> np.ndarray:
    """Rows of pictures (N, H, W, C), grey or coloured and of any sizes, as tiles of one shape."""
    channels = max(row.shape[3] for row in rows)
    height, width = (max(row.shape[axis] for row in rows) for axis in (1, 2))
    padding = [[(0, 0), (0, height - row.shape[1]), (0, width - row.shape[2]), (0, 0)] for row in rows]
    coloured = [np.broadcast_to(row, (*row.shape[:3], channels)) for row in rows]
    return np.concatenate([np.pad(row, pad) for row, pad in zip(coloured, padding, strict=True)])


def completions(model: Any, data: Dataset, seed: int) -> Iterator[Figure]:
    """Completions of validation examples whose first halves are kept."""
    batch = _first(data, data.spec.x.completions_shown)
    x, given = batch.x, conditions_in(model, batch)
    keep = half_of(x)
    yield completions_figure(x, keep, [model.complete(x, keep, seed=seed + i, **given) for i in range(3)], data.spec.x)


def sound_completions(model: Any, data: Dataset, seed: int) -> Iterator[Figure]:
    """A completion of each of a few validation sounds whose first halves are kept."""
    batch = _first(data, data.spec.x.completions_shown)
    x = without_padding(batch.x, data.spec.x)
    keep = half_of(x)
    yield completions_figure(x, keep, [model.complete(x, keep, seed=seed, **conditions_in(model, batch))], data.spec.x)


def without_padding(x: np.ndarray, field: Any) -> np.ndarray:
    """Sounds (N, T) without the silence at the end of the longest."""
    return x[:, : max(1, field.lengths(x).max())]


def conditions_in(model: Any, batch: Any) -> dict[str, Any]:
    """The argument `given` with the conditions of a model that a batch has; no argument where it takes none."""
    return {"given": {name: batch[name] for name in model.conditions}} if model.conditions else {}


def half_of(x: Any) -> int:
    """Half of the rows of images, frames of clips, samples of sounds, or tokens of a sequence of median length."""
    return max(1, int(np.median(x.length)) // 2) if isinstance(x, Padded) else x.shape[1] // 2


def completions_figure(x: Any, keep: int, drawn: Sequence[Any], field: Any) -> Figure:
    """Examples, their kept parts (upper rows of images, first frames, tokens or samples), and completions of these."""
    versions = (x, field.kept(x, keep), *drawn)
    if not field.is_picture:
        texts = [[field.draw(example) for example in examples] for examples in versions]
        texts[1] = [f"{beginning} …" for beginning in texts[1]]
        text = "\n\n".join("\n".join(each) for each in zip(*texts, strict=True))
        return Figure("Validation examples, the kept beginning of each, and its completions.", text=text)
    if field.is_moving:
        frames = np.stack(versions, axis=1).reshape(-1, *x.shape[2:])
        caption = "Validation examples, frame by frame from left to right; below each its kept frames, and completions."
        return Figure(caption, frames, x.shape[1], ground=images.GROUND)
    tiles = np.concatenate([images.tiles(examples, field) for examples in versions])
    sounds = tuple(field.play(example) for examples in versions for example in examples) if field.is_sound else ()
    return Figure("Validation examples, their kept beginnings, and completions.", tiles, len(x), sounds=sounds)


def fillings(model: Any, data: Dataset, seed: int) -> Iterator[Figure]:
    """Two completions of validation images that have a square hole in the middle."""
    batch = _first(data, FILLED)
    known = around_a_square(batch.x)
    given = conditions_in(model, batch)
    drawn = [model.fill(batch.x, known, seed=seed + i, **given) for i in range(2)]
    yield fillings_figure("Validation images, their known pixels, and completions of each.", batch.x, known, drawn)


def around_a_square(x: np.ndarray) -> np.ndarray:
    """Which pixels of images (N, H, W, C) lie outside the middle half of the rows and of the columns, (N, H, W, 1)."""
    n, height, width, _ = x.shape
    known = np.ones((n, height, width, 1), bool)
    known[:, height // 4 : height - height // 4, width // 4 : width - width // 4] = False
    return known


def fillings_figure(caption: str, x: np.ndarray, known: np.ndarray, drawn: Sequence[np.ndarray]) -> Figure:
    """Images, their known pixels on grey, and completions."""
    return Figure(caption, np.concatenate([x, np.where(known, x, np.float32(0.5)), *drawn]), len(x))


def inversions(model: Any, data: Dataset, seed: int) -> Iterator[Figure]:
    """Validation images, and those of the codes that are found for them."""
    x = _first(data, FILLED).x
    caption = "Validation images, and below each that of the nearest code that was found."
    yield Figure(caption, np.concatenate([x, model.generate(model.invert(x, seed=seed))]), len(x))


def reconstructions(model: Any, data: Dataset, seed: int) -> Iterator[Figure]:
    """Validation images with their reconstructions, and decoded lines between codes."""
    columns = min(COLUMNS, len(data.valid))
    x = _first(data, min(2, len(data.valid) // columns) * columns).x
    codes = model.encode(x)
    rebuilt = model.decode(codes)
    rows = [half[start : start + columns] for start in range(0, len(x), columns) for half in (x, rebuilt)]
    caption = "Validation images, and below each its reconstruction from its code."
    yield Figure(caption, np.concatenate(rows), columns)
    if codes.ndim == 2 and columns > 1:
        caption = "Decoded points of straight lines, each from the code of one image to that of another."
        yield Figure(caption, model.decode(np.concatenate(between(codes[:columns], COLUMNS))), COLUMNS)


def between(codes: np.ndarray, points: int) -> list[np.ndarray]:
    """Points (points, D) on the straight lines from code 0 (N, D) to code 1, from 2 to 3, and so on."""
    share = np.linspace(0, 1, points, dtype=codes.dtype)[:, None]
    return [(1 - share) * start + share * end for start, end in zip(codes[:-1:2], codes[1::2], strict=True)]


def rebuilt_sentences(model: Any, data: Dataset, seed: int) -> Iterator[Figure]:
    """Validation sentences with their reconstructions, and decoded lines between codes of two of them."""
    x, field = _first(data, COLUMNS // 2 * 2).x, data.spec.x
    codes = model.encode(x)
    pairs = zip(map(field.draw, x), map(field.draw, model.decode(codes)), strict=True)
    caption = "Validation sentences, and below each its reconstruction from its code."
    yield Figure(caption, text="\n\n".join("\n".join(pair) for pair in pairs))
    pairs = codes[: len(codes) // 2 * 2]
    paths = ["\n".join(map(field.draw, model.decode(path))) for path in between(pairs, LINE_POINTS)]
    if paths:
        caption = "Decoded points of straight lines, each from the code of one sentence above to that of the next."
        yield Figure(caption, text="\n\n".join(paths))


def plane(model: Any, data: Dataset, seed: int) -> Iterator[Figure]:
    """Drawings of the code space, if it has two dimensions."""
    batch = _first(data, SHOWN_EXAMPLES)
    codes = model.encode(batch.x)
    if codes.ndim != 2 or codes.shape[1] != 2:
        return
    across, up = np.quantile(codes, np.linspace(0.02, 0.98, PLANE), axis=0).T
    grid = np.stack(np.meshgrid(across, up[::-1]), axis=-1).reshape(-1, 2).astype(codes.dtype)
    caption = "Decoded points of the code plane, spaced by quantiles of the codes."
    yield Figure(caption, model.decode(grid), PLANE, gap=0)
    classes = [data.spec.y.draw(number) for number in range(data.spec.classes or 0)]
    legend = tuple(zip(itertools.cycle(plots.CLASSES), classes, strict=False))
    caption = "Codes of validation images" + (", coloured by class." if legend else ".")
    yield Figure(caption, svg=plots.scatter(codes, batch.get("y")), legend=legend)


def probabilities(model: Any, data: Dataset, seed: int) -> Iterator[Figure]:
    """A map of the density of points in a plane, or the most and the least probable images or sentences."""
    kind = "a lower bound on" if model.log_prob_is_bound else "an estimate of" if model.log_prob_is_estimate else ""
    which = f"{kind} their log-probability" if kind else "their exact log-probability"
    if isinstance(data.spec.x, Points):
        points = _first(data, SHOWN_EXAMPLES).x
        low, high = data.spec.x.limits or (float(points.min()), float(points.max()))
        places = np.linspace(low, high, MAP_POINTS, dtype=np.float32)
        grid = np.stack(np.meshgrid(places, places[::-1]), axis=-1).reshape(-1, 2)
        density = np.exp(model.log_prob(grid, seed=seed).clip(-700, 700))
        shades = (density / max(density.max(), 1e-300)).astype(np.float32).reshape(1, MAP_POINTS, MAP_POINTS, 1)
        yield Figure(f"The density from {low:g} to {high:g} along both axes, by {which}.", shades)
        return
    x = _first(data, COMPARED).x
    if isinstance(x, Padded):
        nats = -model.log_prob(x, seed=seed)
        lines = [f"{n:7.2f} nats   {data.spec.x.draw(sentence)}" for n, sentence in zip(nats, x, strict=True)]
        order, shown = (nats / (x.length + 1)).argsort(kind="stable"), min(COLUMNS, len(x) // 2)
        groups = ["\n".join(lines[i] for i in part) for part in (order[:shown], order[len(x) - shown :])]
        caption = (
            f"Of {len(x)} validation sentences the most probable and the least probable for their lengths, by {which}"
        )
        yield Figure(f"{caption}, its sign changed.", text="\n\n".join(groups))
        return
    order = model.log_prob(x, seed=seed).argsort(kind="stable")[::-1]
    shown = min(COLUMNS, len(x))
    caption = f"The most probable of {len(x)} validation images, and below them the least probable, by {which}."
    yield Figure(caption, np.concatenate([x[order[:shown]], x[order[::-1][:shown]]]), shown)


def confusions(model: Any, data: Dataset, seed: int) -> Iterator[Figure]:
    """The confusion matrix on valid."""
    batch = _first(data, SHOWN_EXAMPLES)
    classes = data.spec.classes or 0
    table = np.zeros((classes, classes), np.float32)
    np.add.at(table, (batch.y, model.classify(batch.x).argmax(axis=1)), 1)
    error = 1 - np.trace(table) / table.sum()
    shades = table / table.sum(axis=1, keepdims=True).clip(1)
    caption = (
        f"Confusion matrix: true classes in rows, predicted ones in columns; {error:.1%} of predictions are wrong."
    )
    yield Figure(caption, shades.reshape(-1, 1, 1, 1).repeat(8, axis=1).repeat(8, axis=2), classes)


def ranking(model: Any, data: Dataset, seed: int) -> Iterator[Figure]:
    """Validation examples, each followed by the training examples ranked as most similar."""
    queries, items = _first(data, 8).x, data.train.take(SHOWN_EXAMPLES).batch(slice(None)).x
    best = model.rank(queries, items)[:, : COLUMNS - 1]
    rows = np.concatenate([queries[:, None], items[best]], axis=1)
    caption = "In each row a validation image, followed by the training images ranked as most similar."
    yield Figure(caption, rows.reshape(-1, *queries.shape[1:]), rows.shape[1])


def _first(data: Dataset, n: int) -> Any:
    """The first n examples of valid, as a batch."""
    return data.valid.take(n).batch(slice(None))


def _of_intensities(spec: Spec) -> bool:
    return "x" in spec and images.is_intensities(spec.x)


def _of_tokens(spec: Spec) -> bool:
    return "x" in spec and isinstance(spec.x, Tokens)


def _of_sounds(spec: Spec) -> bool:
    return "x" in spec and spec.x.is_sound


def _of_clips(spec: Spec) -> bool:
    return "x" in spec and spec.x.is_moving


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
    Panel(
        Samples,
        "Beside real images",
        "Whether samples are copies of training images, and whether they can be told from real ones.",
        _of_intensities,
        beside_real,
    ),
    Panel(
        Translates, "Translations", "Inputs, and their translations into the other domain.", _of_pictures, translations
    ),
    Panel(
        TranslatesBack,
        "Cycles",
        "What is translated there and back should be as before, and not because the translation hides it.",
        _of_pictures,
        cycles,
    ),
    Panel(
        Completes,
        "Completions",
        "The model draws the missing rows of images, or the rest of sequences and clips.",
        lambda spec: _of_intensities(spec) or _of_tokens(spec) or _of_clips(spec),
        completions,
    ),
    Panel(Completes, "Completions", "The model draws the rest of sounds.", _of_sounds, sound_completions),
    Panel(Fills, "Missing pixels", "The model draws the missing pixels of images.", _of_intensities, fillings),
    Panel(
        Inverts,
        "Inversions",
        "How near the model's images come to given ones: codes are searched for by descent.",
        _of_intensities,
        inversions,
    ),
    Panel(Codes, "Reconstructions", "How much of an image its code preserves.", _of_intensities, reconstructions),
    Panel(
        Codes,
        "Reconstructions",
        "How much of a sentence its code preserves, and what lies between two codes.",
        _of_tokens,
        rebuilt_sentences,
    ),
    Panel(
        Codes,
        "The code plane",
        "Codes are two-dimensional here, so the whole code space can be shown.",
        _of_intensities,
        plane,
        "plane",
    ),
    Panel(
        Density,
        "Probabilities",
        "Which examples the model gives high and low probability.",
        lambda spec: _of_intensities(spec) or _of_tokens(spec) or _in_the_plane(spec),
        probabilities,
    ),
    Panel(
        Classifies,
        "Classes",
        "How well it predicts the classes of validation examples.",
        lambda spec: spec.classes is not None,
        confusions,
    ),
    Panel(Ranks, "Similarity", "Which examples the model ranks as similar.", _of_intensities, ranking),
)
