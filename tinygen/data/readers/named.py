"""A data set from named arrays, those of an `.npz` or of another file."""

import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from tinygen.data.dataset import Dataset, in_blocks, last_tenth, random_tenth
from tinygen.data.fields import Field
from tinygen.data.fields.numbering import is_one_hot
from tinygen.data.notices import say_once
from tinygen.data.readers import waves
from tinygen.data.readers.keys import CLASS_NAMES, HELPER_KEYS, LABELS, Chosen, Header, by_part, choose
from tinygen.data.readers.kinds import KINDS, TEXTS, as_given, make_field, split_source
from tinygen.data.readers.request import Request
from tinygen.errors import DataError, UsageError


def from_arrays(arrays: dict[str, Any], request: Request) -> Dataset:
    """Make the data set of arrays in memory, by the rules of `.npz` files."""
    by_key = {key: np.asarray(array) for key, array in arrays.items()}
    named = NamedArrays(by_key, lambda key: Header(by_key[key].shape, by_key[key].dtype), by_key.__getitem__)
    return named.dataset(request)


class NamedArrays:
    """The arrays of a file by their keys; values are read when they are needed, shapes and dtypes at once."""

    def __init__(self, keys: Iterable[str], header: Callable[[str], Header], read: Callable[[str], np.ndarray]):
        self.keys = list(keys)
        self.parts = by_part(self.keys)
        self.headers = {name: header(parts["train"]) for name, parts in self.parts.items() if "train" in parts}
        self.header, self.read = header, read
        self.used: set[str] = set()

    def dataset(self, request: Request) -> Dataset:
        """Make the data set; a note on keys that no field uses is printed once."""
        chosen = self.choose(request.fields)
        if not chosen.sources:
            listed = ", ".join(sorted(self.keys)[:8]) or "nothing"
            kinds = ", ".join(KINDS)
            remedy = f"name one as a field, such as x=KEY:KIND with one of {kinds}"
            raise DataError(f"the file holds {listed}; a data set needs x_train and x_test, or x: {remedy}")
        if (request.vocabulary or request.length) and not any(kind in TEXTS for _, kind in chosen.sources.values()):
            raise UsageError("vocabulary and length are for texts, and no field holds texts; leave them out")
        parts: dict[str, dict[str, Any]] = {"train": {}, "valid": {}, "test": {}}
        fields = {}
        for name, (key, kind) in chosen.sources.items():
            fields[name] = self._field(name, key, kind, request)
            for part, each in self.parts[key].items():
                parts[part][name] = as_given(kind, self._cut(key, kind, self._read(each)))
        if chosen.sources.get("x", ("", ""))[1] == "wave":
            self._divide_by_take(parts)
        self._note_choices(chosen, request.name)
        by_position = chosen.sources.get("x", ("",))[0] == "x" and not in_blocks(parts["train"].get("y"))
        hold_out = last_tenth if by_position else None
        return Dataset.from_fields(request.name, fields, **parts, hold_out=hold_out or random_tenth)

    def choose(self, wanted: Mapping[str, str]) -> Chosen:
        """Choose the key of each field; x and y come first."""
        chosen = choose(wanted, self.headers)
        for name, (key, kind) in chosen.sources.items():
            if key in LABELS and kind == "attributes" and not split_source(wanted.get(name, ""))[1]:
                one_hot = is_one_hot(self.read(self.parts[key]["train"]))
                chosen.sources[name] = key, "labels" if one_hot else kind
        if "x" not in chosen.sources:
            self._choose_text(chosen)
        first = {name: chosen.sources[name] for name in ("x", "y") if name in chosen.sources}
        chosen.sources = first | chosen.sources
        return chosen

    def _read(self, key: str) -> np.ndarray:
        self.used.add(key)
        return self.read(key)

    def _field(self, name: str, key: str, kind: str, request: Request) -> Field:
        facts: dict[str, Any] = {"white": request.white if name == "x" else None}
        facts["texts"] = request.texts
        candidates = [f"{key}_names", *(CLASS_NAMES if name == "y" or key in LABELS[:3] else ())]
        present = [each for each in candidates if each in self.keys]
        if kind in ("labels", "attributes", "map") and present:
            facts["names"] = self._read(present[0])
        if kind in TEXTS and f"{key}_vocabulary" in self.keys:
            facts["vocabulary"] = self._read(f"{key}_vocabulary")
        if kind in ("indexed", "map") and "palette" in self.keys:
            facts["palette"] = self._read("palette")
        if kind == "wave" and "rate" in self.keys and (rate := self._read("rate")).size == 1:
            facts["rate"] = int(rate.item())
        return make_field(kind, facts)

    def _cut(self, key: str, kind: str, array: np.ndarray) -> Any:
        """The array itself, or the list of clips wave[offset[i] : offset[i + 1]] of a single long wave."""
        if kind != "wave" or array.ndim != 1:
            return array
        if "offset" not in self.keys:
            raise DataError(f"{key} is one long wave: give offset, where each clip starts and the last one ends")
        offset = self._read("offset")
        if offset.ndim != 1 or offset.dtype.kind not in "iu" or len(offset) < 2 or (np.diff(offset) < 0).any():
            raise DataError("offset does not say where clips start; it holds integers that grow, the end included")
        if offset[0] < 0 or offset[-1] > len(array):
            raise DataError(f"offset goes from {offset[0]} to {offset[-1]}, but {key} has {len(array)} samples")
        return [array[start:stop] for start, stop in itertools.pairwise(offset)]

    def _divide_by_take(self, parts: dict[str, dict[str, Any]]) -> None:
        """Move the first recordings of sounds to test, where `take` numbers them and no other part is given."""
        if "take" not in self.keys or parts["valid"] or parts["test"]:
            return
        is_test, train = waves.is_of_test(self._read("take")), parts["train"]
        n = len(train["x"])
        if is_test.shape != (n,):
            raise DataError(f"take has shape {is_test.shape}; it numbers each of the {n} recordings: (N,)")
        if is_test.any():
            for part, rows in (("train", np.flatnonzero(~is_test)), ("test", np.flatnonzero(is_test))):
                parts[part] = {name: [values[i] for i in rows] for name, values in train.items()}

    def _choose_text(self, chosen: Chosen) -> None:
        """Choose as x the first array that holds lines of UTF-8 as uint8."""
        for key, header in self.headers.items():
            flat = len(header.shape) == 1 and header.dtype == np.uint8 and not chosen.taken(key)
            if flat and key not in HELPER_KEYS and _is_text(self.read(self.parts[key]["train"])):
                chosen.sources["x"] = key, TEXTS[0]
                chosen.guessed.append("x")
                return

    def _note_choices(self, chosen: Chosen, name: str) -> None:
        unused = [key for key in self.keys if key not in self.used]
        guessed = [f"{field} is {chosen.sources[field][0]}" for field in chosen.guessed]
        notes = [", ".join(guessed)] if guessed else []
        notes += [f"no field takes {', '.join(unused)}"] if unused else []
        if notes:
            say_once(f"{name}: {'; '.join(notes)} (choose with fields: x=KEY or x=KEY:KIND)")


def _is_text(array: np.ndarray) -> bool:
    """Whether bytes are lines of text: no control characters, and a line break."""
    if not (array == 10).any() or ((array < 32) & ~np.isin(array, (9, 10, 13))).any():
        return False
    try:
        array.tobytes().decode()
    except UnicodeDecodeError:
        return False
    return True
