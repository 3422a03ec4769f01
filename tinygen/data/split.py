"""One part of a data set: stored values of each field, and batches of them."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from tinygen import random
from tinygen.data.augment import Augment
from tinygen.data.batch import Batch
from tinygen.data.column import BrokenExamples, Column, take_rows
from tinygen.data.fields import Field
from tinygen.errors import DataError
from tinygen.random import Stream


class Split:
    """Stored values for each field, an array or a `Column` of the same length each.

    ``augment`` changes each batch at random when it is read.
    """

    def __init__(
        self,
        fields: Mapping[str, Field],
        columns: Mapping[str, np.ndarray | Column],
        augment: Augment | None = None,
    ):
        self.columns = dict(columns)
        self.fields = {name: fields[name] for name in self.columns}
        self.augment = augment

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def batch(self, indices: Any, stream: Stream | None = None) -> Batch:
        """The examples at these positions (integers or a slice), in the form that `value` of each field returns.

        Binarisation and augmentation draw from ``stream``, by default the stream ``data`` of this thread.
        """
        batch = self._read(indices)
        return self.augment(self.fields, batch, stream or random.stream("data")) if self.augment else batch

    def batches(self, size: int) -> Iterator[Batch]:
        """Yield the whole split in order, not augmented, in batches of ``size`` examples; the last one has the rest."""
        for start in range(0, len(self), size):
            self.prepare(slice(start, start + size))
            self.prepare(slice(start + size, start + 2 * size))
            yield self._read(slice(start, start + size))

    def prepare(self, indices: Any) -> None:
        """Start to read the examples at these positions in the background, if they are not in memory."""
        for column in self.columns.values():
            if isinstance(column, Column):
                column.prepare(indices)

    def _read(self, indices: Any) -> Batch:
        """Read the examples at these positions; an unreadable one, if such are skipped, is replaced by the next one."""
        for _ in range(len(self) + 1):
            try:
                return Batch({name: self.fields[name].value(column[indices]) for name, column in self.columns.items()})
            except BrokenExamples as broken:
                indices = np.arange(len(self))[indices]
                indices[broken.positions] = (indices[broken.positions] + 1) % len(self)
        raise DataError(f"none of the {len(self)} examples can be read; put intact files in their places")

    def values(self, name: str) -> Any:
        """One field of all examples, in the form that a batch has; no other field is read."""
        return self.fields[name].value(self.columns[name][:])

    def rows(self, rows: Any) -> "Split":
        """The examples at these positions (integers or a slice), as a split."""
        columns = {name: take_rows(column, rows) for name, column in self.columns.items()}
        return type(self)(self.fields, columns, self.augment)

    def only(self, *names: str) -> "Split":
        """The split with these fields alone; the others are not read."""
        return type(self)(self.fields, {name: self.columns[name] for name in names}, self.augment)

    def slice(self, start: int, stop: int) -> "Split":
        """The examples from ``start`` up to ``stop``, without a copy."""
        return self.rows(slice(start, stop))

    def take(self, n: int) -> "Split":
        """The first n examples, or all of them where there are fewer."""
        return self.slice(0, n)

    def add_to_digest(self, digest: Any) -> None:
        """Update a hash of `hashlib` with all that is stored."""
        for name, column in sorted(self.columns.items()):
            if isinstance(column, Column):
                digest.update(f"{name} {len(column)}".encode() + column.digest())
            else:
                digest.update(f"{name} {column.dtype} {column.shape}".encode())
                digest.update(np.ascontiguousarray(column).data)
