"""The best state: which one it is, that an interruption changes no byte of it, and that commands can use it."""

import json
import math
import os

import numpy as np
import pytest

from tests.train.runs import Killed, kill_at, scripted, tensors_of
from tinygen import models, train
from tinygen.cli import main
from tinygen.data import load as load_data
from tinygen.errors import NonFiniteError, RunError, UsageError
from tinygen.serialization import load
from tinygen.train import Run
from tinygen.train.best import Best
from tinygen.train.loading import load_state

STEPS = 30  # four epochs of 7 and a part
BEST = 14


@pytest.fixture
def uninterrupted(tmp_path, data, make_model):
    train.fit(scripted(make_model()), data, steps=STEPS, out=tmp_path / "whole", save_every=5, quiet=True)
    return tmp_path / "whole"


def test_the_best_state_is_saved_at_the_best_validation(tmp_path, data, make_model, uninterrupted):
    train.fit(make_model(), data, steps=BEST, out=tmp_path / "short", quiet=True)
    assert tensors_of(uninterrupted, "best") == tensors_of(tmp_path / "short") != tensors_of(uninterrupted)
    _, meta = load(uninterrupted / "best.safetensors")
    assert (meta["step"], meta["model"]) == (BEST, "vae")
    expected = {"metric": "neg_elbo_nats", "step": BEST, "value": 5.0}
    assert json.loads((uninterrupted / "summary.json").read_text())["best"] == expected
    assert load(uninterrupted / "checkpoint.safetensors")[1]["best"] == expected


@pytest.mark.parametrize("step", [7, 8, 9, 14, 15, 16, 21, 22, 30])
def test_a_killed_run_resumes_to_the_same_best_state(tmp_path, data, make_model, uninterrupted, step):
    folder = tmp_path / "killed"
    with pytest.raises(Killed):
        train.fit(kill_at(scripted(make_model()), step), data, steps=STEPS, out=folder, save_every=5, quiet=True)
    saved = load(folder / "checkpoint.safetensors")[1]
    if saved["best"]:
        assert (
            load(folder / "best.safetensors")[1]["step"] == saved["best"]["step"] == (7 if saved["step"] < 15 else 14)
        )
    train.resume(scripted(make_model()), data, folder, quiet=True)
    assert (folder / "best.safetensors").read_bytes() == (uninterrupted / "best.safetensors").read_bytes()
    assert tensors_of(folder) == tensors_of(uninterrupted)
    ours, theirs = (json.loads((f / "summary.json").read_text())["best"] for f in (folder, uninterrupted))
    assert ours == theirs


@pytest.mark.parametrize("moment", ["before the checkpoint", "after the checkpoint"])
@pytest.mark.parametrize("end", [STEPS, 16])
def test_a_run_killed_between_staging_and_publishing_the_best_state_resumes_from_its_checkpoint(
    tmp_path, data, make_model, uninterrupted, moment, end, monkeypatch
):
    """At step 15 the best state, of step 14, is staged, then the checkpoint is saved, then the best is published."""
    folder = tmp_path / "killed"

    with monkeypatch.context() as patch, pytest.raises(Killed):
        name, usual = ("stage", Best.stage) if moment.startswith("before") else ("publish", Best.publish)

        def killed(self, run):
            if name == "stage":
                usual(self, run)
            if self.step == BEST:
                raise Killed
            if name == "publish":
                usual(self, run)

        patch.setattr(Best, name, killed)
        train.fit(scripted(make_model()), data, steps=STEPS, out=folder, save_every=5, quiet=True)
    assert Run(folder, {}).staged_best_file.exists()
    assert load(folder / "best.safetensors")[1]["step"] == 7
    assert load(folder / "checkpoint.safetensors")[1]["step"] == (10 if moment.startswith("before") else 15)
    train.resume(scripted(make_model()), data, folder, steps=end, quiet=True)
    assert not Run(folder, {}).staged_best_file.exists()
    assert (folder / "best.safetensors").read_bytes() == (uninterrupted / "best.safetensors").read_bytes()


def test_a_best_state_later_than_the_checkpoint_is_forgotten(tmp_path, data, make_model):
    """A run is killed at step 15 with a checkpoint of step 10, and resumed to an end before step 14."""
    folder = tmp_path / "killed"
    with pytest.raises(Killed):
        train.fit(kill_at(scripted(make_model()), 15), data, steps=STEPS, out=folder, save_every=5, quiet=True)
    summary = train.resume(scripted(make_model(), (9.0, 9.5)), data, folder, steps=12, quiet=True)
    assert summary["best"]["step"] == load(folder / "best.safetensors")[1]["step"] == 7


def test_the_last_validation_may_be_the_best_at_a_step_whose_checkpoint_is_saved_already(tmp_path, data, make_model):
    train.fit(scripted(make_model(), (9.0, 5.0, 4.0)), data, steps=15, out=tmp_path / "run", save_every=5, quiet=True)
    assert load(tmp_path / "run" / "best.safetensors")[1]["step"] == 15
    assert load(tmp_path / "run" / "checkpoint.safetensors")[1]["best"]["step"] == 15


