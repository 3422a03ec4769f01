"""The LSTM language model: exact probabilities of sentences, what they depend on, and sampling with a cached state."""

import itertools
import math

import numpy as np
import pytest

from tinygen import models, random
from tinygen.autograd import no_grad
from tinygen.data import Spec, Tokens
from tinygen.data.batch import Padded
from tinygen.errors import ShapeError, UsageError
from tinygen.models.sentences import TO_DRAW
from tinygen.random import Stream


def small_model(length=3, tokens="abc", **config):
    """A model with weights so large that a probability changes with every token that it depends on."""
    random.seed(0)
    system = models.get("lstm-lm")
    config = {"embedding": 6, "hidden": 12} | config
    model = system(system.Config(**config), Spec("noise", {"x": Tokens(tuple(tokens), length)}))
    for parameter in model.parameters():
        parameter.assign(2 * parameter.numpy())
    return model


def every_sentence(tokens, length):
    """All sentences of at most `length` tokens, with -1 after their ends: the empty one too."""
    sentences = [s for n in range(length + 1) for s in itertools.product(range(tokens), repeat=n)]
    return np.array([[*s, *[-1] * (length - len(s))] for s in sentences])


def sentences(n, length, tokens=3):
    ends = Stream(0, "test sentences").integers(length + 1, n)
    drawn = Stream(1, "test sentences").integers(tokens, (n, length))
    return np.where(np.arange(length) < ends[:, None], drawn, -1)


@pytest.mark.parametrize("word_dropout", [0.0, 0.5, 1.0])
def test_probabilities_of_all_sentences_sum_to_one(word_dropout):
    log_p = small_model(word_dropout=word_dropout).log_prob(every_sentence(3, 3))
    assert len(log_p) == 1 + 3 + 9 + 27
    assert np.exp(log_p.astype("float64")).sum() == pytest.approx(1, abs=1e-6)
    assert np.ptp(log_p) > 1, "they differ"


def logits_of(network, read):
    with no_grad():
        return network.output(network(read)[0]).numpy()


def test_predictions_do_not_depend_on_later_tokens():
    network = small_model(length=6).network
    read = Stream(0, "read").integers(3, (20, 6))
    before = logits_of(network, read)
    for t in range(6):
        changed = read.copy()
        changed[:, t] = (changed[:, t] + 1) % 3
        differs = (logits_of(network, changed) != before).any(axis=(0, 2))
        np.testing.assert_array_equal(differs, np.arange(6) >= t)


def test_an_inputless_model_knows_the_position_alone():
    model = small_model(length=4, word_dropout=1.0)
    log_p = {
        tuple(s): p for s, p in zip(every_sentence(3, 4).tolist(), model.log_prob(every_sentence(3, 4)), strict=True)
    }
    # Independent tokens: log p(a b) + log p(c c) = log p(a c) + log p(c b), since all other terms are equal.
    assert log_p[0, 1, -1, -1] + log_p[2, 2, -1, -1] == pytest.approx(
        log_p[0, 2, -1, -1] + log_p[2, 1, -1, -1], rel=1e-5
    )


@pytest.mark.parametrize("length", [5, 12])
def test_padding_and_the_other_sentences_change_no_bit(length):
    """For lengths at which the LSTM uses the kernels for many steps, and at which it does not."""
    model, x = small_model(length), sentences(300, length)
    log_p = model.log_prob(x)
    padded = Padded.of(x)
    np.testing.assert_array_equal(model.log_prob(padded), log_p)
    for i in (0, 7, 299):
        sentence = padded[i : i + 1].trimmed()
        assert sentence.shape[1] == max(1, padded.length[i])
        assert model.log_prob(sentence).tobytes() == log_p[i : i + 1].tobytes()
    garbage = np.where(padded.mask, padded.values, 2)
    np.testing.assert_array_equal(model.log_prob(Padded(garbage, padded.length)), log_p)
    wider = np.concatenate([padded.values, np.zeros((300, 5), np.int64)], axis=1)
    np.testing.assert_array_equal(model.log_prob(Padded(wider, padded.length)), log_p)


