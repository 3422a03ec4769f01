"""Run folders: which folder a run gets, what it refuses to overwrite, and its log."""

import json
import os

import pytest

from tinygen.errors import RunError
from tinygen.train.run import Run, metrics_of

CONFIG = {
    "model": "vae",
    "config": {},
    "data": {"spec": {}, "digest": ""},
    "fit": {"length": {}, "seed": 0, "save_every": None},
    "device": "cpu",
    "versions": {},
    "machine": {},
}


def test_a_new_run_has_its_configuration(tmp_path):
    run = Run.create(tmp_path / "deep" / "run", CONFIG)
    run.close()
    assert Run.open(run.folder).config == CONFIG


def test_the_next_free_number_follows_the_highest(tmp_path):
    for name in ("vae-1", "vae-7", "vae-x", "vae-", "ae-9"):
        (tmp_path / name).mkdir()
    names = [Run.create(tmp_path / "vae-{n}", CONFIG).folder.name for _ in range(2)]
    assert names == ["vae-8", "vae-9"]
    assert Run.create(tmp_path / "new" / "vae-{n}", CONFIG).folder.name == "vae-1"


def test_a_folder_that_is_not_empty_is_refused_and_unchanged(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match="is not empty: choose another --out, or replace what it holds with --overwrite"):
        Run.create(tmp_path, CONFIG)
    assert os.listdir(tmp_path) == ["notes.txt"]


def test_overwriting_removes_the_files_of_an_earlier_run_and_no_others(tmp_path):
    run = Run.create(tmp_path, CONFIG)
    (tmp_path / "notes.txt").write_text("mine")
    run.log({"step": 1, "epoch": 0.1, "split": "train", "seconds": 0.1}, {"loss": 1.0})
    for file in (run.checkpoint_file, run.summary_file, run.report_file, run.sample_file(0), run.sample_file(7)):
        file.write_text("old")
    run.close()
    with pytest.raises(RunError, match="holds another run"):
        Run.create(tmp_path, {})
    assert Run.open(tmp_path).config == CONFIG
    replacement = Run.create(tmp_path, {}, overwrite=True)
    assert sorted(os.listdir(tmp_path)) == ["config.json", "notes.txt", "samples"]
    assert (replacement.history(), replacement.samples(), replacement.summary()) == ([], {}, None)


def test_a_run_in_use_is_refused_until_it_is_closed(tmp_path):
    run = Run.create(tmp_path, CONFIG)
    for attempt in (lambda: Run.resume(tmp_path), lambda: Run.create(tmp_path, CONFIG, overwrite=True)):
        with pytest.raises(RunError, match="in use by another tinygen process"):
            attempt()
    assert Run.open(tmp_path).config == CONFIG
    run.close()
    Run.resume(tmp_path).close()


def test_a_file_in_place_of_a_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file", tmp_path / "file" / "run", tmp_path / "file" / "vae-{n}"):
        with pytest.raises(RunError, match=str(tmp_path / "file")):
            Run.create(out, CONFIG)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("content", [None, "{", "[]", '{"model": "vae", "data": []}'])
def test_a_folder_without_a_readable_run_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(RunError, match=r"config\.json"):
        Run.open(tmp_path)


def log_entries(run: Run, *steps: int) -> None:
    for step in steps:
        run.log({"step": step, "epoch": step / 10, "split": "train", "seconds": 0.5}, {"loss": float(step)})


def test_the_log_is_one_object_a_line_and_strict_json(tmp_path):
    run = Run.create(tmp_path, CONFIG)
    log_entries(run, 1)
    run.log({"step": 2, "epoch": 0.2, "split": "valid", "seconds": 1.0}, {"loss": float("nan"), "kl": float("inf")})
    lines = run.log_file.read_text().splitlines()
    parsed = [json.loads(line, parse_constant=lambda name: pytest.fail(name)) for line in lines]
    assert parsed == run.history()
    assert [metrics_of(entry) for entry in parsed] == [{"loss": 1.0}, {"loss": None, "kl": None}]


def test_rewinding_removes_later_entries_and_pictures_and_a_truncated_line(tmp_path):
    run = Run.create(tmp_path, CONFIG)
    log_entries(run, 1, 2, 3, 4)
    with open(run.log_file, "a") as file:
        file.write('{"step": 2, "ep')
    for step in (0, 2, 3):
        run.sample_file(step).write_text("picture")
    run.rewind(2)
    assert [entry["step"] for entry in run.history()] == [1, 2]
    assert list(run.samples()) == [0, 2]
    log_entries(run, 3)
    assert [entry["step"] for entry in run.history()] == [1, 2, 3]


def test_a_run_whose_config_cannot_be_written_leaves_neither_folder_nor_lock(tmp_path, monkeypatch):
    def full(*_):
        raise RunError("cannot write: no space left on device")

    with monkeypatch.context() as patch, pytest.raises(RunError, match="no space left"):
        patch.setattr("tinygen.train.run.write_atomically", full)
        Run.create(tmp_path / "run", {"model": "vae"})
    assert list(tmp_path.iterdir()) == []
    Run.create(tmp_path / "run", {"model": "vae"}).close()
    before = (tmp_path / "run/config.json").read_text()
    for _ in range(2):
        with pytest.raises(RunError, match="holds another run"):
            Run.create(tmp_path / "run", {"model": "ae"})
    assert (tmp_path / "run/config.json").read_text() == before
