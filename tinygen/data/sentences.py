"""Sentences of a small grammar, whose entropy is known: the least -log p that a language model can reach."""

import math
from typing import Any

import numpy as np

from tinygen.data.dataset import Dataset
from tinygen.data.fields import Tokens
from tinygen.random import Stream

NAME = "sentences"
SIZES = {"train": 20_000, "valid": 2000, "test": 4000}
GRAMMAR: dict[str, tuple[str, ...]] = {
    "SENTENCE": ("ONE IS", "MANY ARE", "ONE near OBJECT IS", "MANY near OBJECT ARE"),
    "OBJECT": ("ONE", "MANY"),
    "ONE": ("a NOUN", "the NOUN", "a ADJECTIVE NOUN", "the ADJECTIVE NOUN"),
    "MANY": ("two NOUNS", "the NOUNS", "two ADJECTIVE NOUNS", "the ADJECTIVE NOUNS"),
    "IS": ("sleeps", "sings", "sees OBJECT", "likes OBJECT", "follows OBJECT"),
    "ARE": ("sleep", "sing", "see OBJECT", "like OBJECT", "follow OBJECT"),
    "NOUN": ("cat", "dog", "bird", "king", "girl", "horse"),
    "NOUNS": ("cats", "dogs", "birds", "kings", "girls", "horses"),
    "ADJECTIVE": ("big", "small", "young", "hungry"),
}
"""The equally likely expansions of each symbol. No sentence can be derived in two ways.

A verb agrees with its subject, across the words between them.
"""
MOST_CHOICES = 16
"""An upper bound on the number of choices in a sentence."""


def make() -> Dataset:
    """Sentences as words x: independent draws, always the same."""
    parts: dict[str, Any] = {part: {"x": draw(n, Stream(0, f"{NAME} {part}"))} for part, n in SIZES.items()}
    return Dataset.from_fields(NAME, {"x": Tokens(separator=" ")}, **parts)


def draw(n: int, stream: Stream) -> list[str]:
    """n sentences."""
    return [" ".join(_derived("SENTENCE", iter(chances.tolist()))) for chances in stream.uniform((n, MOST_CHOICES))]


def _derived(symbol: str, chances) -> list[str]:
    """The words derived from a symbol; each choice takes one of the uniform numbers `chances`."""
    if symbol not in GRAMMAR:
        return [symbol]
    choices = GRAMMAR[symbol]
    chosen = choices[int(next(chances) * len(choices))].split()
    return [word for part in chosen for word in _derived(part, chances)]


def entropy(symbol: str = "SENTENCE") -> float:
    """The entropy in nats of the words derived from a symbol."""
    if symbol not in GRAMMAR:
        return 0.0
    choices = GRAMMAR[symbol]
    return math.log(len(choices)) + float(np.mean([sum(map(entropy, choice.split())) for choice in choices]))
