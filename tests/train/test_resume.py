"""Exact resume, for every model: a run that is killed and resumed ends with the bytes of one that was not killed."""

import dataclasses
from types import SimpleNamespace

import pytest

from tests.models.cases import spec_for, split_for
from tests.train.runs import Killed, kill_at, log_of
from tinygen import models, random, train
from tinygen.data import Dataset
from tinygen.data.needs import unmet
from tinygen.errors import CheckpointError
from tinygen.serialization import load, save
from tinygen.train import Run, training
from tinygen.train.loading import load_state

STEPS, SAVED, KILLED = 10, 4, 6
UNDER_WAY = {"warmup_steps": 3, "cosine_steps": 5, "averaging": 0.9}
UNDER_WAY |= dict.fromkeys(("discriminator_steps", "critic_steps", "long_critic_steps"), 3)
"""Fields by which a model has more state at step 4: a schedule, an average, steps of the discriminator alone."""


def make(name, spec):
    """A model of that name, built from seed 0: its first tiny configuration, with the fields of `UNDER_WAY` it has."""
    system = models.get(name)
    fields = {field.name for field in dataclasses.fields(system.Config)}
    random.seed(0)
    config = {"batch_size": 9} | system.tiny[0] | UNDER_WAY
    return system(system.Config(**{name: value for name, value in config.items() if name in fields}), spec)


def state_of(folder):
    tensors, meta = load(folder / "checkpoint.safetensors")
    return {name: array.tobytes() for name, array in tensors.items()}, meta | {"seconds": 0}


def data_for(name, *datasets):
    """The first of the data sets that has what a model needs; if none has, random examples of the needed fields."""
    system = models.get(name)
    for each in datasets:
        if unmet(system.needs_with(system.Config()), each.spec) is None:
            return each
    described = SimpleNamespace(spec=spec_for(system, config=system.tiny[0]))
    return Dataset(described.spec, *(split_for(described, n) for n in (40, 8, 8)))


@pytest.mark.parametrize("name", models.names())
def test_a_killed_run_of_every_model_resumes_to_the_same_bytes(name, tmp_path, data, points, monkeypatch):
    data = data_for(name, data, points)
    monkeypatch.setattr(training.Training, "finish", lambda self: {})  # the report takes longer than the steps
    settings = {"steps": STEPS, "save_every": SAVED, "quiet": True}
    train.fit(make(name, data.spec), data, out=tmp_path / "whole", **settings)

    model = kill_at(make(name, data.spec), KILLED)
    with pytest.raises(Killed):
        train.fit(model, data, out=tmp_path / "killed", **settings)
    tensors, meta = load(tmp_path / "killed" / "checkpoint.safetensors")
    assert meta["step"] == SAVED
    if {"discriminator_steps", "critic_steps"} & vars(model.config).keys():
        assert tensors["steps_alone"] == 1, "the checkpoint falls between two updates of the generator"

    train.resume(make(name, data.spec), data, tmp_path / "killed", quiet=True)
    assert state_of(tmp_path / "killed") == state_of(tmp_path / "whole")
    assert log_of(tmp_path / "killed") == log_of(tmp_path / "whole")


def test_a_run_older_than_a_field_of_its_configuration_resumes_and_opens(tmp_path, data):
    """The field `likelihood` of a VAE: its default is what older versions did."""
    out = tmp_path / "old"
    train.fit(make("vae", data.spec), data, out=out, steps=2, quiet=True)
    tensors, meta = load(out / "checkpoint.safetensors")
    run = Run.open(out)
    for recorded in (meta, run.config):
        for newer in ("likelihood", "components"):
            del recorded["config"][newer]
    save(out / "checkpoint.safetensors", tensors, meta)
    run.save_config()
    train.resume(make("vae", data.spec), data, out, steps=4, quiet=True)
    assert load_state(Run.open(out), make("vae", data.spec))["step"] == 4
    other = models.get("vae")(dataclasses.replace(make("vae", data.spec).config, latent=4), data.spec)
    with pytest.raises(CheckpointError, match="does not have the configuration"):
        load_state(Run.open(out), other)
