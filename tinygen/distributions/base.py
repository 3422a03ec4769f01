"""The base of distributions."""

from types import FunctionType
from typing import Any

from tinygen import random, words


class Distribution(words.Explained):
    """The base of distributions."""

    other_words = words.DISTRIBUTION

    def __init_subclass__(cls) -> None:
        for name, function in list(vars(cls).items()):
            if isinstance(function, FunctionType) and not name.startswith("_"):
                setattr(cls, name, words.explained(function))


def sizes(shape, *batch) -> tuple[int, ...]:
    """The shape of `shape` draws, a length or a tuple of them, from a batch of distributions."""
    return (*(shape if isinstance(shape, tuple | list) else (shape,)), *batch)


def stream_of(stream: random.Stream | None) -> Any:
    """The random stream that is given, or `train`."""
    return stream or random.stream("train")
