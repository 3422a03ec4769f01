"""The inverse autoregressive flow: its log-determinant, its dependences, and a density that it fits."""

import numpy as np
import pytest

import tinygen as tg
from tinygen import functional as F
from tinygen import random
from tinygen.autograd import no_grad
from tinygen.distributions import Normal
from tinygen.models.variational.iaf_vae import InverseAutoregressiveFlow
from tinygen.nn import Parameter
from tinygen.optim import Adam, cosine
from tinygen.random import Stream

D, HIDDEN = 4, 12


def flow_with_large_weights(steps):
    random.seed(0)
    flow = InverseAutoregressiveFlow(D, HIDDEN, 2, steps).astype("float64")
    for number, p in enumerate(flow.parameters()):  # far from the identity
        p.assign(Stream(number, "far").normal(p.shape, dtype="float64"))
    return flow


def jacobian(flow, z, context):
    """d z / d z_0 (D, D) of one vector, by central differences."""
    with no_grad():
        columns = []
        for direction in 1e-5 * np.eye(D):
            forward, backward = (
                flow(tg.tensor(z + sign * direction, "float64"), context)[0].numpy() for sign in (1, -1)
            )
            columns.append((forward - backward)[0] / 2e-5)
    return np.stack(columns, axis=1)


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_the_log_determinant_matches_that_of_the_numeric_jacobian(steps):
    flow = flow_with_large_weights(steps)
    for seed in range(3):
        z = Stream(seed, "z").normal((1, D), dtype="float64")
        context = tg.tensor(Stream(seed, "context").normal((1, HIDDEN), dtype="float64"), "float64")
        _, log_slope = flow(tg.tensor(z, "float64"), context)
        sign, expected = np.linalg.slogdet(jacobian(flow, z, context))
        assert sign == 1
        assert float(log_slope.sum()) == pytest.approx(expected, abs=1e-6)
        assert steps == 0 or abs(expected) > 1e-3


def test_steps_are_autoregressive_in_alternating_order():
    context = tg.tensor(np.zeros((1, HIDDEN)), "float64")
    z = Stream(0, "z").normal((1, D), dtype="float64")
    first, both = (jacobian(flow_with_large_weights(steps), z, context) for steps in (1, 2))
    assert (np.triu(first, 1) == 0).all(), "a dimension depends on those before it"
    assert (np.abs(first[np.tril_indices(D)]) > 1e-9).all()
    assert (np.abs(both) > 1e-9).all(), "after a step in reverse order each depends on all"


def banana(z):
    """Sum of log p of z (N, 2): z_1 is standard normal, z_2 normal around z_1^2 - 1 with deviation 1/2."""
    return (Normal(0.0, 1.0).log_prob(z[:, 0]) + Normal(z[:, 0] * z[:, 0] - 1, 0.5).log_prob(z[:, 1])).sum()


def fitted_kl(steps):
    """KL(q || banana) in nats after training q, a diagonal normal followed by a flow of `steps` steps."""
    random.seed(0)
    mean, log_var = (Parameter(np.zeros(2, np.float32)) for _ in range(2))
    flow = InverseAutoregressiveFlow(2, 32, 2, steps)
    parameters = {"mean": mean, "log_var": log_var, **flow.named_parameters()}
    optimizer = Adam(parameters, cosine(2e-2, 0.0, 800))

    def kl(noise):
        q = Normal(F.broadcast_to(mean, shape=noise.shape), log_var=F.broadcast_to(log_var, shape=noise.shape))
        start = q.mean + q.std * noise
        z, log_slope = flow(start, np.zeros((len(noise), 32), np.float32))
        return (q.log_prob(start).sum() - log_slope.sum() - banana(z)) / len(noise)

    for _ in range(800):
        optimizer.step(kl(random.stream("train").normal((256, 2))))
    with no_grad():
        return float(kl(Stream(1, "noise").normal((20_000, 2))))


@pytest.mark.slow
def test_a_flow_fits_a_curved_density_that_a_diagonal_normal_does_not():
    assert fitted_kl(steps=2) < 0.05 < 0.3 < fitted_kl(steps=0)
