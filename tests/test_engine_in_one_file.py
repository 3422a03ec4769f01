"""`examples/engine_in_one_file.py` against the package: values, gradients of first and second order, Adam."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

import tinygen as tg
from tinygen import functional as F

PATH = Path(__file__).parents[1] / "examples" / "engine_in_one_file.py"


@pytest.fixture(scope="module")
def engine():
    spec = importlib.util.spec_from_file_location("engine_in_one_file", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_example_has_at_most_200_lines():
    assert len(PATH.read_text(encoding="utf-8").splitlines()) <= 200


# Functions of a (3, 4), b (4,), c (4, 2) in either engine `e`, which use every operation, some with broadcasting.
FUNCTIONS = {
    "arithmetic": lambda e, a, b, c: (a * b - 2.0) / (1.5 + b * b) - (1.0 - a),
    "matmul and transpose": lambda e, a, b, c: e.exp(0.1 * (a @ c)) @ c.T + b,
    "logarithm": lambda e, a, b, c: e.log(1.0 + a * a * b * b),
    "activations": lambda e, a, b, c: e.tanh(a) * e.sigmoid(b) + e.softplus(a * b),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradients_of_both_orders_are_those_of_the_package(engine, name):
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(shape) for shape in ((3, 4), (4,), (4, 2))]
    ours = [tg.tensor(x, "float64", requires_grad=True) for x in arrays]
    theirs = [engine.Tensor(x) for x in arrays]
    y, z = FUNCTIONS[name](F, *ours), FUNCTIONS[name](engine, *theirs)
    np.testing.assert_allclose(z.data, y.numpy(), rtol=1e-12)

    used = [i for i, g in enumerate(tg.grad(y.sum(), ours, retain_graph=True)) if g.numpy().any()]
    ours, theirs = [ours[i] for i in used], [theirs[i] for i in used]
    our_first = tg.grad((y * y).sum(), ours, create_graph=True)
    its_first = engine.grad((z * z).sum(), theirs, create_graph=True)
    our_second = tg.grad(sum((g * g).sum() for g in our_first), ours)
    its_second = engine.grad(sum((g * g).sum() for g in its_first), theirs)
    for expected, actual in zip([*our_first, *our_second], [*(g.data for g in its_first), *its_second], strict=True):
        np.testing.assert_allclose(actual, expected.numpy(), rtol=1e-9, atol=1e-12)


def test_adam_makes_the_steps_of_the_package(engine):
    start = np.random.default_rng(1).standard_normal(5)
    p, q = tg.tensor(start, "float64", requires_grad=True), engine.Tensor(start.copy())
    ours, theirs = tg.optim.Adam([p], 0.1), engine.Adam([q], 0.1)
    for _ in range(4):
        ours.step((p * p * p).sum())
        theirs.step((q * q * q).sum())
    np.testing.assert_allclose(q.data, p.numpy(), rtol=1e-12)