def test_the_loss_is_the_mean_over_sentences_of_sums_without_padding():
    model, x = small_model(length=6), Padded.of(sentences(40, 6))
    with model.evaluating():
        loss = float(model.network.nats(x.trimmed()).mean())
    assert loss == pytest.approx(-model.log_prob(x).mean(), rel=1e-5)
    wider = Padded(np.pad(x.values, ((0, 0), (0, 9))), x.length)
    with model.evaluating():
        assert float(model.network.nats(wider).mean()) == pytest.approx(loss, rel=1e-6)


@pytest.mark.parametrize("word_dropout", [0.0, 1.0])
def test_sampling_with_a_cached_state_equals_naive_sampling(word_dropout):
    model = small_model(length=10, word_dropout=word_dropout)
    drawn = model.sample(200, seed=3)
    np.testing.assert_array_equal(model.sample(200, seed=3, cached=False), drawn)
    assert len(np.unique(drawn, axis=0)) > 50
    x = sentences(50, 10)
    np.testing.assert_array_equal(model.complete(x, 4, seed=1), model.complete(x, 4, seed=1, cached=False))


def test_samples_have_the_frequencies_of_the_model():
    model, n = small_model(length=2), 40_000
    all_sentences = every_sentence(3, 2)
    p = np.exp(model.log_prob(all_sentences).astype("float64"))
    drawn = model.sample(n, seed=0)
    counts = np.array([(drawn == each).all(axis=1).sum() for each in all_sentences])
    assert counts.sum() == n
    # Pearson's chi-squared of 12 degrees of freedom is above 33 with a probability of 0.001.
    assert ((counts - n * p) ** 2 / (n * p)).sum() < 33


def test_completions_keep_the_beginning():
    model, x = small_model(length=6), sentences(30, 6)
    ends = Padded.of(x).length
    completed = model.complete(x, 3, seed=0)
    for before, after, end in zip(x, completed, ends, strict=True):
        np.testing.assert_array_equal(after[: min(3, end)], before[: min(3, end)])
        assert end >= 3 or (after[end:] == -1).all(), "a sentence that has ended stays as it is"
    assert (completed != x).any()
    np.testing.assert_array_equal(model.complete(x, 0, seed=5), model.sample(30, seed=5))
    for keep in (-1, 7):
        with pytest.raises(ShapeError, match=f"keep is {keep}; sentences have up to 6 tokens"):
            model.complete(x, keep, seed=0)


def test_greedy_sentences_take_the_most_probable_token_each_time():
    model = small_model(length=3)
    with model.evaluating():
        (greedy,) = model.network.write(np.full((1, 3), TO_DRAW))
    log_p = {
        tuple(s): p for s, p in zip(every_sentence(3, 3).tolist(), model.log_prob(every_sentence(3, 3)), strict=True)
    }
    beginning = []
    for t in range(3):
        mass = [-math.inf] * 3
        for token in range(3):
            mass[token] = np.logaddexp.reduce([p for s, p in log_p.items() if s[: t + 1] == (*beginning, token)])
        ends = log_p[(*beginning, *[-1] * (3 - t))]
        if ends > max(mass):
            break
        beginning.append(int(np.argmax(mass)))
    assert greedy.tolist() == beginning + [-1] * (3 - len(beginning))


def test_perplexity_counts_tokens_and_ends(monkeypatch):
    from tests.models.cases import split_for

    model = small_model(length=8)
    split = split_for(model, 50)
    numbers = model.evaluate(split, seed=0)
    tokens = split.values("x").length.sum() + 50
    total = -model.log_prob(split.values("x")).astype("float64").sum()
    assert numbers["nll_nats"] == pytest.approx(total / 50, rel=1e-6)
    assert numbers["perplexity"] == pytest.approx(math.exp(total / tokens), rel=1e-5)


def test_sentences_that_a_model_cannot_read_are_refused():
    model = small_model(length=3)
    with pytest.raises(ShapeError, match="a sentence has 4 tokens; the model was made for at most 3"):
        model.log_prob(np.zeros((2, 4), int))
    with pytest.raises(ShapeError, match="tokens reach from 0 to 5; the model knows 0 to 2"):
        model.log_prob(np.array([[0, 5, -1]]))
    config = models.get("lstm-lm").Config
    with pytest.raises(UsageError, match=r"^word_dropout is 1.5; it must be at most 1$"):
        config(word_dropout=1.5)
    with pytest.raises(UsageError, match=r"^dropout is 1; it must be below 1$"):
        config(dropout=1.0)