def test_a_value_that_is_equal_or_not_finite_is_not_better(data, make_model):
    for values, step in (((5.0, 5.0), 7), ((math.nan, 5.0), 14), ((5.0, math.nan), 7), ((5.0, -math.inf), 7)):
        assert train.fit(scripted(make_model(), values), data, steps=14, quiet=True)["best"]["step"] == step
    assert train.fit(scripted(make_model(), (math.nan,)), data, steps=7, quiet=True)["best"] is None


def test_a_best_state_that_is_not_finite_is_not_written(tmp_path, data, make_model):
    model = scripted(make_model())
    evaluate = model.evaluate

    def poisoned(*args, **kwargs):
        metrics = evaluate(*args, **kwargs)
        if int(model.optimizer.count) == 7:
            model.encoder.parameters()[0].data[0, 0] = np.nan
        return metrics

    model.evaluate = poisoned
    with np.errstate(all="ignore"), pytest.raises(NonFiniteError, match="still holds step 5"):
        train.fit(model, data, steps=STEPS, out=tmp_path / "run", save_every=5, quiet=True)
    assert not [name for name in os.listdir(tmp_path / "run") if "best" in name]


def test_a_full_disk_leaves_the_earlier_best_state_and_checkpoint(tmp_path, data, make_model, monkeypatch):
    folder = tmp_path / "run"
    with monkeypatch.context() as patch:
        usual = Best.stage

        def full(self, run):
            if self.step == BEST:
                run.staged_best_file.with_name(f".{run.staged_best_file.name}.part").symlink_to("/dev/full")
            usual(self, run)

        patch.setattr(Best, "stage", full)
        with pytest.raises(RunError, match="cannot write"):
            train.fit(scripted(make_model()), data, steps=STEPS, out=folder, save_every=5, quiet=True)
    assert [load(folder / f"{name}.safetensors")[1]["step"] for name in ("best", "checkpoint")] == [7, 10]


def test_an_unknown_selection_metric_is_refused(data, make_model):
    model = make_model()
    model.selection_metric = "neg_elbo"
    with pytest.raises(UsageError, match="metric 'neg_elbo' is not among those on valid: neg_elbo_nats, "):
        train.fit(model, data, steps=7, quiet=True)


def test_the_last_or_the_best_state_is_loaded(uninterrupted, make_model):
    run, model = Run.open(uninterrupted), make_model()
    for which, step in (("last", STEPS), ("best", BEST)):
        assert load_state(run, model, which)["step"] == step
    model.selection_metric = None
    run.best_file.unlink()
    with pytest.raises(RunError, match="has no best state, since vae names no metric to choose it by"):
        load_state(run, model, "best")


def test_commands_use_the_best_state(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    data = models.check_data(models.VAE, load_data("digits8x8"))
    model = models.VAE(models.VAE.Config(hidden=4, latent=2, batch_size=400, importance_samples=2), data.spec)
    last = iter((3.0, 1.0, 2.0))
    evaluate = model.evaluate
    model.evaluate = lambda split, *, seed, thorough=True: (
        evaluate(split, seed=seed, thorough=thorough) | ({} if thorough else {"neg_elbo_nats": next(last)})
    )
    train.fit(model, data, epochs=3, out="run", quiet=True)
    step = load(tmp_path / "run" / "best.safetensors")[1]["step"]
    assert step == 2 * load(tmp_path / "run" / "checkpoint.safetensors")[1]["step"] // 3
    load_state(Run.open("run"), model, "best")
    test = evaluate(data.test, seed=0)

    assert main("eval run --which best --json".split()) == 0
    measured = json.loads(capsys.readouterr().out)
    assert (measured["step"], measured["which"], measured["metrics"]) == (step, "best", test)
    assert main("score run --which best --json".split()) == 0
    (score,) = json.loads(capsys.readouterr().out)
    assert (score["step"], score["which"], score["metrics"]) == (step, "best", test)
    assert 0 < score["seconds"] <= Run.open("run").history()[-1]["seconds"]
    for which in ("last", "best"):
        assert main(f"sample run --which {which}".split()) == 0
    assert capsys.readouterr().out.split() == ["run/samples-0.png", "run/samples-best-0.png"]
    assert (tmp_path / "run/samples-0.png").read_bytes() != (tmp_path / "run/samples-best-0.png").read_bytes()
    assert main("report run --which best".split()) == 0
    assert capsys.readouterr().out == "run/report-best.html\n"
    page = (tmp_path / "run/report-best.html").read_text()
    assert f"the weights of step {step}, the best on validation" in page
    assert "−ELBO, validation</dt><dd>1 " in page
    assert "the weights of step" not in (tmp_path / "run/report.html").read_text()


def test_a_model_without_selection_metric_has_no_best_state(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main("train gan --data digits8x8 --steps 1 --hidden 4 --out run".split()) == 0
    assert not (tmp_path / "run/best.safetensors").exists()
    capsys.readouterr()
    assert main("sample run --which best".split()) == 2
    message = capsys.readouterr().err
    assert message == "tinygen: run has no best state, since gan names no metric to choose it by: use --which last\n"
