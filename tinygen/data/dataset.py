"""A data set: its specification and its three splits."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from tinygen.data import augment, binarise
from tinygen.data.column import Column
from tinygen.data.fields import Field, Image, Labels
from tinygen.data.fields.numbering import is_one_hot
from tinygen.data.notices import say_once
from tinygen.data.spec import Spec
from tinygen.data.split import Split
from tinygen.errors import DataError, UsageError
from tinygen.random import Stream

PARTS = ("train", "valid", "test")


@dataclass(frozen=True, eq=False)
class Dataset:
    """A specification and three splits.

    ``valid``, by default a tenth of train, is for every choice and every curve; ``test`` is used once, at the end.
    """

    spec: Spec
    train: Split
    valid: Split
    test: Split

    @classmethod
    def from_fields(
        cls,
        name: str,
        fields: Mapping[str, Field],
        train: Mapping[str, Any],
        valid: Mapping[str, Any] | None = None,
        test: Mapping[str, Any] | None = None,
        *,
        hold_out: "HoldOut | None" = None,
    ) -> "Dataset":
        """Make a data set from arrays, or from a `Column` for each array that is not in memory.

        Each field checks its arrays; those of its attributes that are None are set from the arrays.

        >>> Dataset.from_fields("pairs", {"x": Image(), "target": Image(kind="rgb")}, {"x": maps, "target": photos})

        If there is no test, or no valid, a tenth of train is held out for it: at random, but the same in every run, and
        with the classes in proportion if there is a field of labels. Train is shuffled then. ``hold_out`` replaces this
        rule. Raises DataError, which names the array (x_train, ...) and the remedy.
        """
        return cls._from_parts(name, fields, {"train": train, "valid": valid, "test": test}, hold_out or random_tenth)

    @classmethod
    def from_arrays(
        cls,
        name: str,
        x_train: Any,
        y_train: Any = None,
        x_test: Any = None,
        y_test: Any = None,
        class_names: Sequence[str] | None = None,
        *,
        white: int | None = None,
    ) -> "Dataset":
        """Make a data set of images x and, if they are given, labels y.

        `from_fields` does the same for any fields. Here valid (and test, if it is not given) is the last tenth of the
        arrays in their order, or a random tenth where the examples of a class lie together. Images are integers,
        booleans, or floats in [0, 1], of shape (N, H, W), (N, H, W, 1) or (N, H, W, 3). ``white`` is the integer that
        means 1: by default 255, or 1 if ``x_train`` has no larger one.
        """
        fields: dict[str, Field] = {"x": Image(white=white)}
        if y_train is not None or y_test is not None:
            fields["y"] = Labels(names=class_names)  # type: ignore[arg-type]
        parts = {"train": {"x": x_train, "y": y_train}, "test": {"x": x_test, "y": y_test}}
        columns = {part: {key: a for key, a in arrays.items() if a is not None} for part, arrays in parts.items()}
        return cls._from_parts(name, fields, columns, random_tenth if in_blocks(y_train) else last_tenth)

    @classmethod
    def _from_parts(
        cls, name: str, fields: Mapping[str, Field], parts: Mapping[str, Any], hold_out: "HoldOut"
    ) -> "Dataset":
        present = {part: arrays for part in PARTS if (arrays := parts.get(part))}
        _refuse_differences(fields, present)
        fitted = {}
        for key, field in fields.items():
            arrays = {f"{key}_{part}": arrays[key] for part, arrays in present.items()}
            fitted[key] = field.fit({where: a for where, a in arrays.items() if not isinstance(a, Column)})
            if words := fitted[key].renumbering_in_words():
                say_once(f"{name}: {key}: {words}")
        splits = {part: Split(fitted, _stored(fitted, part, arrays)) for part, arrays in present.items()}
        for part in ("test", "valid"):
            if part not in splits:
                if len(splits["train"]) < 2:
                    raise DataError("there are too few examples for train, valid and test; at least 3 are needed")
                kept, held_out = hold_out(splits["train"], part)
                splits["train"], splits[part] = splits["train"].rows(kept), splits["train"].rows(held_out)
        return cls(Spec(name, fitted), *(splits[part] for part in PARTS))

    def augmented(self, how: Literal["flip", "symmetries"]) -> "Dataset":
        """The same data set, whose training examples change at random whenever they are read (`tinygen.data.augment`).

        flip: they are mirrored from left to right with probability one half. symmetries: they are mirrored and turned,
        their colours are permuted, and their intensities are inverted.
        """
        augment.refuse_unknown(how)
        if all(augment.width_axis(field) is None for field in self.spec.fields.values()):
            raise UsageError(f"{self.spec.name} has no pictures to augment: leave augment out")
        train = type(self.train)(self.train.fields, self.train.columns, augment.AUGMENTS[how])
        return replace(self, train=train)

    def binarised(self, how: Literal["dynamic", "threshold"]) -> "Dataset":
        """The same data set with binary images x in place of grey ones; itself if its images are binary already.

        dynamic: a pixel is 1 with a probability equal to its grey value. Train is drawn anew each time a batch is read;
        valid and test are drawn once, and are the same in every run. threshold: a pixel is 1 if its grey value is at
        least one half.
        """
        if how not in ("dynamic", "threshold"):
            raise UsageError(f"unknown binarisation {how!r}: use 'dynamic' or 'threshold'")
        x = self.spec.fields.get("x")
        if not isinstance(x, Image) or x.kind not in ("grey", "binary"):
            problem = f"x is {x.in_words()}" if x else "it has no x"
            raise UsageError(f"{self.spec.name} cannot be binarised ({problem}): only grey images can")
        if x.kind == "binary":
            return self
        spec = replace(self.spec, fields={**self.spec.fields, "x": replace(x, kind="binary", binarisation=how)})
        parts = (Split(spec.fields, split.columns, split.augment) for split in (self.train, self.valid, self.test))
        if how == "threshold":
            return Dataset(spec, *map(binarise.threshold, parts))
        train, valid, test = parts
        draw_once = binarise.draw_once
        return Dataset(spec, binarise.draw_afresh(train), draw_once(valid, "valid"), draw_once(test, "test"))


HoldOut = Callable[[Split, str], tuple[Any, Any]]
"""A function of a split and the name of a part to hold out: it returns the rows that stay, and those of the part."""


def last_tenth(split: Split, part: str) -> tuple[slice, slice]:
    """All rows but the last tenth, and the last tenth."""
    cut = len(split) - max(1, len(split) // 10)
    return slice(cut), slice(cut, None)


def in_blocks(labels: Any) -> bool:
    """Whether examples of a class lie together, so that a tenth by position would not have all classes.

    That is, each class is one block, or neighbours differ less than a tenth as often as in random order.
    """
    y = np.asarray([] if labels is None else labels)
    y = y.argmax(axis=1) if is_one_hot(y) else y.reshape(-1) if y.ndim == 2 and y.shape[1] == 1 else y
    if y.ndim != 1 or len(y) < 2 or y.dtype.kind not in "iubfUS":
        return False
    _, counts = np.unique(y, return_counts=True)
    changes, expected = y[1:] != y[:-1], 1 - ((counts / len(y)) ** 2).sum()
    return 1 < len(counts) < len(y) and bool(changes.sum() == len(counts) - 1 or changes.mean() < expected / 10)


def random_tenth(split: Split, part: str) -> tuple[np.ndarray, np.ndarray]:
    """Nine tenths of the rows, shuffled, and the other tenth, which holds the classes in proportion."""
    order = Stream(0, f"hold out {part}").permutation(len(split))
    labels = next((split.values(name) for name, field in split.fields.items() if isinstance(field, Labels)), None)
    # Every tenth of the shuffled rows, which are first sorted by class if there are labels.
    by_class = np.arange(len(order)) if labels is None else labels[order].argsort(kind="stable")
    held_out = np.zeros(len(order), bool)
    held_out[by_class[9::10] if len(order) >= 10 else by_class[-1:]] = True
    return order[~held_out], order[held_out]


def _refuse_differences(fields: Mapping[str, Field], parts: Mapping[str, Mapping[str, Any]]) -> None:
    """DataError if a part lacks a field that another part has, or has an array without a field."""
    if "train" not in parts:
        raise DataError("there are no training data")
    for part, arrays in parts.items():
        if unknown := sorted(arrays.keys() - fields.keys()):
            raise DataError(f"{unknown[0]}_{part} is there, but the fields are {', '.join(fields)}; add a field for it")
        for key in fields:
            if key not in arrays:
                present = next((f"{key}_{other}" for other in parts if key in parts[other]), f"the field {key}")
                raise DataError(f"{present} is there but {key}_{part} is not; add it, or leave both out")


def _stored(fields: Mapping[str, Field], part: str, arrays: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of a part; DataError for arrays that their fields refuse, or that differ in length."""
    columns = {}
    for key, field in fields.items():
        array = arrays[key]
        columns[key] = array if isinstance(array, Column) else field.store(f"{key}_{part}", array)
    (first, column), *others = columns.items()
    for key, other in others:
        if len(other) != len(column):
            counts = f"{key}_{part} holds {len(other)} examples and {first}_{part} {len(column)}"
            raise DataError(f"{counts}; there must be one for each")
    return columns
