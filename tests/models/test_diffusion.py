"""The diffusion models of 2015: bounds of both kinds against sums over all paths, schedules and samples."""

import itertools
import math

import numpy as np
import pytest

from tests.models.cases import make
from tinygen.data import Batch, Dataset, Image, Points, Spec, Split
from tinygen.errors import UsageError
from tinygen.models.diffusion.diffusion import Diffusion
from tinygen.random import Stream

TINY = {"hidden": 7, "layers": 1, "batch_size": 5, "warmup_steps": 0, "averaging": 0.0}


def binary_model(timesteps=3):
    spec = Spec("noise", {"x": Image(1, 2, 1, "binary")})
    model = make("diffusion", TINY | {"timesteps": timesteps}, spec)
    for number, parameter in enumerate(model.parameters()):
        parameter.assign(Stream(number, "weights").normal(parameter.shape))
    return model


PICTURES = np.array(list(itertools.product([0.0, 1.0], repeat=2)), np.float32).reshape(4, 1, 2, 1)


def reversed_probabilities(model, t):
    """p(x^{t-1} | x^t) of all pairs of pictures, (x^t, x^{t-1})."""
    if t == 1:
        flip = 0.5 / model.config.timesteps
        chance = np.where(PICTURES > 0, 1 - flip, flip)
    else:
        kept = 1 - 1 / (model.config.timesteps - t + 1)
        logits = model.network.logits_of(PICTURES, np.full(4, t), np.full((1, 1, 1, 1), kept, np.float32)).numpy()
        chance = 1 / (1 + np.exp(-logits.astype(np.float64)))
    chance = chance.reshape(4, 1, 2)
    return np.where(PICTURES.reshape(1, 4, 2) > 0, chance, 1 - chance).prod(axis=2)


def test_the_bound_of_binary_images_is_that_of_a_sum_over_all_paths():
    """K = E_q log p(x^0..T) / q(x^1..T | x^0), with the expectation over all paths of two pixels."""
    model = binary_model()
    T = 3
    betas = [1 / (T - t + 1) for t in range(1, T + 1)]
    forward = []
    for beta in betas:
        same = (PICTURES.reshape(4, 1, 2) == PICTURES.reshape(1, 4, 2)).astype(np.float64)
        forward.append(np.where(same > 0, 1 - beta / 2, beta / 2).prod(axis=2))
    backward = [reversed_probabilities(model, t) for t in (1, 2, 3)]
    bounds, likelihoods = np.zeros(4), np.zeros(4)
    for start in range(4):
        for path in itertools.product(range(4), repeat=T):
            states = (start, *path)
            q = math.prod(forward[t][states[t], states[t + 1]] for t in range(T))
            p = 0.25 * math.prod(backward[t][states[t + 1], states[t]] for t in range(T))
            bounds[start] += q * (math.log(p) - math.log(q))
            likelihoods[start] += p
    assert likelihoods.sum() == pytest.approx(1)
    assert (bounds < np.log(likelihoods)).all()
    estimates = model.log_prob(PICTURES.repeat(2000, axis=0), seed=0).reshape(4, 2000)
    errors = estimates.std(axis=1) / math.sqrt(2000)
    assert (np.abs(estimates.mean(axis=1) - bounds) < 5 * errors + 1e-4).all()
    assert np.ptp(bounds) > 0.1


def test_binary_samples_have_the_probabilities_of_the_reversed_chain():
    model = binary_model()
    p = np.full(4, 0.25)
    for t in (3, 2, 1):
        p = p @ reversed_probabilities(model, t)
    samples = model.sample(4000, seed=0).reshape(-1, 2)
    counts = np.bincount((2 * samples[:, 0] + samples[:, 1]).astype(int), minlength=4)
    np.testing.assert_allclose(counts / 4000, p, atol=0.04)


def gaussian_model(**config):
    return make("diffusion", TINY | config, Spec("noise", {"x": Points(1)}))


