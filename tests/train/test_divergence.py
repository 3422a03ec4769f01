"""A training that diverged can be continued, at a smaller learning rate, from a state that is not spoilt."""

import shutil

import numpy as np
import pytest

import tinygen as tg
from tinygen import data, models, random
from tinygen.errors import NonFiniteError
from tinygen.train import Run, loading, resume

VAE = models.get("vae")


@pytest.fixture(scope="module")
def digits():
    return models.check_data(VAE, data.load("digits8x8"))


def model(digits, rate):
    random.seed(0)
    return VAE(VAE.Config(hidden=8, latent=2, batch_size=64, learning_rate=rate), digits.spec)


def diverge(digits, folder, rate=1e30, **length):
    """The message of a training at an absurd learning rate."""
    with np.errstate(all="ignore"), pytest.raises(NonFiniteError) as caught:
        tg.fit(model(digits, rate), digits, quiet=True, out=folder, save_every=1, **(length or {"steps": 20}))
    return str(caught.value)


def step_of(folder):
    return tg.load(folder / "checkpoint.safetensors")[1]["step"]


def names(folder):
    return {file.name for file in folder.iterdir() if file.is_file()}


@pytest.mark.parametrize("rate", [1e30, 1e12, 1e6])
def test_useless_weights_do_not_stay_in_the_checkpoint_and_a_smaller_rate_goes_on(digits, tmp_path, rate):
    """The first step spoils the weights, which are finite, and saved; the loss of a later step is NaN or infinite."""
    message = diverge(digits, tmp_path / "run", rate)
    assert "checkpoint.safetensors holds again step 0, which is good" in message
    assert f"--learning-rate {VAE.Config().learning_rate:g}" in message
    assert step_of(tmp_path / "run") == 0
    summary = resume(
        model(digits, 1e-3), digits, tmp_path / "run", learning_rates={"learning_rate": 1e-3}, steps=30, quiet=True
    )
    assert summary["steps"] == 30
    other = tg.fit(model(digits, 1e-3), digits, steps=30, quiet=True)
    assert summary["test"] == other["test"]  # as if the first training had never been
    run = Run.open(tmp_path / "run")
    assert [change["step"] for change in run.config["changes"]] == [0]
    assert not any("earlier" in name for name in names(run.folder))
    logged = [(entry["step"], entry["split"]) for entry in run.history()]
    assert logged == sorted(set(logged))


def test_a_process_that_ended_in_between_leaves_the_earlier_state_too(digits, tmp_path):
    folder = tmp_path / "run"
    tg.fit(model(digits, 1e-3), digits, steps=3, quiet=True, out=folder, save_every=1)
    run = Run.open(folder)
    run.keep_earlier()
    good = step_of(folder)
    tensors, meta = tg.load(run.checkpoint_file)
    spoilt = {name: array * 1e30 if array.dtype == np.float32 else array for name, array in tensors.items()}
    tg.save(run.checkpoint_file, spoilt, {**meta, "step": 5})
    with np.errstate(all="ignore"), pytest.raises(NonFiniteError, match=f"holds again step {good}"):
        resume(model(digits, 1e-3), digits, folder, steps=20, quiet=True)
    assert step_of(folder) == good
    assert resume(model(digits, 1e-3), digits, folder, steps=8, quiet=True)["steps"] == 8


def test_a_sound_checkpoint_stays_where_a_later_step_diverges(digits, tmp_path):
    trained = model(digits, 1e-3)
    step, count = trained.training_step, iter(range(100))

    def fails_in_its_seventh_step(batch):
        if next(count) >= 6:
            raise NonFiniteError("the loss is nan")
        return step(batch)

    trained.training_step = fails_in_its_seventh_step
    with pytest.raises(
        NonFiniteError, match=r"diverged at step 7: the loss is nan; .*still holds step 4, which is good"
    ):
        tg.fit(trained, digits, quiet=True, out=tmp_path / "run", save_every=4, steps=20)
    assert step_of(tmp_path / "run") == 4


def test_the_best_state_falls_back_with_the_checkpoint(digits, tmp_path):
    folder = tmp_path / "run"
    tg.fit(model(digits, 1e-3), digits, epochs=1, quiet=True, out=folder)
    run = Run.open(folder)
    best = run.best_file.read_bytes()
    run.keep_earlier()
    run.best_file.unlink()  # as when it is replaced
    shutil.copy(run.checkpoint_file, run.best_file)
    assert run.fall_back() == step_of(folder)
    assert run.best_file.read_bytes() == best
    assert run.fall_back() is None
    run.keep_earlier()
    run.forget_earlier()
    assert not any("earlier" in name for name in names(folder))


def test_changes_made_after_the_state_that_is_gone_on_from_apply_from_there(digits, tmp_path):
    folder = tmp_path / "run"
    diverge(digits, folder)
    run = Run.open(folder)
    run.config["changes"] = [{"step": 1, "config": {"learning_rate": [1e30, 1e29]}}]
    run.config["config"]["learning_rate"] = 1e29
    run.save_config()
    resume(model(digits, 1e-3), digits, folder, learning_rates={"learning_rate": 1e-3}, steps=2, quiet=True)
    run = Run.open(folder)
    assert [change["step"] for change in run.config["changes"]] == [0, 0]
    assert [step for step, _ in loading.model_of(run).earlier] == [0, 0]
    run.load(data=digits)
