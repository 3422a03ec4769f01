"""The sentence VAE: what its posterior and its decoder read, its bounds, and the whole KL while it is annealed."""

import itertools

import numpy as np
import pytest

from tests.models.test_lstm_lm import every_sentence, sentences
from tinygen import models, random
from tinygen.data import Batch, Spec, Split, Tokens
from tinygen.data.batch import Padded
from tinygen.errors import ShapeError, UsageError
from tinygen.models.variational import bounds
from tinygen.random import Stream


def small_model(length=3, tokens=("a", "b", "c"), **config):
    """A model with weights so large that codes matter."""
    random.seed(0)
    system = models.get("sentence-vae")
    config = {"latent": 2, "embedding": 6, "hidden": 12, "word_dropout": 0.0} | config
    model = system(system.Config(**config), Spec("noise", {"x": Tokens(tokens, length)}))
    for parameter in model.parameters():
        parameter.assign(2 * parameter.numpy())
    return model


@pytest.mark.parametrize("word_dropout", [0.0, 0.5, 1.0])
def test_probabilities_of_all_sentences_given_a_code_sum_to_one(word_dropout):
    model, x = small_model(word_dropout=word_dropout), Padded.of(every_sentence(3, 3))
    totals, first = [], []
    with model.evaluating():
        for code in Stream(0, "codes").normal((3, 1, 2)):
            log_p = model.likelihood(code.repeat(len(x), axis=0)).log_prob(x).numpy().astype("float64")
            totals.append(np.exp(log_p).sum())
            first.append(log_p[0])
    assert totals == pytest.approx([1, 1, 1], abs=1e-6)
    assert np.ptp(first) > 0.1, "the code matters"


def test_the_bound_approaches_the_evidence_of_a_model_that_is_integrated():
    """For a code of one dimension, log p(x) is an integral that can be computed on a grid."""
    model, x = small_model(length=2, latent=1), Padded.of(every_sentence(3, 2))
    grid = np.linspace(-8, 8, 201)
    weights = np.exp(-0.5 * grid**2) / np.sqrt(2 * np.pi) * (grid[1] - grid[0])
    p = np.zeros(len(x))
    with model.evaluating():
        for z, weight in zip(grid, weights, strict=True):
            codes = np.full((len(x), 1), z, np.float32)
            p += weight * np.exp(model.likelihood(codes).log_prob(x).numpy().astype("float64"))
    assert p.sum() == pytest.approx(1, abs=1e-5)
    means = [
        model.log_prob(bounds.repeated(x, n), seed=0, samples=k).reshape(-1, n).mean(axis=1)
        for k, n in ((1, 1000), (10, 400), (1000, 8))
    ]
    np.testing.assert_allclose(means[2], np.log(p), atol=0.05)
    assert means[0].mean() < means[1].mean() < np.log(p).mean()


def test_bounds_of_the_same_codes_are_ordered():
    model, x = small_model(length=6), Padded.of(sentences(20, 6))
    with model.evaluating():
        q = model.posterior(x)
        noise = bounds.noise_for(q, 12, Stream(0, "eval"), "cpu")
        weights = bounds.log_weights(model, x, q, noise)
        by_samples = [bounds.importance_weighted(weights, k).numpy() for k in (1, 2, 4, 12)]
    for looser, tighter in itertools.pairwise(by_samples):
        assert (tighter >= looser - 1e-5).all()
    assert (by_samples[-1] > by_samples[0]).all()


@pytest.mark.parametrize("length", [5, 12])
def test_padding_and_the_other_sentences_change_no_bit_of_a_code(length):
    model, x = small_model(length), Padded.of(sentences(300, length))
    codes = model.encode(x)
    for i in (0, 7, 299):
        assert model.encode(x[i : i + 1].trimmed()).tobytes() == codes[i : i + 1].tobytes()
    garbage = Padded(np.where(x.mask, x.values, 2), x.length)
    np.testing.assert_array_equal(model.encode(garbage), codes)
    np.testing.assert_array_equal(model.encode(np.where(x.mask, x.values, -1)), codes)
    with model.evaluating():
        trimmed = model.decoder.nats(garbage, codes).numpy()
        wider = model.decoder.nats(Padded(np.pad(x.values, ((0, 0), (0, 9))), x.length), codes).numpy()
    np.testing.assert_array_equal(trimmed, wider)
    for i in range(len(codes)):  # another first token gives another code
        if x.length[i] and i < 20:
            changed = x.values[i : i + 1].copy()
            changed[0, 0] = (changed[0, 0] + 1) % 3
            assert (model.encode(Padded(changed, x.length[i : i + 1])) != codes[i]).all()


