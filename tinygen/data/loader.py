"""Endless shuffled batches, with a position that is a few integers."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from tinygen.arguments import whole
from tinygen.data.batch import Batch
from tinygen.data.split import Split
from tinygen.errors import UsageError
from tinygen.random import Stream

BATCHES_AHEAD = 2
"""How many batches are read in advance, if the examples are not in memory."""


class Loader:
    """An infinite iterator of batches, in an order that depends on (seed, epoch, batch) alone.

    Each epoch is a new permutation; the examples at its end that do not fill a batch are dropped. Loaders with
    different names of ``stream`` have different orders. Raises UsageError if the split is smaller than one batch.
    """

    def __init__(self, split: Split, batch_size: int, *, seed: int, stream: str = "data"):
        self.split, self.stream = split, stream
        self.batch_size = whole("batch size", batch_size, None)
        self.seed = whole("seed", seed, None)
        n = len(split)
        if not 0 < self.batch_size <= n:
            raise UsageError(f"batch size {batch_size} does not fit {n} training examples: use 1 to {n}")
        self.epoch = self.index = 0
        self._orders: dict[int, np.ndarray] = {}

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in the split."""
        return len(self.split) // self.batch_size

    def __iter__(self) -> "Loader":
        return self

    def __next__(self) -> Batch:
        if self.index == self.steps_per_epoch:
            self.epoch, self.index = self.epoch + 1, 0
        for ahead in range(1 + BATCHES_AHEAD):
            self.split.prepare(self._rows(ahead))
        draws = Stream(self.seed, f"{self.stream}/{self.epoch}/{self.index}")
        batch = self.split.batch(self._rows(0), draws)
        self.index += 1
        return batch

    def state(self) -> dict[str, int]:
        """The position as a dict for JSON: ``index`` batches of ``epoch`` have been returned."""
        return {
            "seed": self.seed,
            "epoch": self.epoch,
            "index": self.index,
            "batch_size": self.batch_size,
            "examples": len(self.split),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue at a saved `state`. Raises UsageError if it was saved with other data or another batch size."""
        refuse_other_data(state, batch_size=self.batch_size, examples=len(self.split))
        self.seed, self.epoch, self.index = state["seed"], state["epoch"], state["index"]
        self._orders = {}

    def _rows(self, ahead: int) -> np.ndarray:
        """Positions in the split of the examples of a batch: the next one, or one that comes `ahead` batches later."""
        epochs, index = divmod(self.index + ahead, self.steps_per_epoch)
        return self._order(self.epoch + epochs)[index * self.batch_size : (index + 1) * self.batch_size]

    def _order(self, epoch: int) -> np.ndarray:
        """The permutation of an epoch, kept until the epoch is over."""
        if epoch not in self._orders:
            needed = {each: order for each, order in self._orders.items() if each >= self.epoch}
            order = Stream(self.seed, f"{self.stream}/{epoch}").permutation(len(self.split))
            self._orders = needed | {epoch: order}
        return self._orders[epoch]


def refuse_other_data(state: Mapping[str, Any], **present: Any) -> None:
    """UsageError if a saved position differs from the present data in one of the named values."""
    for name, value in present.items():
        if state[name] != value:
            raise UsageError(f"saved with {name} {state[name]}, but it is now {value}: use the same data")
