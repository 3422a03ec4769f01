"""The learning rate that falls along a cosine over the whole run: its values, and runs that change their length."""

import math

import pytest

from tests.train.runs import Killed, kill_at, log_of, tensors_of
from tinygen import train
from tinygen.models import VAE
from tinygen.models.base import Plan, learning_rate
from tinygen.serialization import load
from tinygen.train import Run

PEAK = 0.01


def learning_rates(model) -> list[float]:
    """A list to which each later training step of the model appends its learning rate."""
    train_as_usual, rates = model.training_step, []

    def training_step(batch):
        rates.append(model.optimizer.value("lr"))
        return train_as_usual(batch)

    model.training_step = training_step
    return rates


def cosine(step, steps):
    return PEAK / 2 * (1 + math.cos(math.pi * step / steps))


@pytest.fixture
def make(make_model):
    """As `make_model`, with the default schedule: the learning rate falls over the whole run, from PEAK."""
    return lambda **config: make_model(**{"learning_rate": PEAK, "cosine_steps": None} | config)


def test_by_default_it_falls_to_zero_over_the_planned_steps(data, make):
    assert VAE.Config().cosine_steps is None
    for length, steps in (({"epochs": 2}, 14), ({"steps": 9}, 9)):
        rates = learning_rates(model := make())
        train.fit(model, data, quiet=True, **length)
        assert rates == pytest.approx([cosine(step, steps) for step in range(steps)])


def test_after_a_warmup_it_falls_over_the_remaining_steps(data, make):
    rates = learning_rates(model := make(warmup_steps=4))
    train.fit(model, data, steps=10, quiet=True)
    warmup = [PEAK * (step + 1) / 4 for step in range(4)]
    assert rates == pytest.approx(warmup + [cosine(step, 6) for step in range(6)])


@pytest.mark.parametrize(("steps", "warmup"), [(None, 0), (3, 3), (2, 3)])
def test_it_is_constant_after_the_warmup_where_no_planned_steps_remain(steps, warmup):
    schedule = learning_rate(VAE.Config(learning_rate=PEAK, warmup_steps=warmup), Plan(steps))
    assert schedule(warmup) == schedule(warmup + 100) == PEAK


def test_it_falls_over_cosine_steps_and_is_constant_with_0(data, make):
    for cosine_steps, expected in ((4, [cosine(step, 4) for step in range(4)] + [0.0] * 3), (0, [PEAK] * 7)):
        rates = learning_rates(model := make(cosine_steps=cosine_steps))
        train.fit(model, data, epochs=1, quiet=True)
        assert rates == pytest.approx(expected)


def test_with_a_budget_it_is_constant_and_that_is_printed(data, make, capsys):
    message = "the learning rate is constant: with a budget the number of steps over which it would fall is unknown"
    rates = learning_rates(model := make())
    train.fit(model, data, budget=0.05)
    assert set(rates) == {PEAK}
    assert message in capsys.readouterr().out.splitlines()
    train.fit(make(cosine_steps=0), data, budget=0.05)
    assert message not in capsys.readouterr().out


@pytest.mark.parametrize("step", [3, 6, 11])
def test_a_killed_run_resumes_to_the_same_bytes(tmp_path, data, make, step):
    train.fit(make(), data, steps=13, out=tmp_path / "whole", save_every=2, quiet=True)
    with pytest.raises(Killed):
        train.fit(kill_at(make(), step), data, steps=13, out=tmp_path / "killed", save_every=2, quiet=True)
    train.resume(make(), data, tmp_path / "killed", quiet=True)
    assert tensors_of(tmp_path / "killed") == tensors_of(tmp_path / "whole")


def test_a_new_length_is_followed_from_its_step_on_and_that_is_printed(tmp_path, data, make, capsys):
    train.fit(make(), data, epochs=1, out=tmp_path / "run", quiet=True)
    rates = learning_rates(model := make())
    train.resume(model, data, tmp_path / "run", epochs=2)
    assert rates == pytest.approx([cosine(step, 14) for step in range(7, 14)])
    message = "the learning rate follows the new length: it is 0.005 now, where by the old length it would be 0"
    assert message in capsys.readouterr().out.splitlines()
    lengths = [{"epochs": n, "steps": None, "budget": None} for n in (1, 2)]
    assert Run.open(tmp_path / "run").config["changes"] == [{"step": 7, "fit": {"length": lengths}}]


def test_a_killed_run_with_a_new_length_resumes_to_the_same_bytes(tmp_path, data, make, capsys):
    for name in ("whole", "killed"):
        train.fit(make(), data, epochs=1, out=tmp_path / name, save_every=3, quiet=True)
    train.resume(make(), data, tmp_path / "whole", epochs=3, quiet=True)
    with pytest.raises(Killed):
        train.resume(kill_at(make(), 6), data, tmp_path / "killed", epochs=3, quiet=True)
    assert load(tmp_path / "killed" / "checkpoint.safetensors")[1]["step"] == 12
    capsys.readouterr()
    train.resume(make(), data, tmp_path / "killed")
    assert "new length" not in capsys.readouterr().out
    assert tensors_of(tmp_path / "killed") == tensors_of(tmp_path / "whole")
    assert log_of(tmp_path / "killed") == log_of(tmp_path / "whole")


def test_an_older_run_with_0_cosine_steps_keeps_its_learning_rate(tmp_path, data, make_model):
    """0 recorded cosine steps mean a constant learning rate."""
    train.fit(make_model(), data, steps=3, out=tmp_path / "run", quiet=True)
    run = Run.open(tmp_path / "run")
    assert run.config["config"]["cosine_steps"] == 0
    del run.config["fit"]["patience"]
    run.save_config()
    rates = learning_rates(model := make_model())
    train.resume(model, data, tmp_path / "run", steps=5, quiet=True)
    assert rates == [1e-3, 1e-3]
