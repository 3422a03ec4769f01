"""The inverse autoregressive flow: its log-determinant against a numeric Jacobian, and its order."""

import numpy as np
import pytest

import tinygen as tg
from tinygen import random
from tinygen.autograd import no_grad
from tinygen.models.variational.iaf_vae import InverseAutoregressiveFlow
from tinygen.random import Stream

D, HIDDEN = 4, 12


def made(steps):
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
            ahead, back = (flow(tg.tensor(z + sign * direction, "float64"), context)[0].numpy() for sign in (1, -1))
            columns.append((ahead - back)[0] / 2e-5)
    return np.stack(columns, axis=1)


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_the_log_determinant_is_that_of_the_numeric_jacobian(steps):
    flow = made(steps)
    for seed in range(3):
        z = Stream(seed, "z").normal((1, D), dtype="float64")
        context = tg.tensor(Stream(seed, "context").normal((1, HIDDEN), dtype="float64"), "float64")
        _, log_slope = flow(tg.tensor(z, "float64"), context)
        sign, expected = np.linalg.slogdet(jacobian(flow, z, context))
        assert sign == 1
        assert float(log_slope.sum()) == pytest.approx(expected, abs=1e-6)
        assert steps == 0 or abs(expected) > 1e-3


def test_steps_take_the_dimensions_forwards_and_backwards():
    context = tg.tensor(np.zeros((1, HIDDEN)), "float64")
    z = Stream(0, "z").normal((1, D), dtype="float64")
    first, both = (jacobian(made(steps), z, context) for steps in (1, 2))
    assert (np.triu(first, 1) == 0).all(), "a dimension depends on those before it"
    assert (np.abs(first[np.tril_indices(D)]) > 1e-9).all()
    assert (np.abs(both) > 1e-9).all(), "after a step in reverse each depends on all"
