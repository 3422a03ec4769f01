"""Trainings in poor surroundings: closed terminals, outputs without some characters, damaged logs, stray files."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import tinygen as tg
from tinygen import cli, data, models
from tinygen.errors import TinygenError
from tinygen.train import Interrupted, Run

ROOT = Path(__file__).parents[2]
AE = models.get("ae")
TRAIN = "train ae --data digits8x8 --hidden 8 --latent 2".split()


def start(words, folder, *, python=(), **options):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TINYGEN_THREADS": "1", **options.pop("environment", {})}
    return subprocess.Popen([sys.executable, *python, "-m", "tinygen", *words], cwd=folder, env=environment, **options)


def run(words, folder, **options):
    """Exit code, stdout and stderr, as text."""
    process = start(words, folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
    out, err = process.communicate(timeout=120)
    return process.returncode, out.decode("utf-8", "replace"), err.decode("utf-8", "replace")


def waited_for(what, seconds=60):
    """The value of a function as soon as it is true; AssertionError if it stays false."""
    end = time.monotonic() + seconds
    while not (value := what()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return value


def logged(folder):
    return (folder / "run/metrics.jsonl").exists() and (folder / "run/metrics.jsonl").read_text().count("\n") > 2


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="needs SIGHUP and terminals")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_terminal_that_is_closed_saves_the_present_step(tmp_path):
    import pty

    child, terminal = pty.fork()
    if not child:
        os.chdir(tmp_path)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup may have been before pytest
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "TINYGEN_THREADS": "1"}
        words = [sys.executable, "-m", "tinygen", *TRAIN, "--epochs", "100000", "--out", "run"]
        os.execve(sys.executable, words, environment)
    waited_for(lambda: logged(tmp_path))
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 128 + signal.SIGHUP
    step = tg.load(tmp_path / "run/checkpoint.safetensors")[1]["step"]
    assert step >= max(entry["step"] for entry in Run.open(tmp_path / "run").history()) > 0


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="needs SIGHUP")
def test_an_ignored_signal_stays_ignored():
    """As under nohup."""
    digits = data.load("digits8x8")
    model = AE(AE.Config(hidden=8, latent=2), digits.spec)
    before, seen = signal.signal(signal.SIGHUP, signal.SIG_IGN), []
    try:
        model.training_step = lambda batch: seen.append(signal.getsignal(signal.SIGHUP)) or {"loss": 0.0}
        tg.fit(model, digits, steps=1, quiet=True)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert seen == [signal.SIG_IGN]


def test_an_interruption_of_a_training_that_is_not_recorded_says_that_nothing_is_saved(capfd):
    digits = data.load("digits8x8")
    model = AE(AE.Config(hidden=8, latent=2), digits.spec)
    step = model.training_step
    model.training_step = lambda batch: os.kill(os.getpid(), signal.SIGINT) or step(batch)
    with pytest.raises(Interrupted, match="interrupted at step 1; nothing was saved: give out=FOLDER"):
        tg.fit(model, digits, steps=5, quiet=True)
    assert "finishing the step, then stopping, with nothing saved; press Ctrl-C" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("python", "environment"),
    [
        ((), {"PYTHONIOENCODING": "ascii"}),
        ((), {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}),
        (("-OO",), {}),
    ],
    ids=["ascii output", "the C locale", "without docstrings"],
)
def test_training_and_help_work_with_other_settings_of_python(tmp_path, python, environment):
    options = {"python": python, "environment": environment}
    code, out, err = run([*TRAIN, "--steps", "2", "--out", "run"], tmp_path, **options)
    assert (code, "8?8" in out or "8×8" in out, err) == (0, True, "")
    page = (tmp_path / "run/report.html").read_text(encoding="utf-8")
    assert "8×8" in page
    assert AE.__doc__.partition("\n")[0].strip(".") in page


def test_helps_survive_without_docstrings(tmp_path):
    program = "from tinygen.cli import main; print([main(words.split()) for words in WORDS])"
    program = program.replace("WORDS", "('--help', 'train --help', 'sample --help')")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for options in ([], ["-OO"]):
        process = subprocess.run(
            [sys.executable, *options, "-c", program], capture_output=True, env=environment, text=True
        )
        assert (process.stderr, process.stdout.splitlines()[-1]) == ("", "[0, 0, 0]")
        assert "Flags(" not in process.stdout
        for help_ in (AE.__doc__.partition("\n")[0], "List the models by family", "The folder of the run."):
            assert help_ in process.stdout, help_


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full, whose writes fail as on a full disk")
def test_an_output_that_cannot_be_written_does_not_end_a_training():
    code = "import sys, tinygen as tg; from tinygen import data, models\n"
    code += "sys.stdout = open('/dev/full', 'w', buffering=1)\n"
    code += "d = data.load('digits8x8'); A = models.get('ae'); m = A(A.Config(hidden=8, latent=2), d.spec)\n"
    code += "print(tg.fit(m, d, steps=2)['steps'], file=sys.stderr); sys.stdout = None"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TINYGEN_THREADS": "1"}
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment, text=True)
    assert process.stderr.splitlines()[0] == "2"


# Damaged and stray files in the folder of a run


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    digits, folder = data.load("digits8x8"), tmp_path_factory.mktemp("trained") / "run"
    tg.fit(AE(AE.Config(hidden=8, latent=2), digits.spec), digits, steps=30, quiet=True, out=folder)
    return folder


@pytest.fixture
def recorded(trained, tmp_path):
    return Run.open(shutil.copytree(trained, tmp_path / "run"))


@pytest.mark.parametrize(
    "damage",
    [
        '{"step": 3, "epo',
        "",
        "null",
        "[]",
        "{}",
        '{"step": "3", "split": "train", "seconds": 1}',
        "\x00\x01",
        "[" * 10**5,
    ],
)
def test_a_damaged_line_of_the_log_is_left_out_and_counted(recorded, damage, capsys):
    before = recorded.history()
    assert len(before) > 2
    lines = recorded.log_file.read_text().splitlines()
    recorded.log_file.write_text("\n".join([lines[0], damage, *lines[1:], '{"step": 99, "cut']))
    assert recorded.history() == before
    assert f"metrics.jsonl: 1 of {len(lines) + 2} lines cannot be read and are left out" in capsys.readouterr().err


def test_bytes_that_are_not_utf8_and_stray_files_harm_nothing(recorded):
    before = recorded.history(), recorded.samples()
    recorded.log_file.write_bytes(b"\xff\xfe\n" + recorded.log_file.read_bytes())
    samples = recorded.sample_file(0).parent
    for name in ("step-final.png", "step-.txt", "notes.png", "step-1 copy.png"):
        (samples / name).write_text("mine")
    (recorded.folder / "notes.txt").write_text("mine")
    recorded.summary_file.write_text("[1]")
    assert (recorded.history(), recorded.samples()) == before
    assert recorded.summary() is None
    assert cli.main(["report", str(recorded.folder)]) == 0
    recorded.rewind(0)
    assert {entry["step"] for entry in map(json.loads, recorded.log_file.read_text().splitlines())} <= {0}
    assert (samples / "step-final.png").read_text() == "mine"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs file permissions of POSIX")
def test_a_cache_that_cannot_be_used_is_named_and_the_judge_serves(monkeypatch, tmp_path, capsys):
    from tinygen.metrics.judge import Judge, JudgeConfig

    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    judge = Judge.of(data.load("digits8x8"), JudgeConfig(steps=2))
    assert judge.digest
    assert "the judge is not kept for later runs: " in capsys.readouterr().err


def test_a_user_without_a_home_gets_no_folder_of_that_name(monkeypatch, tmp_path):
    from tinygen.data import download

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    for name in ("XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(TinygenError, match="no home folder for a cache: set HOME, or XDG_CACHE_HOME"):
        download.user_cache()
    assert not download.is_cached(download.SOURCES["mnist"])
    assert list(tmp_path.iterdir()) == []
