"""Restricted Boltzmann machines: probabilities by enumeration of all states, chains, and the estimate of log Z."""

import numpy as np
import pytest

from tests.models.boltzmann import every_state, machine
from tinygen import models, random
from tinygen.autograd import no_grad
from tinygen.data import Batch, Image, Spec, Split
from tinygen.models.energy import partition
from tinygen.models.energy.draws import Draws
from tinygen.random import Stream


def rbm(height=3, width=4, scale=1.0, **config):
    """A model whose weights and biases are far from 0."""
    return machine("rbm", height, width, scale, **{"hidden": 5} | config)


def joint(model):
    """p(v, h) of every state by the definition, (2^D, 2^hidden), and log Z."""
    v, h = every_state(model.size).astype("float64"), every_state(model.config.hidden).astype("float64")
    weight, a, b = (p.data.astype("float64") for p in (model.weight, model.visible_bias, model.hidden_bias))
    p = np.exp((v - model.visible_centre) @ weight @ (h - 0.5).T + (v @ a)[:, None] + h @ b)
    return p / p.sum(), np.log(p.sum())


@pytest.mark.parametrize(("size", "hidden"), [((3, 4), 5), ((2, 2), 17)])
def test_probabilities_match_the_definition_and_sum_to_one(size, hidden):
    """In the first case the hidden layer is summed out by enumeration, in the second the visible one."""
    model = rbm(*size, hidden=hidden)
    if hidden < 17:
        expected, log_z = joint(model)
        assert model.log_z(0).value == pytest.approx(log_z, rel=1e-5)
        np.testing.assert_allclose(np.exp(model.log_prob(every_state(12))), expected.sum(axis=1), rtol=1e-4)
    assert np.exp(model.log_prob(every_state(model.size))).sum() == pytest.approx(1, rel=1e-5)


def test_enumeration_gives_every_state_once(monkeypatch):
    monkeypatch.setattr(partition, "STATES", 8)
    states = np.concatenate(list(partition.all_states(5)))
    assert states.shape == (32, 5)
    assert len(np.unique(states, axis=0)) == 32


def test_the_estimate_of_log_z_is_within_half_a_nat_of_the_exact_value():
    """The model has 15 hidden units; the estimated error is between 0 and 0.3."""
    model = rbm(8, 8, scale=0.7, hidden=15, ais_steps=500)
    with model.evaluating():
        exact, estimates = model.log_z(0).value, [model.estimated_log_z(seed) for seed in range(2)]
    for value, error in estimates:
        assert abs(value - exact) < 0.5
        assert 0 < error < 0.3


def test_inverse_temperatures_are_those_of_the_paper():
    betas = partition.temperatures(14_500)
    steps = np.diff(betas)
    np.testing.assert_allclose(betas[[0, 500, 4500, 14_500]], [0, 0.5, 0.9, 1], atol=1e-12)
    np.testing.assert_allclose(steps[[0, 499, 500, 4499, 4500, -1]], [1e-3, 1e-3, 1e-4, 1e-4, 1e-5, 1e-5], rtol=1e-6)


def test_gibbs_chains_have_the_distribution_of_the_model():
    model, n = rbm(2, 2, hidden=3), 20_000
    expected, _ = joint(model)
    p = expected.sum(axis=1)
    draws, v = Draws(Stream(0, "chains"), "cpu"), np.zeros((n, 4), np.float32)
    with model.evaluating():
        for _ in range(30):
            v, _ = model.gibbs(v, draws)
    frequency = np.bincount((v @ [8, 4, 2, 1]).astype(int), minlength=16) / n
    assert (np.abs(frequency - p) < 4 * np.sqrt(p * (1 - p) / n)).all()


def test_the_pseudo_likelihood_matches_conditional_probabilities_of_pixels():
    model = rbm(2, 3)
    expected, _ = joint(model)
    p, v = expected.sum(axis=1), every_state(6)
    nats = 0.0
    with no_grad():
        for pixel in range(6):
            flipped = np.arange(64) ^ (1 << (5 - pixel))
            each = model.neg_pseudo_log_likelihood(v, model.log_p(v), np.full(64, pixel)).numpy()
            np.testing.assert_allclose(each, -6 * np.log(p / (p + p[flipped])), rtol=1e-3, atol=1e-4)
            nats += each / 6
    assert nats.min() > 0


def test_the_gradient_of_the_free_energy_gap_is_that_of_the_likelihood():
    """The chains are replaced by all states, weighted by their probabilities."""
    model = rbm(2, 3, hidden=4)
    expected, _ = joint(model)
    states, p = every_state(6), expected.sum(axis=1)
    x = states[[5, 17, 40]]
    gap = model.free_energy(x).mean() - (model.free_energy(states) * p.astype("float32")).sum()
    gap.backward()
    steepest, small = model.weight.grad.numpy(), 1e-3
    for index in ((0, 0), (3, 2), (5, 1)):
        values = []
        for sign in (1, -1):
            changed = model.weight.numpy().copy()
            changed[index] += sign * small
            model.weight.assign(changed)
            probabilities = joint(model)[0].sum(axis=1)
            values.append(-np.log(probabilities[[5, 17, 40]]).mean())
            changed[index] -= sign * small
            model.weight.assign(changed)
        assert steepest[index] == pytest.approx((values[0] - values[1]) / (2 * small), rel=0.02, abs=1e-3)


def test_persistent_chains_are_moved_by_a_step_and_kept_in_the_model():
    images = Batch(x=every_state(12)[100:120].reshape(20, 3, 4, 1))
    model = rbm(persistent=True, chains=6)
    before = model.chains.copy()
    model.training_step(images)
    assert model.chains.shape == (6, 12)
    assert set(np.unique(model.chains)) <= {0, 1}
    assert (model.chains != before).any()
    assert len(rbm(persistent=False).chains) == 0


def test_completion_keeps_the_given_rows_and_depends_on_them():
    model = rbm(sampling_steps=5)
    x = every_state(12)[::400].reshape(-1, 3, 4, 1)
    completed = model.complete(x, 2, seed=0)
    np.testing.assert_array_equal(completed[:, :2], x[:, :2])
    assert ((completed[:, 2] > 0) & (completed[:, 2] < 1)).all()
    other = model.complete(1 - x, 2, seed=0)
    assert (other[:, 2] != completed[:, 2]).any()


def test_training_on_two_noisy_patterns_reaches_almost_their_entropy():
    """Stripes or their negative, with a tenth of the pixels flipped."""
    random.seed(0)
    stripes, n = np.array([1, 0, 1, 1, 0, 1]), 400
    turned = Stream(0, "turned").uniform((n, 6)) < 0.1
    x = ((np.arange(n)[:, None] % 2 + stripes + turned) % 2).astype(np.float32).reshape(n, 2, 3, 1)
    model = models.get("rbm")
    config = model.Config(hidden=3, learning_rate=0.5, chains=100, cosine_steps=400)
    model = model(config, Spec("stripes", {"x": Image(2, 3, 1, "binary")}))
    for step in range(400):
        model.training_step(Batch(x=x[step % 4 * 100 :][:100]))
    nats = model.evaluate(Split(model.spec.fields, {"x": x}), seed=0)["nll_nats"]
    frequency = np.unique(x.reshape(n, 6), axis=0, return_counts=True)[1] / n
    entropy = -(frequency * np.log(frequency)).sum()
    assert entropy - 1e-3 < nats < entropy + 0.3
    assert nats < 6 * np.log(2) - 1  # six independent pixels have 6 log 2 nats
