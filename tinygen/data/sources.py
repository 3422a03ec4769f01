"""Sources of batches: endless iterators whose exact position, a few integers, can be saved and restored.

`Loader` serves most systems. The others here: `WholeSplit` for expectation maximisation, `Unpaired` for two domains,
`SemiSupervised` for few labels, `Crops` for parts of large pictures and long sequences.
"""

import contextlib
import dataclasses
import operator
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from tinygen.data.batch import Batch
from tinygen.data.column import BrokenExamples, Column
from tinygen.data.fields import Clip, Field, Image, Labels, SegmentMap, Tokens, Wave
from tinygen.data.loader import Loader, refuse_other_data
from tinygen.data.split import Split
from tinygen.errors import DataError, UsageError
from tinygen.random import Stream


class Source(Protocol):
    """The interface of every source of batches."""

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches that together contain each example about once."""

    def __iter__(self) -> Iterator[Batch]: ...

    def __next__(self) -> Batch: ...

    def state(self) -> dict[str, Any]:
        """The position as a dict for JSON."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue at a saved `state`; UsageError if it was saved with other data or another batch size."""


class WholeSplit:
    """The whole split, in order, at each step: for algorithms that sum over all data, such as expectation maximisation.

    Binarisation and augmentation are drawn anew each time.
    """

    steps_per_epoch = 1

    def __init__(self, split: Split, *, seed: int):
        self.split, self.seed, self.epoch = split, operator.index(seed), 0

    def __iter__(self) -> "WholeSplit":
        return self

    def __next__(self) -> Batch:
        batch = self.split.batch(slice(None), Stream(self.seed, f"data/{self.epoch}/0"))
        self.epoch += 1
        return batch

    def state(self) -> dict[str, Any]:
        """The position as a dict for JSON: the split has been returned ``epoch`` times."""
        return {"seed": self.seed, "epoch": self.epoch, "examples": len(self.split)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue at a saved `state`; UsageError if it was saved with other data."""
        refuse_other_data(state, examples=len(self.split))
        self.seed, self.epoch = state["seed"], state["epoch"]


class _Combined:
    """A source whose batches combine those of several loaders."""

    def __init__(self, loaders: Mapping[str, Loader]):
        self._loaders = dict(loaders)

    @property
    def steps_per_epoch(self) -> int:
        """The batches of an epoch of the longest loader; the others start new epochs meanwhile."""
        return max(loader.steps_per_epoch for loader in self._loaders.values())

    def state(self) -> dict[str, Any]:
        """The position of each loader as a dict for JSON."""
        return {name: loader.state() for name, loader in self._loaders.items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue at a saved `state`; UsageError if it was saved with other data or another batch size."""
        if state.keys() != self._loaders.keys():
            raise UsageError(
                f"saved with {', '.join(state)}, but there are now {', '.join(self._loaders)}: use the same"
            )
        for name, loader in self._loaders.items():
            loader.restore(state[name])


class Unpaired(_Combined):
    """Batches of several domains, each in an order of its own, so that examples are not paired.

    >>> Unpaired({"x": horses.train, "target": zebras.train}, 16, seed=0)
    >>> Unpaired({"x": pairs.train, "target": pairs.train}, 16, seed=0)

    Each name takes the field of that name from its split, or the field x if there is none. Every domain has its own
    epochs.
    """

    def __init__(self, domains: Mapping[str, Split], batch_size: int, *, seed: int):
        self._fields = {name: name if name in split.fields else "x" for name, split in domains.items()}
        for name, split in domains.items():
            if self._fields[name] not in split.fields:
                raise UsageError(f"the split for {name} has neither {name} nor x, only {', '.join(split.fields)}")
        super().__init__(
            {
                name: Loader(split.only(self._fields[name]), batch_size, seed=seed, stream=f"data {name}")
                for name, split in domains.items()
            }
        )

    def __iter__(self) -> "Unpaired":
        return self

    def __next__(self) -> Batch:
        return Batch({name: next(loader)[self._fields[name]] for name, loader in self._loaders.items()})


class SemiSupervised(_Combined):
    """Batches that join a few labelled examples with examples without labels.

    ``labelled`` examples, equally many of each class, keep their labels; the seed decides which. A batch has the
    fields of labelled examples under their names, and those of unlabelled ones as unlabelled_x and so on.
    """

    def __init__(
        self,
        split: Split,
        batch_size: int,
        *,
        labelled: int,
        labelled_batch_size: int | None = None,
        seed: int,
        label: str = "y",
    ):
        if not isinstance(split.fields.get(label), Labels):
            raise UsageError(f"{label} must be a field of labels; the fields are {', '.join(split.fields)}")
        if len(split.fields) == 1:
            raise UsageError(f"there is no field beside {label}: examples without labels would be empty")
        self.split, self.label, self.labelled = split, label, operator.index(labelled)
        self._sizes = {"labelled": min(labelled, labelled_batch_size or batch_size), "unlabelled": batch_size}
        super().__init__(self._make_loaders(seed))

    def _make_loaders(self, seed: int) -> dict[str, Loader]:
        rows = _balanced(self.split.values(self.label), self.labelled, Stream(seed, "data labelled"))
        rest = self.split.rows(np.setdiff1d(np.arange(len(self.split)), rows))
        others = [name for name in self.split.fields if name != self.label]
        parts = {"labelled": self.split.rows(rows), "unlabelled": rest.only(*others)}
        return {n: Loader(part, self._sizes[n], seed=seed, stream=f"data {n}") for n, part in parts.items()}

    @property
    def labelled_split(self) -> Split:
        """The examples that keep their labels."""
        return self._loaders["labelled"].split

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue at a saved `state`, with the same labelled examples; UsageError if it was saved with other data."""
        self._loaders = self._make_loaders(state["labelled"]["seed"])
        super().restore(state)

    def __iter__(self) -> "SemiSupervised":
        return self

    def __next__(self) -> Batch:
        unlabelled = next(self._loaders["unlabelled"])
        return Batch(next(self._loaders["labelled"]), **{f"unlabelled_{name}": v for name, v in unlabelled.items()})


def _balanced(labels: np.ndarray, n: int, stream: Stream) -> np.ndarray:
    """The rows of n examples in which no class is more frequent than another by more than one."""
    classes = np.unique(labels)
    if not len(classes) <= n < len(labels):
        raise UsageError(f"labelled is {n}; use {len(classes)} (one for each class) to {len(labels) - 1}")
    order = stream.permutation(len(labels))
    shuffled = labels[order]
    nth_of_its_class = np.empty(len(labels), np.int64)
    for label in classes:
        nth_of_its_class[shuffled == label] = np.arange((shuffled == label).sum())
    return np.sort(order[nth_of_its_class.argsort(kind="stable")[:n]])


class Crops:
    """Batches of random parts: windows of pictures, or stretches of waves and tokens.

    Each example occurs ``per_example`` times in an epoch, each time with a part at a random position. All pictures of
    an example are cut at the same position, and so are its waves; labels and other fields are left whole. ``size`` is
    the (height, width) of windows, or the length of stretches. A stretch does not reach into the padding at the end of
    a wave or a sequence of tokens, unless the example is shorter. Examples of a `Column` are read one by one.

    ``before``: so many samples in front of each stretch of a wave belong to it, too; before a wave there is silence.
    Then stretches begin and end with the wave so often that its first and last samples are about as frequent as others.
    """

    def __init__(
        self,
        split: Split,
        batch_size: int,
        size: int | Sequence[int],
        *,
        per_example: int = 1,
        before: int = 0,
        seed: int,
    ):
        self.split, self.before = split, operator.index(before)
        self.cut = {name: field for name, field in split.fields.items() if _is_cut(field)}
        self.size = _checked_size(self.cut, size)
        self.fields = {name: _cropped(field, self.size, self.before) for name, field in split.fields.items()}
        """The fields of a batch, for the specification of a model."""
        self._places = operator.index(per_example)
        rows = _Rows(len(split) * self._places)
        self._loader = Loader(rows, batch_size, seed=seed)  # type: ignore[arg-type]

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches of an epoch."""
        return self._loader.steps_per_epoch

    def __iter__(self) -> "Crops":
        return self

    def __next__(self) -> Batch:
        rows, stream = next(self._loader)["rows"]  # type: ignore[misc]
        examples = rows // self._places
        parts: dict[str, list[np.ndarray]] = {name: [] for name in self.cut}
        for i, uniforms in enumerate(stream.uniform((len(rows), 2))):
            examples[i], example_parts = self._readable(int(examples[i]), uniforms)
            for name, part in example_parts.items():
                parts[name].append(part)
        values = {name: self.fields[name].value(np.concatenate(each)) for name, each in parts.items()}
        others = {n: f.value(self.split.columns[n][examples]) for n, f in self.fields.items() if n not in parts}
        batch = Batch({name: values[name] if name in values else others[name] for name in self.fields})
        return self.split.augment(self.fields, batch, stream) if self.split.augment else batch

    def _readable(self, example: int, uniforms: np.ndarray) -> tuple[int, dict[str, np.ndarray]]:
        """The position and the parts of the first example, from this position on, that can be read."""
        for each in range(example, example + len(self.split)):
            with contextlib.suppress(BrokenExamples):
                return each % len(self.split), self._parts(each % len(self.split), uniforms)
        raise DataError(f"none of the {len(self.split)} examples can be read; put intact files in their places")

    def _parts(self, example: int, uniforms: np.ndarray) -> dict[str, np.ndarray]:
        """The stored part of each field of one example (1, ...), at the position that two uniform numbers give."""
        parts = {}
        for name, field in self.cut.items():
            column = self.split.columns[name]
            stored = column[np.array([example])] if isinstance(column, Column) else column[example : example + 1]
            first = 2 if isinstance(field, Clip) else 1
            lengths = [_length(field, stored)] if len(self.size) == 1 else stored.shape[first : first + 2]
            margins = [n // 2 if self.before else 0 for n in self.size]
            rooms = [max(0, length - n) for length, n in zip(lengths, self.size, strict=False)]
            starts = [
                min(max(0, int(u * (room + 1 + 2 * margin)) - margin), room)
                for u, room, margin in zip(uniforms, rooms, margins, strict=False)
            ]
            window = [slice(start, start + n) for start, n in zip(starts, self.size, strict=True)]
            parts[name] = stored[(slice(None),) * first + tuple(window)]
            if isinstance(field, Wave) and self.before:
                parts[name] = np.concatenate([_before(field, stored, starts[0], self.before), parts[name]], axis=1)
        return parts

    def state(self) -> dict[str, Any]:
        """The position as a dict for JSON."""
        return self._loader.state() | {"size": list(self.size)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue at a saved `state`; UsageError if it was saved with other data, batches or sizes."""
        refuse_other_data(state, size=list(self.size))
        self._loader.restore(state)


class _Rows:
    """Takes the place of a split in a loader, whose batches are then row numbers and a random stream."""

    def __init__(self, n: int):
        self._n = n

    def __len__(self) -> int:
        return self._n

    def prepare(self, rows: np.ndarray) -> None:
        return

    def batch(self, rows: np.ndarray, stream: Stream) -> dict[str, Any]:
        return {"rows": (rows, stream)}


def _is_cut(field: Field) -> bool:
    return isinstance(field, Image | SegmentMap | Clip | Wave | Tokens)


def _checked_size(cut: Mapping[str, Field], size: int | Sequence[int]) -> tuple[int, ...]:
    """The size as a tuple; UsageError if it does not fit every field that is cut."""
    sizes = tuple(map(operator.index, size if isinstance(size, Sequence) else (size,)))
    if not cut:
        raise UsageError("there are no pictures, waves or tokens to cut")
    for name, field in cut.items():
        lengths = field.shape if isinstance(field, Wave | Tokens) else _height_width(field)
        if len(sizes) != len(lengths):
            kind = "(height, width)" if len(lengths) == 2 else "one length"
            raise UsageError(f"size is {size}; of {name}, {field.in_words()}, give {kind}")
        if not all(0 < n <= full for n, full in zip(sizes, lengths, strict=True)):
            raise UsageError(f"size is {size}; parts of {name} are at most {' x '.join(map(str, lengths))}")
    return sizes


def _height_width(field: Any) -> tuple[int, int]:
    return field.height, field.width


def _cropped(field: Field, size: tuple[int, ...], before: int) -> Field:
    """The field with the size of the parts."""
    if isinstance(field, Wave):
        return dataclasses.replace(field, samples=before + size[0])
    if isinstance(field, Tokens):
        return dataclasses.replace(field, length=size[0])
    if isinstance(field, Image | SegmentMap | Clip):
        return dataclasses.replace(field, height=size[0], width=size[1])
    return field


def _before(field: Wave, stored: np.ndarray, start: int, n: int) -> np.ndarray:
    """The n samples in front of a position of a stored sound, (1, n); silence before its beginning."""
    known = stored[:, max(0, start - n) : start]
    return np.pad(known, ((0, 0), (n - known.shape[1], 0)), constant_values=field.silence)


def _length(field: Field, stored: np.ndarray) -> int:
    """Steps of one stored sequence (1, steps) without the padding at its end: silence, or -1."""
    return int((field.lengths(stored) if isinstance(field, Wave) else (stored >= 0).sum(axis=1))[0])
