"""`fit` and `resume`: what a run records, and that an interruption changes nothing."""

import json
import os
import signal
from dataclasses import replace

import numpy as np
import pytest

from tests.train.runs import Killed, kill_at, log_of, tensors_of
from tinygen import random, train
from tinygen.data import Dataset, Image
from tinygen.errors import CheckpointError, DataError, NonFiniteError, RunError, UsageError
from tinygen.serialization import load, save
from tinygen.train import Interrupted, Run, training

STEPS = 16  # two epochs of 7 steps and two more


@pytest.fixture
def uninterrupted(tmp_path, data, make_model):
    """The folder of a run that nothing interrupted."""
    train.fit(make_model(), data, steps=STEPS, out=tmp_path / "whole", save_every=5, quiet=True)
    return tmp_path / "whole"


def test_a_run_writes_all_its_files(uninterrupted, data):
    assert sorted(os.listdir(uninterrupted)) == [
        "best.safetensors",
        "checkpoint.safetensors",
        "config.json",
        "metrics.jsonl",
        "report.html",
        "samples",
        "summary.json",
    ]
    assert sorted(os.listdir(uninterrupted / "samples")) == [f"step-{step:08d}.png" for step in (0, 7, 14, 16)]
    config = json.loads((uninterrupted / "config.json").read_text())
    assert config["model"] == "vae"
    assert config["config"]["latent"] == 2
    length = {"epochs": None, "steps": STEPS, "budget": None}
    assert config["fit"] == {"length": length, "seed": 0, "save_every": 5, "patience": None, "capture": False}
    assert config["data"]["sizes"] == {"train": 63, "valid": 7, "test": 10}
    assert config["versions"]["numpy"] == np.__version__
    _, meta = load(uninterrupted / "checkpoint.safetensors")
    assert (meta["step"], meta["model"], meta["config"]) == (STEPS, "vae", config["config"])


def test_the_log_has_every_validation_and_the_summary_the_last_one_and_the_test(uninterrupted, data, make_model):
    history = Run(uninterrupted, {}).history()
    valid = [entry for entry in history if entry["split"] == "valid"]
    assert [entry["step"] for entry in valid] == [7, 14, 16]
    assert [entry["epoch"] for entry in valid] == [1.0, 2.0, round(16 / 7, 4)]
    summary = json.loads((uninterrupted / "summary.json").read_text())
    assert (summary["steps"], summary["parameters"]) == (STEPS, sum(p.size for p in make_model().parameters()))
    assert summary["valid"] == {name: valid[-1][name] for name in summary["valid"]}
    model = make_model()
    model.load_state_dict(load(uninterrupted / "checkpoint.safetensors")[0])
    assert summary["test"] == model.evaluate(data.test, seed=0)
    assert "neg_is2_nats" in summary["test"]
    assert "neg_is2_nats" not in summary["valid"]


def test_the_logged_training_metrics_are_means_of_the_steps_since_the_last(tmp_path, data, make_model):
    model, steps = make_model(), []
    train_as_usual = model.training_step
    model.training_step = lambda batch: steps.append(train_as_usual(batch)) or steps[-1]
    big = Dataset(data.spec, data.test, data.valid, data.test)  # one step an epoch
    train.fit(model, big, steps=3, out=tmp_path / "run", quiet=True)
    logged = [entry["neg_elbo_nats"] for entry in Run(tmp_path / "run", {}).history() if entry["split"] == "train"]
    assert logged == [scalars["neg_elbo_nats"].item() for scalars in steps]


def test_training_learns_and_is_the_same_without_a_folder(uninterrupted, data, make_model):
    model = make_model()
    summary = train.fit(model, data, steps=STEPS, quiet=True)
    assert {name: np.asarray(a).tobytes() for name, a in model.state_dict().items()} == tensors_of(uninterrupted)
    longer = train.fit(make_model(learning_rate=0.01), data, epochs=30, quiet=True)
    assert longer["test"]["neg_elbo_nats"] < summary["test"]["neg_elbo_nats"] - 0.5


