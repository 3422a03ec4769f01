"""The options of a user for a reader, besides the path."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygen.arguments import plain
from tinygen.errors import UsageError

Size = tuple[int, int]


@dataclass(frozen=True)
class Request:
    """The options of `tinygen.data.load` that a reader may take."""

    name: str
    """Name of the data set."""
    fields: Mapping[str, str]
    """The source of each field: a key of the file, "key:kind", or ":kind"."""
    size: Size | None = None
    """Width and height to which pictures are scaled and then cropped in the centre; None: their own."""
    skip_broken: bool = False
    white: int | None = None
    """The integer that means 1 in pictures of a shipped file."""
    vocabulary: int | None = None
    """Number of different tokens of texts that are kept, the most frequent ones."""
    length: int | None = None
    """Number of tokens to which longer texts are cut."""

    @property
    def texts(self) -> dict[str, Any]:
        """Attributes of `Tokens` for a field of texts."""
        return {"limit": self.vocabulary, "length": self.length, "cut": True if self.length else None}


def parse_fields(fields: Mapping[str, str] | None) -> dict[str, str]:
    """The mapping as a dict; UsageError if it does not map names to keys."""
    sources = dict(fields or {})
    for name, source in sources.items():
        if not (isinstance(name, str) and isinstance(source, str) and name.isidentifier() and source.strip(": ")):
            raise UsageError(f"fields: {name!r} is {source!r}; give a name and a key of the file, such as x=photo")
    return sources


def parse_size(size: Any) -> Size | None:
    """Width and height from 64, (64, 48), "64" or "64x48"; UsageError for anything else."""
    if size is None:
        return None
    remedy = "give one number of pixels, or width and height, such as 64 or 64x48"
    if isinstance(size, str):
        if not re.fullmatch(r"\s*\d+\s*([x×,]\s*\d+\s*)?", size):
            raise UsageError(f"size is {size!r}; {remedy}")
        size = [int(number) for number in re.findall(r"\d+", size)]
    size = plain(size.tolist() if isinstance(size, np.ndarray) else size)
    numbers = [size] if isinstance(size, int) and not isinstance(size, bool) else size
    if not isinstance(numbers, list | tuple) or not all(type(n) is int for n in numbers) or len(numbers) not in (1, 2):
        raise UsageError(f"size is {size!r}; {remedy}")
    if not all(0 < n <= 16384 for n in numbers):
        raise UsageError(f"size is {'x'.join(map(str, numbers))}; {remedy}, from 1 to 16384")
    return numbers[0], numbers[-1]