def test_the_bound_of_points_is_that_of_integrals_over_all_paths():
    """With T = 2: K is an integral over x^1 and x^2, by quadrature."""
    model = gaussian_model(timesteps=2, first_beta=0.1)
    for number, parameter in enumerate(model.parameters()):
        parameter.assign(0.5 * Stream(number, "weights").normal(parameter.shape))
    model.centre[...], model.deviation[...] = 0.0, 1.0
    b1, b2 = model.network.betas
    assert b1 == pytest.approx(0.1)
    grid = np.linspace(-7, 7, 1401)
    step = grid[1] - grid[0]

    def log_normal(x, mean, var):
        return -0.5 * ((x - mean) ** 2 / var + np.log(2 * math.pi * var))

    mean, variance = (each[:, 0] for each in model.network.moments(grid.astype(np.float32)[:, None], 2))
    reverse = log_normal(grid[:, None], mean[None], variance[None])  # x^1 in rows, x^2 in columns
    for x0 in (-0.8, 1.3):
        q1 = log_normal(grid, math.sqrt(1 - b1) * x0, b1)
        q2 = log_normal(grid[None], math.sqrt(1 - b2) * grid[:, None], b2)
        joint = np.exp(q1[:, None] + q2) * step**2
        start = log_normal(x0, math.sqrt(1 - b1) * grid, b1)
        log_ratio = start[:, None] + reverse + log_normal(grid, 0, 1)[None] - q1[:, None] - q2
        exact = (joint * log_ratio).sum()
        found = model.log_prob(np.full((4000, 1), x0, np.float32), seed=0)
        assert found.mean() == pytest.approx(exact, abs=5 * float(found.std()) / math.sqrt(4000) + 1e-3)


def test_the_evaluated_bound_is_the_mean_of_log_prob_and_says_how_much_is_gained():
    model = gaussian_model(timesteps=5)
    x = (3 + 2 * Stream(0, "points").normal((4000, 1))).astype(np.float32)
    split = Split(model.spec.fields, {"x": x})
    model.prepare(Dataset(model.spec, split, split, split), seed=0)
    metrics = model.evaluate(split, seed=0)
    log_p = model.log_prob(x, seed=1)
    assert metrics["neg_elbo_density_nats"] == pytest.approx(-log_p.mean(), abs=0.05)
    seen = (x - x.mean()) / x.std()
    normal = (-0.5 * (seen**2 + math.log(2 * math.pi))).mean() - math.log(x.std())
    expected = (-metrics["neg_elbo_density_nats"] - normal) / math.log(2)
    assert metrics["bits_over_normal"] == pytest.approx(expected, abs=1e-3)
    assert metrics["bits_over_normal"] < 0.01  # nothing is better than the normal distribution itself


def test_betas_are_learnt_but_the_first():
    model = gaussian_model(timesteps=6, learning_rate=0.05)
    before = model.network.betas
    assert before[0] == pytest.approx(1e-3)
    batch = Batch(x=Stream(0, "points").normal((50, 1)))
    for _ in range(3):
        model.training_step(batch)
    after = model.network.betas
    assert after[0] == before[0]
    assert (after[1:] != before[1:]).all()
    fixed = gaussian_model(timesteps=6, learn_betas=False)
    fixed.training_step(batch)
    np.testing.assert_array_equal(fixed.network.betas, before)
    assert before[-1] < 1
    np.testing.assert_allclose(np.cumprod(1 - before)[-1], 0.01, rtol=1e-4)


def test_betas_of_binary_steps_are_those_of_the_paper():
    model = binary_model(timesteps=4)
    np.testing.assert_allclose(model.network.betas, [1 / 4, 1 / 3, 1 / 2, 1])


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"timesteps": 1}, "timesteps is 1; the first step is not learnt: use at least 2"),
        ({"first_beta": 0.9}, "first_beta is 0.9; it lies between 1e-06 and 0.5"),
    ],
)
def test_steps_that_cannot_be_are_refused(config, message):
    with pytest.raises(UsageError, match=f"^{message}$"):
        Diffusion.Config(**config)


def test_figures_show_the_drift_in_a_plane():
    model = make("diffusion", TINY | {"timesteps": 4}, Spec("noise", {"x": Points(2)}))
    strip, moving, *drifts, schedule = model.figures(None, seed=0)
    assert (strip.images.ndim, moving.images.ndim) == (4, 5)
    assert len(drifts) == 3
    assert all(figure.svg.count("stroke-linejoin") == 400 for figure in drifts)
    assert "beta" in schedule.legend[0][1]
