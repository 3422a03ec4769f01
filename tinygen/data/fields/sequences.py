"""Fields of sequences: tokens, and sound."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from tinygen.data.batch import Padded
from tinygen.data.fields import sound
from tinygen.data.fields.base import Field, as_strings, note, smallest_unsigned, with_rest
from tinygen.data.notices import say_once
from tinygen.errors import DataError

UNKNOWN = "<unk>"
"""The token that replaces all tokens outside the vocabulary."""

MOST_TOKENS = 1 << 20
"""Integers from this on are taken to be identifiers, and not positions in a vocabulary."""


@dataclass(frozen=True)
class Tokens(Field):
    """Sequences of at most `length` tokens, each a position in the vocabulary.

    Given as strings, or as integers: (N, T) with -1 after the end of shorter sequences, or a list of sequences.
    Stored as int32 (N, length), with -1 in the same way. In a batch a `Padded` of int64 (N, length).
    """

    vocabulary: tuple[str, ...] | None = None
    """The text of each token. Other tokens are replaced by `UNKNOWN` if it is among these, else refused."""
    length: int | None = None
    """Number of tokens of the longest sequence."""
    separator: str = note("")
    """The text between two tokens of a string: "" for characters, " " for words."""
    limit: int | None = note()
    """The most tokens of a vocabulary made from strings, besides `UNKNOWN`: the most frequent ones are kept."""
    cut: bool | None = note()
    """Whether sequences of more than `length` tokens are cut instead of refused."""
    is_picture = False
    samples_shown = 20

    def __post_init__(self):
        self._set(vocabulary=as_strings(self.vocabulary))

    @property
    def shape(self):
        return (self.length,)

    @property
    def unknown(self) -> int | None:
        """The position of `UNKNOWN` in the vocabulary; None if it is not there."""
        return self._ids.get(UNKNOWN)

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {token: i for i, token in enumerate(self.vocabulary or ())}

    def fit(self, arrays):
        examples = [example for where, array in arrays.items() for example in self._examples(where, array)]
        if not examples:
            return self
        counts = Counter(token for example in examples for token in example)
        if isinstance(next(iter(counts), ""), str):
            vocabulary = sorted(counts)
            if self.limit is not None and len(counts) > self.limit:
                frequent = sorted(counts.keys() - {UNKNOWN}, key=lambda token: (-counts[token], token))[: self.limit]
                vocabulary = sorted({*frequent, UNKNOWN})
        else:
            if max(counts) >= MOST_TOKENS:
                remedy = f"number the tokens from 0, below {MOST_TOKENS}"
                raise DataError(f"{next(iter(arrays))} holds the token {max(counts)}: {remedy}")
            vocabulary = list(map(str, range(1 + max(counts))))
        return self._with(vocabulary=vocabulary, length=max(map(len, examples)))

    def store(self, where, array):
        examples = list(self._examples(where, array))
        if not examples:
            raise DataError(f"{where} holds no sequences")
        longest = max(map(len, examples))
        if self.length is not None and longest > self.length:
            if not self.cut:
                raise DataError(f"{where} holds a sequence of {longest} tokens; the longest may have {self.length}")
            longer = sum(len(example) > self.length for example in examples)
            say_once(f"{where}: {longer} of {len(examples)} sequences are cut to their first {self.length} tokens")
            examples = [example[: self.length] for example in examples]
        stored = np.full((len(examples), longest if self.length is None else self.length), -1, np.int32)
        for row, example in zip(stored, examples, strict=True):
            row[: len(example)] = [self._id(where, token) for token in example]
        self._say_unknown(where, examples)
        return stored

    def _say_unknown(self, where: str, examples: list[list]) -> None:
        tokens = [token for example in examples for token in example if isinstance(token, str)]
        if unknown := sum(token not in self._ids for token in tokens):
            say_once(f"{where}: {unknown} of {len(tokens)} tokens are not in the vocabulary; they count as {UNKNOWN}")

    def _examples(self, where: str, array: Any) -> Iterator[list]:
        """Yield the tokens of each example, a list of strings or of integers."""
        for example in array:
            if isinstance(example, str):
                yield self.split(example)
                continue
            ids = np.asarray(example)
            if ids.ndim != 1 or (ids.dtype.kind not in "iu" and ids.size):
                form = f"an example of shape {ids.shape} and dtype {ids.dtype}"
                raise DataError(f"{where} holds {form}; tokens are strings, or integers of shape (N, T)")
            yield _before_end(ids).tolist()

    def split(self, text: str) -> list[str]:
        """The tokens of a string."""
        if self.separator == " ":  # any white space
            return text.split()
        return text.split(self.separator) if self.separator else list(text)

    def _id(self, where: str, token: str | int) -> int:
        if isinstance(token, str):
            if token not in self._ids:
                if self.unknown is not None:
                    return self.unknown
                raise DataError(f"{where} holds the token {token!r}, which is not in the vocabulary: add it")
            return self._ids[token]
        if not 0 <= token < len(self.vocabulary or ()):
            size = len(self.vocabulary or ())
            raise DataError(f"{where} holds the token {token}; the {size} tokens of the vocabulary are 0 to {size - 1}")
        return token

    def value(self, stored):
        return Padded(np.maximum(stored, 0).astype(np.int64), (stored >= 0).sum(axis=1))

    def kept(self, values, keep):
        return Padded(values.values[:, :keep], np.minimum(values.length, keep))

    def draw(self, value):
        """The text of the tokens (T,) before the first -1."""
        return self.separator.join((self.vocabulary or ())[int(i)] for i in _before_end(np.asarray(value)))

    def in_words(self):
        if self.vocabulary is None:
            return "tokens"
        return f"sequences of up to {self.length} of {len(self.vocabulary)} tokens"


def _before_end(ids: np.ndarray) -> np.ndarray:
    """The tokens (T,) of a sequence before the first -1."""
    return ids[: np.argmax(ids == -1)] if (ids == -1).any() else ids


@dataclass(frozen=True)
class Wave(Field):
    """Sound of one channel: floats in [-1, 1], or integers that are mu-law levels already; (N, samples).

    Clips of a list may differ in length: shorter ones end in silence. Stored as mu-law levels (ITU-T G.711), whose
    number is that of van den Oord et al. 2016, arXiv:1609.03499, section 2.2; in a batch int64 (N, samples).
    """

    samples: int | None = None
    rate: int | None = None
    """Samples per second."""
    levels: int = 256
    is_sound = True
    samples_shown = 10
    completions_shown = 3

    @property
    def shape(self):
        return (self.samples,)

    def fit(self, arrays: Mapping[str, Any]):
        lengths = [len(clip) for array in arrays.values() for clip in array]
        return self._with(samples=max(lengths)) if lengths else self

    def store(self, where, array):
        clips = [self._as_levels(where, clip) for clip in array]
        if not clips:
            raise DataError(f"{where} holds no clips")
        longest = max(map(len, clips))
        if self.samples is not None and longest > self.samples:
            raise DataError(f"{where} holds a clip of {longest} samples; the longest may have {self.samples}")
        stored = np.full((len(clips), self.samples or longest), self.silence, smallest_unsigned(self.levels))
        for row, clip in zip(stored, clips, strict=True):
            row[: len(clip)] = clip
        return stored

    def _as_levels(self, where: str, clip: Any) -> np.ndarray:
        x = np.asarray(clip)
        if x.ndim != 1 or x.dtype.kind not in "iuf":
            raise DataError(f"{where} holds a clip of shape {x.shape} and dtype {x.dtype}; waves are (samples,)")
        if x.dtype.kind == "f":
            if not np.isfinite(x).all() or np.abs(x).max(initial=0) > 1:
                raise DataError(f"{where} holds values that are not in [-1, 1]; divide by the largest amplitude")
            return self.encode(x)
        if x.min(initial=0) < 0 or x.max(initial=0) >= self.levels:
            limits = f"mu-law levels are 0 to {self.levels - 1}"
            raise DataError(f"{where} holds values from {x.min()} to {x.max()}; {limits}, amplitudes floats in [-1, 1]")
        return x

    def encode(self, amplitudes: np.ndarray) -> np.ndarray:
        """Levels (integers) of amplitudes in [-1, 1]."""
        mu = self.levels - 1
        companded = np.sign(amplitudes) * np.log1p(mu * np.abs(amplitudes)) / np.log1p(mu)
        return np.floor((companded + 1) / 2 * mu + 0.5).astype(np.int64)

    def decode(self, levels: np.ndarray) -> np.ndarray:
        """Amplitudes in [-1, 1], float32, of levels."""
        mu = self.levels - 1
        companded = 2 * np.asarray(levels, np.float64) / mu - 1
        return (np.sign(companded) * np.expm1(np.abs(companded) * np.log1p(mu)) / mu).astype(np.float32)

    @property
    def silence(self) -> int:
        """The level of amplitude 0."""
        return int(self.encode(np.zeros(1))[0])

    def lengths(self, levels: np.ndarray) -> np.ndarray:
        """Samples of each sound (N,) of levels (N, samples) without the silence at its end, which pads shorter ones."""
        audible = np.asarray(levels) != self.silence
        return np.where(audible.any(axis=1), audible.shape[1] - audible[:, ::-1].argmax(axis=1), 0)

    def value(self, stored):
        return np.array(stored, np.int64)

    def kept(self, values, keep):
        """The rest is silence."""
        return with_rest(values, keep, self.silence)

    def draw(self, value):
        """The envelope, and the spectrogram below."""
        return sound.picture(self.decode(value), self.rate)

    def play(self, value):
        return sound.wav(self.decode(value), self.rate)

    def in_words(self):
        length = f" of {self.samples} samples" if self.samples else ""
        return f"waves{length}" + (f" at {self.rate} Hz" if self.rate else "")
