"""Stored values of one field: a NumPy array, or values that are made when they are asked for."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np


class Column(ABC):
    """Stored values that are not in memory, such as images that are decoded when a batch asks for them.

    A split takes it wherever it takes an array. What it returns has the form that the field's `store` gives.
    """

    @abstractmethod
    def __len__(self) -> int:
        """Number of examples."""

    @abstractmethod
    def __getitem__(self, indices: Any) -> np.ndarray:
        """The examples at these positions, an array of integers or a slice: (n, ...)."""

    def prepare(self, indices: Any) -> None:
        """Begin to make the examples at these positions, which will be asked for soon."""
        return

    @abstractmethod
    def digest(self) -> bytes:
        """Bytes that change when a value does, as well as can be told; the same in every process."""


class BrokenExamples(Exception):
    """Some of the examples that were asked for cannot be read, and others are to take their places."""

    def __init__(self, positions: Sequence[int]):
        super().__init__(positions)
        self.positions = positions
        """Where they stand among those that were asked for."""


class Rows(Column):
    """Some examples of another column, in an order of their own."""

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
    """Examples at these positions, integers or a slice, without reading a `Column`; a slice of an array is a view."""
    if isinstance(column, Rows):
        return Rows(column.column, column.rows[rows])
    return Rows(column, np.arange(len(column))[rows]) if isinstance(column, Column) else column[rows]
