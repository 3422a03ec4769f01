"""Endless shuffled batches, from a cursor of a few integers."""

import operator
from collections.abc import Mapping
from typing import Any

from tinygen.data.batch import Batch
from tinygen.data.split import Split
from tinygen.errors import UsageError
from tinygen.random import Stream

AHEAD = 2
"""Batches whose examples are being read, where they are not in memory, while one is used."""


class Loader:
    """An infinite iterator of batches, in an order that (seed, epoch, batch) alone decide.

    Each epoch is a fresh permutation; examples left over at its end, fewer than a batch, are dropped from
    it. Raises UsageError where the split is smaller than one batch. Loaders with other names of ``stream`` have other
    orders.
    """

    def __init__(self, split: Split, batch_size: int, *, seed: int, stream: str = "data"):
        self.split, self.stream = split, stream
        self.batch_size = operator.index(batch_size)
        self.seed = operator.index(seed)
        n = len(split)
        if not 0 < self.batch_size <= n:
            raise UsageError(f"batch size {batch_size} does not fit {n} training examples: use 1 to {n}")
        self._start_epoch(0)

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in the split."""
        return len(self.split) // self.batch_size

    def __iter__(self) -> "Loader":
        return self

    def __next__(self) -> Batch:
        if self.index == self.steps_per_epoch:
            self._start_epoch(self.epoch + 1)
        for ahead in range(self.index, min(self.index + 1 + AHEAD, self.steps_per_epoch)):
            self.split.prepare(self._rows(ahead))
        draws = Stream(self.seed, f"{self.stream}/{self.epoch}/{self.index}")
        batch = self.split.batch(self._rows(self.index), draws)
        self.index += 1
        return batch

    def state(self) -> dict[str, int]:
        """The cursor, fit for JSON: ``index`` batches of ``epoch`` have been handed out."""
        return {
            "seed": self.seed,
            "epoch": self.epoch,
            "index": self.index,
            "batch_size": self.batch_size,
            "examples": len(self.split),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken. Raises UsageError where that was on other data or batches."""
        refuse_other_data(state, batch_size=self.batch_size, examples=len(self.split))
        self.seed = state["seed"]
        self._start_epoch(state["epoch"])
        self.index = state["index"]

    def _rows(self, index: int) -> Any:
        return self._order[index * self.batch_size : (index + 1) * self.batch_size]

    def _start_epoch(self, epoch: int) -> None:
        self.epoch, self.index = epoch, 0
        self._order = Stream(self.seed, f"{self.stream}/{epoch}").permutation(len(self.split))


def refuse_other_data(state: Mapping[str, Any], **here: Any) -> None:
    """UsageError where a saved cursor has other values than these."""
    for name, value in here.items():
        if state[name] != value:
            raise UsageError(f"saved with {name} {state[name]}, but it is now {value}: use the same data")