@pytest.mark.parametrize("beta", [1.0, 0.5])
def test_the_whole_kl_is_reported_while_it_is_annealed(beta):
    config = {"annealing_steps": 4, "beta": beta, "learning_rate": 0.0, "warmup_steps": 0}
    model, batch = small_model(length=6, **config), Batch(x=Padded.of(sentences(64, 6)))
    scalars = [model.training_step(batch) for _ in range(6)]
    weights = [each["kl_weight"] for each in scalars]
    assert weights == sorted(weights)
    assert weights[1] == pytest.approx(beta / 2)  # half-way
    assert weights[3:] == [beta] * 3
    with model.evaluating():
        q = model.posterior(batch.x)
        kl = q.kl().sum(axis=1).mean()
    for each in scalars:  # the learning rate is 0, so that the KL stays the same while its weight changes
        assert float(each["kl_nats"]) == pytest.approx(float(kl), rel=1e-5)
        assert float(each["neg_elbo_nats"]) == pytest.approx(float(each["reconstruction_nats"]) + float(kl), rel=1e-5)
    split = Split(model.spec.fields, {"x": sentences(64, 6).astype(np.int32)})
    numbers = model.evaluate(split, seed=0, thorough=False)
    assert numbers["kl_nats"] == pytest.approx(float(kl), rel=1e-5)
    assert numbers["neg_elbo_nats"] == pytest.approx(numbers["reconstruction_nats"] + numbers["kl_nats"], rel=1e-6)


def test_an_inputless_decoder_gives_independent_tokens_of_a_code():
    model, x = small_model(length=4, word_dropout=1.0), every_sentence(3, 4)
    codes = np.tile(Stream(1, "code").normal((1, 2)), (len(x), 1))
    with model.evaluating():
        log_p = dict(zip(map(tuple, x), model.likelihood(codes).log_prob(Padded.of(x)).numpy(), strict=True))
    straight, crossed = log_p[0, 1, -1, -1] + log_p[2, 2, -1, -1], log_p[0, 2, -1, -1] + log_p[2, 1, -1, -1]
    assert straight == pytest.approx(crossed, rel=1e-5)


def test_sampling_with_a_cached_state_equals_naive_sampling():
    model = small_model(length=10)
    drawn = model.sample(100, seed=3)
    np.testing.assert_array_equal(model.sample(100, seed=3, cached=False), drawn)
    assert len(np.unique(drawn, axis=0)) > 50


def test_a_decoded_sentence_is_the_greedy_one_of_its_code_alone():
    model, codes = small_model(length=3), 2 * Stream(0, "codes").normal((40, 2))
    decoded = model.decode(codes)
    assert len(np.unique(decoded, axis=0)) > 1
    np.testing.assert_array_equal(model.decode(codes[7:9]), decoded[7:9])
    x = Padded.of(every_sentence(3, 3))
    for code, sentence in list(zip(codes, decoded, strict=True))[:10]:
        with model.evaluating():
            log_p = model.likelihood(np.tile(code, (len(x), 1))).log_prob(x).numpy()
        p = dict(zip(map(tuple, every_sentence(3, 3)), np.exp(log_p.astype("float64")), strict=True))
        for t in range(3):
            before = tuple(sentence[:t])
            mass = [sum(q for s, q in p.items() if s[: t + 1] == (*before, token)) for token in (0, 1, 2, -1)]
            assert [0, 1, 2, -1][int(np.argmax(mass))] == sentence[t]
            if sentence[t] == -1:
                break


def test_a_decoded_sentence_has_no_unknown_word():
    model, codes = small_model(length=6, tokens=("<unk>", "a", "b")), 2 * Stream(0, "codes").normal((200, 2))
    known = model.decode(codes)
    assert (known != 0).all()
    model.decoder.unknown = None
    assert (model.decode(codes) == 0).any(), "the most probable word is <unk> at times"
    assert (model.sample(200, seed=0) == 0).any(), "samples are exact draws"


def test_sentences_that_a_model_cannot_read_are_refused():
    model, config = small_model(), models.get("sentence-vae").Config
    with pytest.raises(ShapeError, match="a sentence has 4 tokens; the model was made for at most 3"):
        model.encode(np.zeros((2, 4), int))
    with pytest.raises(UsageError, match=r"^word_dropout is 1.5; it must be at most 1$"):
        config(word_dropout=1.5)
    with pytest.raises(UsageError, match=r"^dropout is 1; it must be below 1$"):
        config(dropout=1.0)