@pytest.mark.parametrize("step", [1, 2, 6, 7, 8, 11, 14, 15, 16])
def test_a_killed_run_resumes_to_the_same_bytes_and_the_same_log(tmp_path, data, make_model, uninterrupted, step):
    folder = tmp_path / "killed"
    with pytest.raises(Killed):
        train.fit(kill_at(make_model(), step), data, steps=STEPS, out=folder, save_every=5, quiet=True)
    assert load(folder / "checkpoint.safetensors")[1]["step"] == (step - 1) // 5 * 5
    assert not (folder / "summary.json").exists()
    random.seed(99)  # what the process did before must not matter
    train.resume(make_model(), data, folder, quiet=True)
    assert tensors_of(folder) == tensors_of(uninterrupted)
    assert log_of(folder) == log_of(uninterrupted)
    for picture in os.listdir(uninterrupted / "samples"):
        assert (folder / "samples" / picture).read_bytes() == (uninterrupted / "samples" / picture).read_bytes()
    ours, theirs = (json.loads((f / "summary.json").read_text()) for f in (folder, uninterrupted))
    assert ours | {"seconds": 0} == theirs | {"seconds": 0}


def test_a_run_killed_before_its_first_checkpoint_starts_over(tmp_path, data, make_model, uninterrupted, monkeypatch):
    def killed(*_):
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(training, "save", killed)
        train.fit(make_model(), data, steps=STEPS, out=tmp_path / "killed", save_every=5, quiet=True)
    assert not (tmp_path / "killed" / "checkpoint.safetensors").exists()
    train.resume(make_model(), data, tmp_path / "killed", quiet=True)
    assert tensors_of(tmp_path / "killed") == tensors_of(uninterrupted)
    assert log_of(tmp_path / "killed") == log_of(uninterrupted)


def test_logged_means_include_the_steps_before_an_interruption(tmp_path, data, make_model):
    small = {"batch_size": 3}  # 21 steps an epoch, of which every third is logged
    settings = {"steps": 13, "save_every": 5, "quiet": True}
    train.fit(make_model(**small), data, out=tmp_path / "whole", **settings)
    with pytest.raises(Killed):
        train.fit(kill_at(make_model(**small), 8), data, out=tmp_path / "killed", **settings)
    train.resume(make_model(**small), data, tmp_path / "killed", quiet=True)
    assert [entry["step"] for entry in log_of(tmp_path / "whole")] == [3, 6, 9, 12, 13, 13]
    assert log_of(tmp_path / "killed") == log_of(tmp_path / "whole")


def test_many_interruptions_change_neither_state_nor_log(tmp_path, data, make_model, uninterrupted):
    folder = tmp_path / "killed"
    with pytest.raises(Killed):
        train.fit(kill_at(make_model(), 4), data, steps=STEPS, out=folder, save_every=2, quiet=True)
    for _ in range(6):
        with pytest.raises(Killed):
            train.resume(kill_at(make_model(), 3), data, folder, save_every=1, quiet=True)
    train.resume(make_model(), data, folder, quiet=True)
    assert tensors_of(folder) == tensors_of(uninterrupted)
    assert log_of(folder) == log_of(uninterrupted)


def test_a_finished_run_can_be_resumed_with_a_new_length(tmp_path, data, make_model, uninterrupted):
    train.fit(make_model(), data, steps=9, out=tmp_path / "short", quiet=True)
    with pytest.raises(UsageError, match="at step 9 already"):
        train.resume(make_model(), data, tmp_path / "short", steps=9, quiet=True)
    assert (tmp_path / "short" / "summary.json").exists()
    train.resume(make_model(), data, tmp_path / "short", steps=STEPS, quiet=True)
    assert tensors_of(tmp_path / "short") == tensors_of(uninterrupted)
    assert Run.open(tmp_path / "short").config["fit"]["length"]["steps"] == STEPS


def test_resuming_removes_the_summary_and_report_of_the_earlier_end(tmp_path, data, make_model, uninterrupted):
    with pytest.raises(Killed):
        train.resume(kill_at(make_model(), 2), data, uninterrupted, epochs=9, quiet=True)
    assert not (uninterrupted / "summary.json").exists()
    assert not (uninterrupted / "report.html").exists()


def test_evaluation_and_samples_leave_the_training_stream_alone(data, make_model):
    model = make_model()

    def with_other_draws(method):
        def run(*args, **kwargs):
            random.stream("train").normal(7)
            random.stream("another").normal(3)
            return method(*args, **kwargs)

        return run

    model.evaluate, model.sample = with_other_draws(model.evaluate), with_other_draws(model.sample)
    train.fit(model, data, steps=STEPS, quiet=True)
    undisturbed = make_model()
    train.fit(undisturbed, data, steps=STEPS, quiet=True)
    for name, array in undisturbed.state_dict().items():
        np.testing.assert_array_equal(model.state_dict()[name], array)


