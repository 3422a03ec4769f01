"""What each optimiser of a system is asked to descend is the paper's loss, computed once more in NumPy.

The equations stand in tests/models/equations, in a file of the same name as the system's: a function of the model and a
batch that draws the random numbers of a training step in its order, and returns for each optimiser, by its attribute, a
function that gives the terms of its loss at the present parameters.
"""

import dataclasses
import itertools
from importlib import import_module

import numpy as np
import pytest

from tests.models.test_protocol import batch_for, each_case, each_kind, make, models, spec_for
from tinygen import functional, random
from tinygen.autograd import grad
from tinygen.distributions import Normal
from tinygen.optim import Optimizer
from tinygen.random import Stream

STEPS = 6
MATTERS = 0.02
"""Share of the loss that each of its terms has at least, so that none can be wrong without notice."""
SMALL = 5e-4
"""Length of the step in a direction along which a derivative is measured."""
WEIGHTED = {
    "vae": {"beta": 30.0},
    "cvae": {"beta": 30.0},
    "iaf-vae": {"beta": 30.0},
    "m2": {"alpha": 60.0},
    "m1-m2": {"alpha": 60.0},
    "vq-vae": {"commitment": 9.0},
    "aae": {"regularisation": 4.0},
    "wgan-gp": {"penalty": 3.0},
    "wgan": {"clip": 2.0},
    "contractive-ae": {"contraction": 200.0},
}
"""Weights other than 1, so that a term without its weight is noticed, and a critic that is not clipped flat."""


def equation_of(name):
    system = models.get(name)
    place = f"tests.models.equations.{system.__module__.rpartition('.')[2]}"
    try:
        return import_module(place).EQUATIONS[name]
    except (ImportError, KeyError):
        pytest.fail(f"{name} has no equation: add one to EQUATIONS in {place.replace('.', '/')}.py")


def each():
    yield from ((case.values[0], case.values[1], None) for case in each_case())
    yield from ((case.values[0], models.get(case.values[0]).tiny[0], case.values[1]) for case in each_kind())


def prepared(name, config, kind):
    """A model whose parameters are far from where they began, where all terms are of like size."""
    system = models.get(name)
    more = {} if config.get("samples", 1) > 1 else WEIGHTED.get(name, {})
    model = make(name, config | more, spec_for(system, kind=kind))
    for number, parameter in enumerate(model.parameters()):
        drawn = Stream(number, "far").normal(parameter.shape)
        fan_in = max(1, parameter.size // parameter.shape[-1]) if parameter.data.ndim > 1 else 4
        parameter.assign((drawn / np.sqrt(fan_in)).astype(np.float32))
    return model


def hold(model, optimizer, loss, terms):
    """The loss and its derivative along two directions are those of the equation."""
    expected = terms()
    for term, value in expected.items():
        assert abs(value) > MATTERS * sum(map(abs, expected.values())), f"{term} hardly matters: {expected}"
    assert float(loss) == pytest.approx(sum(expected.values()), rel=2e-5, abs=2e-5)
    parameters = list(optimizer.parameters.values())
    gradient = grad(loss, parameters, retain_graph=True)
    flat = np.concatenate([g.numpy().ravel().astype("float64") for g in gradient])
    for direction in (flat, Stream(7, "direction").normal(len(flat)).astype("float64")):
        unit = direction / np.linalg.norm(direction)
        assert flat @ unit == pytest.approx(slope(parameters, unit, terms), rel=0.03, abs=0.005 * np.linalg.norm(flat))


def slope(parameters, unit, terms):
    """The derivative of the sum of the terms along a direction, by central differences."""
    cuts = np.cumsum([p.size for p in parameters])[:-1]
    parts = [part.reshape(p.shape) for p, part in zip(parameters, np.split(unit, cuts), strict=True)]
    before, values = [p.data.copy() for p in parameters], []
    for sign in (1, -1):
        for p, start, part in zip(parameters, before, parts, strict=True):
            p.data[...] = start + sign * SMALL * part
        values.append(sum(terms().values()))
    for p, start in zip(parameters, before, strict=True):
        p.data[...] = start
    return (values[0] - values[1]) / (2 * SMALL)


def optimizers_of(module, prefix=""):
    """Optimisers of a system and of systems in it, with their names."""
    yield from ((prefix + name, value) for name, value in vars(module).items() if isinstance(value, Optimizer))
    for name, child in module.children():
        yield from optimizers_of(child, f"{prefix}{name}.")


def run_steps(model, equation, monkeypatch):
    """Train until each optimiser has been asked, holding what it is asked to the equation."""
    names = {id(optimizer): name for name, optimizer in optimizers_of(model)}
    missing, step, terms = set(names.values()), Optimizer.step, {}

    def watched(self, loss=None, **options):
        name = names[id(self)]
        hold(model, self, loss, terms[name])
        missing.discard(name)
        step(self, loss, **options)

    monkeypatch.setattr(Optimizer, "step", watched)
    for _ in range(STEPS):
        if not missing:
            return
        batch, streams = batch_for(model), random.get_state()
        terms = equation(model, batch)
        random.set_state(streams)
        model.training_step(batch)
    assert not missing, f"{missing} had no turn in {STEPS} steps"


@pytest.mark.parametrize(("name", "config", "kind"), list(each()))
def test_what_is_descended_is_the_equation(name, config, kind, monkeypatch):
    run_steps(prepared(name, config, kind), equation_of(name), monkeypatch)


def test_half_a_kl_is_noticed(monkeypatch):
    kl = Normal.kl
    monkeypatch.setattr(Normal, "kl", lambda self, *other: 0.5 * kl(self, *other))
    with pytest.raises(AssertionError):
        run_steps(prepared("vae", models.get("vae").tiny[0], None), equation_of("vae"), monkeypatch)


@pytest.mark.parametrize(("name", "weight"), [("aae", "regularisation"), ("wgan-gp", "penalty")])
def test_a_tenth_of_a_regulariser_is_noticed(name, weight, monkeypatch):
    model = prepared(name, models.get(name).tiny[0], None)
    right = model.config
    wrong = dataclasses.replace(right, **{weight: 0.1 * getattr(right, weight)})

    def equation(model, batch):
        model.config = right
        terms = equation_of(name)(model, batch)
        model.config = wrong
        return terms

    with pytest.raises(AssertionError):
        run_steps(model, equation, monkeypatch)


def test_half_the_cost_of_fakes_is_noticed(monkeypatch):
    softplus, calls = functional.softplus, itertools.count()
    halved = lambda x: (0.5 if next(calls) == 1 else 1) * softplus(x)  # noqa: E731
    monkeypatch.setattr(functional, "softplus", halved)
    with pytest.raises(AssertionError):
        run_steps(prepared("gan", models.get("gan").tiny[0], None), equation_of("gan"), monkeypatch)


def test_a_system_without_an_equation_fails(monkeypatch):
    other = type("Other", (), {"__module__": "tinygen.models.family.other"})
    monkeypatch.setattr(models, "get", lambda name: other)
    with pytest.raises(pytest.fail.Exception, match=r"add one to EQUATIONS in .*/other\.py"):
        equation_of("other")
