"""The continuous Bernoulli density against arithmetic with 60 decimal digits, and against integrals.

Gradients of higher order are tested in the op table (`tests/ops/composites.py`).
"""

from decimal import Decimal, localcontext

import numpy as np
import pytest

import tinygen as tg
from tinygen.distributions import ContinuousBernoulli

LOGITS = [0.0, 1e-8, -1e-6, 1e-4, 1e-3, -0.01, 0.1, -0.9, 0.999, 1.0, 1.001, -1.1, 3.0, -8.0, 20.0, -80.0]
NODES, WEIGHTS = np.polynomial.legendre.leggauss(200)
X, DX = (NODES + 1) / 2, WEIGHTS / 2


def exact(logit: float, x: float):
    """log p(x) = l x - log((e^l - 1) / l), the mean e^l / (e^l - 1) - 1 / l, and the density's slope in l, x - mean."""
    with localcontext() as context:
        context.prec = 60
        a, point = Decimal(logit), Decimal(x)
        if a == 0:
            return 0.0, 0.5, float(point - Decimal("0.5"))
        grown = a.exp() - 1
        mean = a.exp() / grown - 1 / a
        return float(a * point - (grown / a).ln()), float(mean), float(point - mean)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 2e-15), ("float32", 1e-6)])
@pytest.mark.parametrize("x", [0.0, 0.3, 0.5, 1.0])
def test_log_prob_its_slope_and_the_mean_are_accurate_to_the_last_digits(dtype, tolerance, x):
    logits = tg.tensor(LOGITS, dtype, requires_grad=True)
    distribution, points = ContinuousBernoulli(logits), np.full(len(LOGITS), x, dtype)
    log_prob = distribution.log_prob(points)
    (slope,) = tg.grad(log_prob.sum(), [logits])
    assert log_prob.dtype == slope.dtype == distribution.mean.dtype == dtype
    places = logits.numpy().astype("float64"), points.astype("float64")
    values, means, slopes = np.array([exact(*each) for each in zip(*places, strict=True)]).T
    np.testing.assert_allclose(log_prob.numpy(), values, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(distribution.mean.numpy(), means, rtol=4 * tolerance)
    np.testing.assert_allclose(slope.numpy(), slopes, rtol=0, atol=4 * tolerance)


def test_log_prob_at_one_half_has_a_small_relative_error():
    """At x = 1/2 the linear term l x does not hide relative errors of the normaliser."""
    distances = np.array([1e-6, 1e-4, 1e-2, 0.3, 0.99])
    logits = tg.tensor(distances, "float64", requires_grad=True)
    log_prob = ContinuousBernoulli(logits).log_prob(np.full(5, 0.5))
    (slope,) = tg.grad(log_prob.sum(), [logits])
    # At 1e-6 the difference costs 26 of the 60 digits; enough are left.
    np.testing.assert_allclose(log_prob.numpy(), [exact(each, 0.5)[0] for each in distances], rtol=1e-13)
    np.testing.assert_allclose(slope.numpy(), [exact(each, 0.5)[2] for each in distances], rtol=1e-13)


@pytest.mark.parametrize("logit", [0.0, 1e-5, 0.7, 1.0, -2.5, 9.0, -30.0])
def test_the_density_integrates_to_one_and_to_its_mean(logit):
    distribution = ContinuousBernoulli(tg.tensor(np.full(200, logit), "float64"))
    density = np.exp(distribution.log_prob(X).numpy())
    assert (density * DX).sum() == pytest.approx(1, abs=1e-12)
    assert (X * density * DX).sum() == pytest.approx(distribution.mean.numpy()[0], abs=1e-12)


def test_huge_logits_stay_finite_in_float32():
    logits = tg.tensor([-1e30, -1e4, 1e4, 1e30], requires_grad=True)
    log_prob = ContinuousBernoulli(logits).log_prob(np.float32([0.0, 0.0, 1.0, 1.0]))
    np.testing.assert_allclose(log_prob.numpy(), np.log([1e30, 1e4, 1e4, 1e30]), rtol=1e-5)
    assert np.isfinite(tg.grad(log_prob.sum(), [logits])[0].numpy()).all()
    np.testing.assert_allclose(ContinuousBernoulli(logits).mean.numpy(), [0, 1e-4, 1 - 1e-4, 1], atol=1e-6)
