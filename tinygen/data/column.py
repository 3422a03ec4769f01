"""Columns: stored values of a field that are not in memory, and are read when a batch needs them."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np


class Column(ABC):
    """Stored values of a field that are not in memory, such as images that are decoded when a batch needs them.

    A split takes it in place of an array. It returns values in the form that `store` of the field returns.
    """

    @abstractmethod
    def __len__(self) -> int:
        """Number of examples."""

    @abstractmethod
    def __getitem__(self, indices: Any) -> np.ndarray:
        """The examples at these positions, an array of integers or a slice: (n, ...)."""

    def prepare(self, indices: Any) -> None:
        """Start to read the examples at these positions, which will be needed soon, in the background."""
        return

    @abstractmethod
    def digest(self) -> bytes:
        """A digest, the same in every process. It changes when a value changes, as far as this can be found quickly."""


class BrokenExamples(Exception):
    """Some of the requested examples cannot be read, and the split is to take others in their places."""

    def __init__(self, positions: Sequence[int]):
        super().__init__(positions)
        self.positions = positions
        """Indices of the unreadable examples within the request."""


class Rows(Column):
    """A selection of the examples of another column, in a given order."""

    def __init__(self, column: Column, rows: np.ndarray):
        self.column, self.rows = column, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, indices: Any) -> np.ndarray:
        return self.column[self.rows[indices]]

    def prepare(self, indices: Any) -> None:
        self.column.prepare(self.rows[indices])

    def digest(self) -> bytes:
        return self.column.digest() + self.rows.astype("<i8").tobytes()


def take_rows(column: "np.ndarray | Column", rows: Any) -> "np.ndarray | Column":
    """The examples at these positions (integers or a slice), without reading a `Column` or copying a slice."""
    if isinstance(column, Rows):
        return Rows(column.column, column.rows[rows])
    return Rows(column, np.arange(len(column))[rows]) if isinstance(column, Column) else column[rows]
