"""The generated sentences: their grammar is unambiguous, and an enumeration gives the same entropy."""

import itertools
import math
from collections import Counter

import pytest

from tinygen.data import load, sentences
from tinygen.data.sentences import GRAMMAR, MOST_CHOICES
from tinygen.random import Stream

CLASSES = ("NOUN", "NOUNS", "ADJECTIVE")


def derivations(symbol="SENTENCE"):
    """(words, probability, number of choices) of all derivations; word classes such as NOUN are not expanded."""
    if symbol in CLASSES or symbol not in GRAMMAR:
        yield (symbol,), 1.0, int(symbol in GRAMMAR)
        return
    for choice in GRAMMAR[symbol]:
        for parts in itertools.product(*(list(derivations(part)) for part in choice.split())):
            words = tuple(word for part in parts for word in part[0])
            yield words, math.prod(part[1] for part in parts) / len(GRAMMAR[symbol]), 1 + sum(part[2] for part in parts)


def test_the_entropy_is_that_of_all_sentences():
    found = list(derivations())
    assert len({words for words, _, _ in found}) == len(found), "no sentence has two derivations"
    assert not set(GRAMMAR["NOUN"]) & set(GRAMMAR["NOUNS"]), "nor does a word stand for two classes"
    assert sum(p for _, p, _ in found) == pytest.approx(1)
    assert max(choices for _, _, choices in found) <= MOST_CHOICES
    exact = sum(
        p * (-math.log(p) + sum(math.log(len(GRAMMAR[word])) for word in words if word in GRAMMAR))
        for words, p, _ in found
    )
    assert sentences.entropy() == pytest.approx(exact, rel=1e-12)


def test_sentences_are_drawn_with_the_probabilities_of_the_grammar():
    n, kinds = 20_000, {word: name for name in CLASSES for word in GRAMMAR[name]}
    counts = Counter(tuple(kinds.get(w, w) for w in s.split()) for s in sentences.draw(n, Stream(0, "test")))
    expected = {words: n * p for words, p, _ in derivations()}
    assert counts.keys() <= expected.keys()
    frequent = {words: mean for words, mean in expected.items() if mean > 20}
    assert len(frequent) > 50
    for words, mean in frequent.items():
        assert counts[words] == pytest.approx(mean, abs=5 * math.sqrt(mean)), words


def test_the_data_set_has_every_word_and_is_the_same_each_time():
    data = load("sentences")
    words = {word for choices in GRAMMAR.values() for choice in choices for word in choice.split()} - GRAMMAR.keys()
    assert data.spec.x.vocabulary == tuple(sorted(words))
    x = data.train.values("x")
    assert data.spec.x.draw(x[0]) == sentences.draw(1, Stream(0, "sentences train"))[0]
    assert data.spec.x.length == x.length.max()
