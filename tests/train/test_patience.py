"""Early stopping after `patience` epochs without a better validation, also in resumed runs."""

import json

import pytest

from tests.train.runs import Killed, kill_at, log_of, scripted, tensors_of
from tinygen import train
from tinygen.cli import main
from tinygen.errors import UsageError
from tinygen.serialization import load
from tinygen.train import Run, training

VALUES = (9.0, 5.0, 7.0, 5.0, 6.0, 1.0, 2.0, 3.0)  # the best of the first five epochs is the second


def fit(make_model, data, folder, patience, **options):
    options = {"epochs": 8, "save_every": 5, "quiet": True} | options
    return train.fit(scripted(make_model(), VALUES), data, out=folder, patience=patience, **options)


@pytest.fixture
def uninterrupted(tmp_path, make_model, data):
    """A run that stopped early, after epoch 4."""
    fit(make_model, data, tmp_path / "whole", 2)
    return tmp_path / "whole"


@pytest.mark.parametrize(("patience", "stops"), [(1, 3), (2, 4), (3, 5), (4, 8), (9, 8)])
def test_training_stops_after_patience_epochs_without_a_better_one(tmp_path, data, make_model, patience, stops):
    summary = fit(make_model, data, tmp_path / "run", patience)
    assert (summary["epochs"], summary["stopped_early"]) == (stops, stops < 8)
    assert summary == fit(make_model, data, None, patience) | {"seconds": summary["seconds"]}
    assert json.loads((tmp_path / "run/config.json").read_text())["fit"]["patience"] == patience
    assert [entry["step"] for entry in log_of(tmp_path / "run") if entry["split"] == "valid"][-1] == 7 * stops
    assert 7 * stops in Run.open(tmp_path / "run").samples()


def test_stopping_early_is_printed(data, make_model, tmp_path, capsys):
    fit(make_model, data, None, 2, quiet=False)
    assert "stopped early: no better -ELBO for 2 epochs" in capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("step", [1, 12, 15, 22, 28])
def test_a_killed_run_stops_at_the_same_epoch(tmp_path, data, make_model, uninterrupted, step):
    with pytest.raises(Killed):
        model = kill_at(scripted(make_model(), VALUES), step)
        train.fit(model, data, epochs=8, patience=2, save_every=5, out=tmp_path / "killed", quiet=True)
    summary = train.resume(scripted(make_model(), VALUES), data, tmp_path / "killed", quiet=True)
    assert summary["stopped_early"]
    assert tensors_of(tmp_path / "killed") == tensors_of(uninterrupted)
    assert log_of(tmp_path / "killed") == log_of(uninterrupted)


@pytest.mark.parametrize("method", ["save", "finish"])
def test_a_run_killed_after_its_last_step_trains_no_further(
    tmp_path, data, make_model, uninterrupted, method, monkeypatch
):
    usual = getattr(training.Training, method)

    def killed(self):
        if self.step == 28:
            raise Killed
        return usual(self)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(training.Training, method, killed)
        fit(make_model, data, tmp_path / "killed", 2)
    saved = load(tmp_path / "killed" / "checkpoint.safetensors")[1]["step"]
    assert saved == (25 if method == "save" else 28)
    train.resume(scripted(make_model(), VALUES), data, tmp_path / "killed", quiet=True)
    assert tensors_of(tmp_path / "killed") == tensors_of(uninterrupted)
    assert log_of(tmp_path / "killed") == log_of(uninterrupted)


def test_a_run_that_stopped_early_resumes_only_with_more_patience(data, make_model, uninterrupted):
    before = {file: file.read_bytes() for file in uninterrupted.rglob("*") if file.is_file()}
    for options in ({"epochs": 20}, {"patience": 1}, {"epochs": 20, "patience": 2}):
        with pytest.raises(
            UsageError, match=r"stopped early, at step 28, after [12] epochs without a better -ELBO: ask"
        ):
            train.resume(scripted(make_model(), VALUES), data, uninterrupted, quiet=True, **options)
    assert {file: file.read_bytes() for file in uninterrupted.rglob("*") if file.is_file()} == before
    summary = train.resume(scripted(make_model(), VALUES), data, uninterrupted, patience=4, quiet=True)
    assert (summary["epochs"], summary["stopped_early"]) == (8, False)
    config = Run.open(uninterrupted).config
    assert config["fit"]["patience"] == 4
    assert config["changes"] == [{"step": 28, "fit": {"patience": [2, 4]}}]


def test_without_a_finite_value_epochs_are_counted_from_the_beginning(data, make_model):
    model = scripted(make_model(), (float("nan"),) * 9)
    assert train.fit(model, data, epochs=9, patience=3, quiet=True)["epochs"] == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            "train gan --data digits8x8 --patience 2",
            "patience: gan names no metric that could get better; leave it out",
        ),
        ("train ae --data digits8x8 --patience 0", "patience is 0; it is a number of epochs, at least 1"),
        ("train ae --data digits8x8 --patience soon", "'soon' is not a whole number"),
    ],
)
def test_impossible_patience_is_refused(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([*words.split(), "--out", "run"]) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_the_commands_train_and_resume_take_patience(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = "train ae --data digits8x8 --hidden 4 --batch-size 400 --learning-rate 0 --epochs 5 --patience 1 --out run"
    assert main(words.split()) == 0
    assert "stopped early: no better cross-entropy for 1 epochs" in capsys.readouterr().out
    assert main(["resume", "run"]) == 0
    assert "run is complete" in capsys.readouterr().out
    assert main("resume run --patience 3".split()) == 0
    assert json.loads((tmp_path / "run/summary.json").read_text())["epochs"] == 4