def test_a_budget_ends_training_and_counts_over_a_resume(tmp_path, data, make_model, monkeypatch):
    clock = iter(range(10**9))
    monkeypatch.setattr(training.time, "monotonic", lambda: next(clock) / 10)
    train.fit(make_model(), data, budget=4.0, out=tmp_path / "run", quiet=True)
    steps = json.loads((tmp_path / "run" / "summary.json").read_text())["steps"]
    assert steps > 0
    with pytest.raises(UsageError, match="already"):
        train.resume(make_model(), data, tmp_path / "run", budget=3.0, quiet=True)
    resumed = train.resume(make_model(), data, tmp_path / "run", budget=8.0, quiet=True)
    assert steps < resumed["steps"] < 3 * steps


def test_a_signal_finishes_the_step_saves_and_names_the_command_to_resume(tmp_path, data, make_model, uninterrupted):
    model, folder = make_model(), tmp_path / "stopped"
    train_as_usual, calls = model.training_step, iter(range(1, 100))

    def training_step(batch):
        if next(calls) == 4:
            os.kill(os.getpid(), signal.SIGINT)
        return train_as_usual(batch)

    model.training_step = training_step
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(Interrupted, match=f"at step 4, step 4 is saved; go on with: tinygen resume {folder}") as stop:
        train.fit(model, data, steps=STEPS, out=folder, quiet=True)
    assert stop.value.exit_code == 130
    assert signal.getsignal(signal.SIGINT) is handler
    assert load(folder / "checkpoint.safetensors")[1]["step"] == 4
    train.resume(make_model(), data, folder, quiet=True)
    assert tensors_of(folder) == tensors_of(uninterrupted)
    assert log_of(folder) == log_of(uninterrupted)


def test_a_second_signal_aborts_and_keeps_the_earlier_checkpoint(tmp_path, data, make_model):
    model, folder = make_model(), tmp_path / "stopped"
    train_as_usual, calls = model.training_step, iter(range(1, 100))

    def training_step(batch):
        if next(calls) == 4:
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGINT)
        return train_as_usual(batch)

    model.training_step = training_step
    with pytest.raises(Interrupted, match="aborted at step 3, step 2 is saved"):
        train.fit(model, data, steps=STEPS, out=folder, save_every=2, quiet=True)
    assert load(folder / "checkpoint.safetensors")[1]["step"] == 2


def test_divergence_names_step_operation_and_line_and_keeps_the_last_checkpoint(tmp_path, data, make_model):
    model, folder = make_model(), tmp_path / "run"
    train_as_usual, counters, batches = model.training_step, [], []

    def training_step(batch):
        counters.append(random.stream("train").counter)
        batches.append(batch)
        if len(counters) in (6, 7):  # the step, and its repetition
            model.decoder.parameters()[0].data[0, 0] = np.inf
        return train_as_usual(batch)

    model.training_step = training_step
    with np.errstate(all="ignore"), pytest.raises(NonFiniteError) as error:
        train.fit(model, data, steps=STEPS, out=folder, save_every=2, quiet=True)
    message = str(error.value)
    assert error.value.exit_code == 3
    for part in ("at step 6: ", "operation 'linear'", "vae.py:", "checkpoint.safetensors still holds step 4"):
        assert part in message
    assert counters[5] == counters[6] > counters[4]
    assert batches[5] is batches[6]
    tensors, meta = load(folder / "checkpoint.safetensors")
    assert meta["step"] == 4
    assert all(np.isfinite(array).all() for array in tensors.values())
    train.resume(make_model(), data, folder, steps=5, quiet=True)


def test_a_parameter_that_is_not_finite_ends_training_before_it_is_saved(tmp_path, data, make_model):
    model, folder = make_model(), tmp_path / "run"

    def training_step(batch):
        model.decoder.parameters()[0].data[0, 0] = np.nan
        return {"loss": 1.0}

    model.training_step = training_step
    with pytest.raises(NonFiniteError, match=r"training diverged at step 3: 'decoder.* still holds step 0"):
        train.fit(model, data, steps=STEPS, out=folder, save_every=3, quiet=True)
    assert load(folder / "checkpoint.safetensors")[1]["step"] == 0


