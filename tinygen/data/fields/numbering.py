"""Classes that are given as any integers, and are numbered anew from 0 in their order."""

from collections.abc import Sequence

import numpy as np

from tinygen.errors import DataError


def positions(where: str, values: np.ndarray, ids: Sequence[int]) -> np.ndarray:
    """The position of each value among the ids, int64; DataError for a value that is not among them."""
    known = np.array(ids)
    found = np.searchsorted(known, values).clip(max=len(known) - 1)
    if unknown := values[known[found] != values].tolist():
        raise DataError(f"{where} holds the label {unknown[0]}, of which train has no example: remove it")
    return found.astype(np.int64)


def in_words(ids: Sequence[int], what: str = "no example has the label") -> str:
    """A sentence on how integers were numbered anew, and on those that do not occur."""
    gaps = zip((-1, *ids), ids, strict=False)
    ranges = [(low + 1, high - 1) for low, high in gaps if high - low > 1]
    words = [str(low) if low == high else f"{low} to {high}" for low, high in ranges[:5]]
    missing = ", ".join(words) + (", ..." if len(ranges) > 5 else "")
    first, last = ids[0], ids[-1]
    if first == last:
        return f"{what} {missing}; {first} is now the only class, 0"
    return f"{what} {missing}; {first} to {last} are now the classes 0 to {len(ids) - 1}"


def is_one_hot(array: np.ndarray) -> bool:
    """Whether each row (N, classes) has a single 1 and is 0 elsewhere."""
    if array.ndim != 2 or array.shape[1] < 2 or array.dtype.kind not in "iubf" or not len(array):
        return False
    return bool(((array == 0) | (array == 1)).all() and (array.sum(axis=1) == 1).all())
