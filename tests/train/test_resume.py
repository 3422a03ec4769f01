"""Exact resume, for every model: a run that is killed and goes on ends with the bytes of one that was not."""

import dataclasses

import pytest

from tests.train.runs import Killed, kill_at, log_of
from tinygen import models, random, train
from tinygen.serialization import load
from tinygen.train import training

STEPS, SAVED, KILLED = 10, 4, 6
SMALL = {
    "latent": 3,
    "hidden": 6,
    "channels": 2,
    "blocks": 1,
    "head": 5,
    "first_kernel": 3,
    "importance_samples": 2,
    "batch_size": 9,
    # All that a model may be in the middle of at step 4: a schedule, an average, and the discriminator's turns.
    "warmup_steps": 3,
    "cosine_steps": 5,
    "averaging": 0.9,
    "discriminator_steps": 3,
    "critic_steps": 3,
    "long_critic_steps": 3,
}


def make(name, spec):
    """A small model of that name, with every field of `SMALL` that it has."""
    config = models.get(name).Config
    fields = {field.name for field in dataclasses.fields(config)}
    random.seed(0)
    return models.get(name)(config(**{key: value for key, value in SMALL.items() if key in fields}), spec)


def state_of(folder):
    tensors, meta = load(folder / "checkpoint.safetensors")
    return {name: array.tobytes() for name, array in tensors.items()}, meta | {"seconds": 0}


@pytest.mark.parametrize("name", models.names())
def test_a_killed_run_of_every_model_resumes_to_the_same_bytes(name, tmp_path, data, monkeypatch):
    monkeypatch.setattr(training.Training, "finish", lambda self: {})  # the report takes longer than the steps
    settings = {"steps": STEPS, "save_every": SAVED, "quiet": True}
    train.fit(make(name, data.spec), data, out=tmp_path / "whole", **settings)

    model = kill_at(make(name, data.spec), KILLED)
    with pytest.raises(Killed):
        train.fit(model, data, out=tmp_path / "killed", **settings)
    tensors, meta = load(tmp_path / "killed" / "checkpoint.safetensors")
    assert meta["step"] == SAVED
    if {"discriminator_steps", "critic_steps"} & vars(model.config).keys():
        assert tensors["steps_alone"] == 1, "the checkpoint falls between two turns of the generator"

    train.resume(make(name, data.spec), data, tmp_path / "killed", quiet=True)
    assert state_of(tmp_path / "killed") == state_of(tmp_path / "whole")
    assert log_of(tmp_path / "killed") == log_of(tmp_path / "whole")
