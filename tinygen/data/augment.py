"""Random augmentation of training batches."""

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tinygen.data.batch import Batch
from tinygen.data.fields import Clip, Field, Image, SegmentMap
from tinygen.errors import UsageError
from tinygen.random import Stream

Augment = Callable[[Mapping[str, Field], Batch, Stream], Batch]
"""A function of the fields of a batch, the batch, and a random stream; it returns the augmented batch."""


def flip(fields: Mapping[str, Field], batch: Batch, stream: Stream) -> Batch:
    """Mirror each example from left to right with probability one half, all of its pictures together."""
    mirrored = stream.integers(2, len(batch)).astype(bool)
    axes = {name: axis for name in batch if (axis := width_axis(fields[name])) is not None}
    return Batch(batch, **{name: _mirror(batch[name], mirrored, axis) for name, axis in axes.items()})


def symmetries(fields: Mapping[str, Field], batch: Batch, stream: Stream) -> Batch:
    """Mirror and turn each example, permute its colours and invert its intensities, at random.

    All pictures of an example change together. Pictures that are not square are turned by 180 degrees at most. Palette
    indices and segment maps keep their values.
    """
    axes = {name: axis for name in batch if (axis := width_axis(fields[name])) is not None}
    changed = {name: np.array(batch[name]) for name in axes}
    square = all(pictures.shape[axes[name] - 1] == pictures.shape[axes[name]] for name, pictures in changed.items())
    variants = list(itertools.product((False, True), range(4) if square else (0, 2), COLOURS, (False, True)))
    for i, number in enumerate(stream.integers(len(variants), len(batch))):
        mirrored, turns, colours, inverted = variants[number]
        for name, pictures in changed.items():
            width = axes[name] - 1
            picture = np.rot90(np.flip(pictures[i], width) if mirrored else pictures[i], turns, (width - 1, width))
            pictures[i] = _recoloured(picture, colours, inverted) if _has_intensities(fields[name]) else picture
    return Batch(batch, **changed)


AUGMENTS: dict[str, Augment] = {"flip": flip, "symmetries": symmetries}
COLOURS = tuple(itertools.permutations(range(3)))
"""The orders of red, green and blue."""


def refuse_unknown(name: str) -> None:
    """UsageError if no augmentation has this name."""
    if name not in tuple(AUGMENTS):  # a list, too, gets this message
        raise UsageError(f"unknown augment {name!r}: use {' or '.join(map(repr, AUGMENTS))}, or leave it out")


def width_axis(field: Field) -> int | None:
    """The axis of a batch along the width of its pictures; None for a field that is not of pictures."""
    if isinstance(field, Clip):
        return 3
    return 2 if isinstance(field, Image | SegmentMap) else None


def _mirror(pictures: Any, which: np.ndarray, axis: int) -> np.ndarray:
    result = np.array(pictures)
    result[which] = np.flip(result[which], axis)
    return result


def _has_intensities(field: Field) -> bool:
    return isinstance(field, Image | Clip) and field.kind in ("binary", "grey", "rgb")


def _recoloured(picture: np.ndarray, colours: tuple[int, ...], inverted: bool) -> np.ndarray:
    ordered = picture[..., list(colours)] if picture.shape[-1] == 3 else picture
    return 1 - ordered if inverted else ordered