def test_a_resume_that_does_not_fit_is_refused_before_any_file_changes(tmp_path, data, make_model, uninterrupted):
    before = {file: file.read_bytes() for file in uninterrupted.rglob("*") if file.is_file()}
    other = Dataset(data.spec, data.train, data.valid.take(6), data.test)
    for model, dataset, folder, error, why in (
        (make_model(), data, tmp_path / "gone", RunError, "is not a run"),
        (make_model(), other, uninterrupted, DataError, "data set tiny has changed"),
        (make_model(hidden=6), data, uninterrupted, CheckpointError, "does not have the configuration"),
        (make_model(learning_rate=0.1), data, uninterrupted, CheckpointError, "does not have the configuration"),
    ):
        with pytest.raises(error, match=why):
            train.resume(model, dataset, folder, steps=99, quiet=True)
    (uninterrupted / "checkpoint.safetensors").rename(tmp_path / "moved")
    with pytest.raises(CheckpointError, match="no such file"):
        train.resume(make_model(), data, uninterrupted, steps=99, quiet=True)
    (tmp_path / "moved").rename(uninterrupted / "checkpoint.safetensors")
    assert {file: file.read_bytes() for file in uninterrupted.rglob("*") if file.is_file()} == before


def test_changed_versions_and_processors_cause_a_warning(data, make_model, uninterrupted, capsys):
    run = Run.open(uninterrupted)
    run.config["versions"]["numpy"] = "1.0"
    run.config["machine"] |= {"cpu": "abacus", "cores": "1000", "blas threads": "99"}
    run.save_config()
    train.resume(make_model(), data, uninterrupted, steps=STEPS + 1, quiet=True)
    warning = capsys.readouterr().err
    assert f"numpy 1.0 -> {np.__version__}" in warning
    assert "cpu abacus -> " in warning
    assert "blas threads 99 -> " in warning
    assert "cores" not in warning


def test_numbers_that_are_not_finite_are_refused_before_a_folder_is_made(tmp_path, data, make_model):
    with pytest.raises(UsageError, match="learning_rate is nan; it must be a finite number"):
        train.fit(make_model(learning_rate=float("nan")), data, out=tmp_path / "run", quiet=True)
    with pytest.raises(UsageError, match="save_every is 0"):
        train.fit(make_model(), data, out=tmp_path / "run", save_every=0, quiet=True)
    with pytest.raises(UsageError, match="batch size 64 does not fit 63"):
        train.fit(make_model(batch_size=64), data, out=tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


def test_data_that_do_not_fit_the_model_are_refused(tmp_path, data, make_model):
    grey, five_columns = (
        Dataset(replace(data.spec, fields={"x": field}), data.train, data.valid, data.test)
        for field in (Image(4, 4, 1, "grey"), Image(4, 5, 1, "binary", binarisation="dynamic"))
    )
    message = r"model 'vae' needs binary or rgb images as x, and 'tiny' has 4×4 grey images: use data\.binarised\('dyn"
    with pytest.raises(DataError, match=message):
        train.fit(make_model(), grey, out=tmp_path / "run", quiet=True)
    with pytest.raises(DataError, match="was made for 4×4 images, dynamically binarised as x, and 'tiny' has 4×5"):
        train.fit(make_model(), five_columns, out=tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


def test_a_field_that_an_older_run_lacks_has_its_default(data, make_model, uninterrupted):
    run = Run.open(uninterrupted)
    tensors, meta = load(run.checkpoint_file)
    for config in (run.config["config"], meta["config"]):
        del config["beta"]
    run.save_config()
    save(run.checkpoint_file, tensors, meta)
    train.resume(make_model(), data, uninterrupted, steps=STEPS + 1, quiet=True)
    with pytest.raises(CheckpointError, match="is of another config"):
        run.config["config"]["hidden"] = 6
        run.save_config()
        train.resume(make_model(hidden=6), data, uninterrupted, steps=STEPS + 2, quiet=True)


def test_progress_has_a_line_for_each_epoch(data, make_model, capsys):
    train.fit(make_model(), data, epochs=2)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "vae on tiny, 4×4 images, dynamically binarised, cpu"
    assert [line.split()[:4] for line in lines if line.startswith("epoch")] == [
        ["epoch", "1", "step", "7"],
        ["epoch", "2", "step", "14"],
    ]
    assert any(line.startswith("test -ELBO ") for line in lines)
    train.fit(make_model(), data, epochs=1, quiet=True)
    assert capsys.readouterr().out == ""
