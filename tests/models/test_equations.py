"""The loss that each optimiser of a system minimises is the paper's, computed independently in NumPy.

The equations stand in tests/models/equations, in a file of the same name as the system's: a function of the model and a
batch that draws the random numbers of a training step in the same order. It returns, by the attribute name of each
optimiser, a function that computes the terms of its loss at the present parameters.
"""

import dataclasses
import itertools
from importlib import import_module

import numpy as np
import pytest

from tests.models.cases import batch_for, each_case, each_kind, make, models, spec_for
from tinygen import functional, random
from tinygen.autograd import grad
from tinygen.distributions import Normal
from tinygen.optim import Optimizer
from tinygen.random import Stream

STEPS = 6
SMALLEST_SHARE = 0.02
"""Each term of a loss has at least this share of it, so that an error in any of them is noticed."""
STEP_LENGTH = 5e-4
"""Length of the steps of central differences."""


def equation_of(name):
    """The equation of a system, and weights for it where one of 1 or less would hide a term: `WEIGHTS` beside it.

    With these a missing weight is noticed, and the critic of the Wasserstein GAN varies within its bound of clipping.
    """
    system = models.get(name)
    module_name = f"tests.models.equations.{system.__module__.rpartition('.')[2]}"
    try:
        equations = import_module(module_name)
        return equations.EQUATIONS[name], getattr(equations, "WEIGHTS", {}).get(name, {})
    except (ImportError, KeyError):
        pytest.fail(f"{name} has no equation: add one to EQUATIONS in {module_name.replace('.', '/')}.py")


def all_cases():
    yield from ((case.values[0], case.values[1], None) for case in each_case())
    yield from ((case.values[0], models.get(case.values[0]).tiny[0], case.values[1]) for case in each_kind())


def model_with_random_weights(name, config, kind):
    """A model with random parameters, at which all terms of the loss are of similar size."""
    system = models.get(name)
    more = {} if config.get("samples", 1) > 1 else equation_of(name)[1]
    model = make(name, config | more, spec_for(system, kind=kind, config=config))
    for number, parameter in enumerate(model.parameters()):
        drawn = Stream(number, "far").normal(parameter.shape)
        fan_in = max(1, parameter.size // parameter.shape[-1]) if parameter.data.ndim > 1 else 4
        parameter.assign((drawn / np.sqrt(fan_in)).astype(np.float32))
    return model


def assert_loss_matches(model, optimizer, loss, terms):
    """Assert that the loss and its derivative along two directions are those of the equation's terms."""
    expected = terms()
    for term, value in expected.items():
        assert abs(value) > SMALLEST_SHARE * sum(map(abs, expected.values())), f"{term} hardly matters: {expected}"
    assert float(loss) == pytest.approx(sum(expected.values()), rel=2e-5, abs=2e-5)
    parameters = list(optimizer.parameters.values())
    gradient = grad(loss, parameters, retain_graph=True)
    flat_gradient = np.concatenate([g.numpy().ravel().astype("float64") for g in gradient])
    for direction in (flat_gradient, Stream(7, "direction").normal(len(flat_gradient)).astype("float64")):
        unit = direction / np.linalg.norm(direction)
        assert flat_gradient @ unit == pytest.approx(
            slope(parameters, unit, terms), rel=0.03, abs=0.005 * np.linalg.norm(flat_gradient)
        )


def slope(parameters, unit, terms):
    """The derivative of the sum of the terms along a direction, by central differences."""
    cuts = np.cumsum([p.size for p in parameters])[:-1]
    parts = [part.reshape(p.shape) for p, part in zip(parameters, np.split(unit, cuts), strict=True)]
    before, values = [p.data.copy() for p in parameters], []
    for sign in (1, -1):
        for p, start, part in zip(parameters, before, parts, strict=True):
            p.data[...] = start + sign * STEP_LENGTH * part
        values.append(sum(terms().values()))
    for p, start in zip(parameters, before, strict=True):
        p.data[...] = start
    return (values[0] - values[1]) / (2 * STEP_LENGTH)


def optimizers_of(module, prefix=""):
    """Optimisers of a system and of systems in it, with their names."""
    yield from ((prefix + name, value) for name, value in vars(module).items() if isinstance(value, Optimizer))
    for name, child in module.children():
        yield from optimizers_of(child, f"{prefix}{name}.")


def run_steps(model, equation, monkeypatch):
    """Train until each optimiser has made a step, and compare the loss of each step with the equation."""
    names = {id(optimizer): name for name, optimizer in optimizers_of(model)}
    missing, step, terms = set(names.values()), Optimizer.step, {}

    def step_after_comparison(self, loss=None, **options):
        name = names[id(self)]
        assert_loss_matches(model, self, loss, terms[name])
        missing.discard(name)
        step(self, loss, **options)

    monkeypatch.setattr(Optimizer, "step", step_after_comparison)
    for _ in range(STEPS):
        if not missing:
            return
        batch, streams = batch_for(model), random.get_state()
        terms = equation(model, batch)
        random.set_state(streams)
        model.training_step(batch)
    assert not missing, f"{missing} made no step in {STEPS} steps"


@pytest.mark.parametrize(("name", "config", "kind"), list(all_cases()))
def test_the_minimised_loss_is_that_of_the_equation(name, config, kind, monkeypatch):
    run_steps(model_with_random_weights(name, config, kind), equation_of(name)[0], monkeypatch)


def test_half_a_kl_is_noticed(monkeypatch):
    kl = Normal.kl
    monkeypatch.setattr(Normal, "kl", lambda self, *other: 0.5 * kl(self, *other))
    with pytest.raises(AssertionError):
        run_steps(model_with_random_weights("vae", models.get("vae").tiny[0], None), equation_of("vae")[0], monkeypatch)


@pytest.mark.parametrize(("name", "weight"), [("aae", "regularisation"), ("wgan-gp", "penalty")])
def test_a_tenth_of_a_regulariser_is_noticed(name, weight, monkeypatch):
    model = model_with_random_weights(name, models.get(name).tiny[0], None)
    right = model.config
    wrong = dataclasses.replace(right, **{weight: 0.1 * getattr(right, weight)})

    def equation(model, batch):
        model.config = right
        terms = equation_of(name)[0](model, batch)
        model.config = wrong
        return terms

    with pytest.raises(AssertionError):
        run_steps(model, equation, monkeypatch)


def test_half_the_cost_of_fakes_is_noticed(monkeypatch):
    softplus, calls = functional.softplus, itertools.count()
    halved = lambda x: (0.5 if next(calls) == 1 else 1) * softplus(x)  # noqa: E731
    monkeypatch.setattr(functional, "softplus", halved)
    with pytest.raises(AssertionError):
        run_steps(model_with_random_weights("gan", models.get("gan").tiny[0], None), equation_of("gan")[0], monkeypatch)


def test_a_system_without_an_equation_fails(monkeypatch):
    other = type("Other", (), {"__module__": "tinygen.models.family.other"})
    monkeypatch.setattr(models, "get", lambda name: other)
    with pytest.raises(pytest.fail.Exception, match=r"add one to EQUATIONS in .*/other\.py"):
        equation_of("other")
