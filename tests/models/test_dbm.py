"""Deep Boltzmann machines: probabilities by enumeration of all states, and the mean-field bound."""

import numpy as np
import pytest

from tests.models.boltzmann import every_state, machine
from tinygen.autograd import no_grad
from tinygen.models.energy import dbm as module


def dbm(scale=1.0, **config):
    """A model of 2x3 pixels whose weights and biases are far from 0."""
    return machine("dbm", 2, 3, scale, **{"hidden": 4, "above": 3, "mean_field_steps": 50} | config)


def log_joint(model):
    """log p(x, h1, h2) + log Z of every state: (2^6, 2^4, 2^3)."""
    x, h1, h2 = (every_state(n).astype("float64") for n in (6, 4, 3))
    weight, a, b = (p.data.astype("float64") for p in (model.weight, model.visible_bias, model.hidden_bias))
    x0, h0 = model.visible_centre[:6], model.visible_centre[6:]
    below = (x - x0) @ weight[:6] @ (h1 - 0.5).T + (x @ a[:6])[:, None]
    above = (h1 - 0.5) @ weight[6:].T @ (h2 - h0).T + h2 @ a[6:] + (h1 @ b)[:, None]
    return below[:, :, None] + above[None]


def log_sum(x, axis=None):
    return np.logaddexp.reduce(x.reshape(-1) if axis is None else x, axis=0 if axis is None else axis)


def test_probabilities_match_the_definition():
    model = dbm()
    joint = log_joint(model)
    assert model.log_z(0).value == pytest.approx(log_sum(joint), rel=1e-5)
    expected = np.log(np.exp(joint).sum(axis=(1, 2))) - log_sum(joint)
    np.testing.assert_allclose(model.log_prob(every_state(6)), expected, rtol=1e-4, atol=1e-4)
    assert not model.log_prob_is_estimate


def test_the_mean_field_bound_is_below_log_p_and_near_it_for_small_weights(monkeypatch):
    model, x = dbm(), every_state(6)
    with no_grad():
        exact = model.log_p(x).numpy()
        monkeypatch.setattr(module, "MOST_UNITS_SUMMED", 0)
        bound = model.log_p(x).numpy()
    assert (bound <= exact + 1e-4).all()
    assert (exact - bound).mean() < 1
    weak = dbm(scale=0.03)
    with no_grad():
        exact_log_p = weak.log_p(x).numpy()
        monkeypatch.setattr(module, "MOST_UNITS_SUMMED", 16)
        np.testing.assert_allclose(exact_log_p, weak.log_p(x).numpy(), atol=1e-3)  # since units are nearly independent


def test_the_mean_field_bound_is_the_expected_log_joint_plus_the_entropy(monkeypatch):
    model, x = dbm(), every_state(6)
    monkeypatch.setattr(module, "MOST_UNITS_SUMMED", 0)
    with no_grad():
        v = model.visible_units(x)
        h1 = 1 / (1 + np.exp(-model.hidden_logits(v).numpy().astype("float64")))
        log_p = model.log_p(x).numpy()
    h2 = v[:, 6:].astype("float64")
    q1, q2 = (np.prod(np.where(every_state(m.shape[1]) == 1, m[:, None], 1 - m[:, None]), axis=2) for m in (h1, h2))
    q = q1[:, :, None] * q2[:, None]
    expected = (q * (log_joint(model) - np.log(q))).sum(axis=(1, 2))
    np.testing.assert_allclose(log_p, expected, rtol=1e-4, atol=1e-4)


def test_log_prob_of_a_model_with_a_large_first_layer_is_an_estimate():
    assert dbm(hidden=17).log_prob_is_estimate
