"""Random numbers for Markov chains: for a training step, or for chains that are the same however many are run."""

from collections.abc import Callable
from typing import Any

from tinygen import random
from tinygen.models.base import draw_rows

Shape = tuple[int, int]


class Draws:
    """Random arrays on a device, from one stream."""

    def __init__(self, stream: random.Stream, device: str):
        self.stream, self.device = stream, device

    def uniform(self, shape: Shape) -> Any:
        return self.stream.uniform(shape, device=self.device)

    def normal(self, shape: Shape) -> Any:
        return self.stream.normal(shape, device=self.device)


class DrawsByRow:
    """As `Draws`, but row i of an array (rows, size) is the same however many rows there are.

    Each array comes from a stream of its own, named by its number.
    """

    def __init__(self, seed: int, name: str, device: str):
        self.seed, self.name, self.device, self.arrays = seed, name, device, 0

    def uniform(self, shape: Shape) -> Any:
        return self._drawn(self._next().uniform, shape)

    def normal(self, shape: Shape) -> Any:
        return self._drawn(self._next().normal, shape)

    def _next(self) -> random.Stream:
        self.arrays += 1
        return random.Stream(self.seed, f"{self.name} {self.arrays}")

    def _drawn(self, draw: Callable[..., Any], shape: Shape) -> Any:
        return draw_rows(draw, *shape, self.device)
