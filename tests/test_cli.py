"""The command line as a user types it, partly in separate processes."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tinygen import data
from tinygen.cli import main
from tinygen.models import VAE
from tinygen.random import Stream
from tinygen.serialization import load
from tinygen.train import fit

ROOT = Path(__file__).parents[1]
SMALL = "--hidden 8 --latent 2 --batch-size 9 --importance-samples 2 --cosine-steps 0".split()


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    """Each test works in a folder of its own, with 70 images of 4x4 in `tiny.npz`."""
    monkeypatch.chdir(tmp_path)
    images = (255 * Stream(0, "tests").uniform((80, 4, 4))).astype(np.uint8)
    np.savez("tiny.npz", x_train=images[:70], x_test=images[70:])


def tinygen(*words: str) -> subprocess.Popen:
    """Start the command in a separate process."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "tinygen", *words]
    return subprocess.Popen(command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def train(out: str, *words: str) -> int:
    return main(["train", "vae", "--data", "tiny.npz", "--out", out, *SMALL, *words])


def tensors_of(folder: str) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in load(Path(folder) / "checkpoint.safetensors")[0].items()}


def test_train_sample_eval_resume_and_report(capsys):
    assert train("run", "--epochs", "2", "--seed", "3") == 0
    assert "report: run/report.html" in capsys.readouterr().out
    summary = json.loads(Path("run/summary.json").read_text())

    assert main("sample run --n 6 --seed 1 --out grid.png".split()) == 0
    first = Path("grid.png").read_bytes()
    with Image.open("grid.png") as picture:
        assert picture.width > picture.height > 0
    assert main("sample run --n 6 --seed 1 --out grid.png".split()) == 0
    assert Path("grid.png").read_bytes() == first
    assert main("sample run --n 6 --seed 2".split()) == 0
    assert Path("run/samples-2.png").read_bytes() != first
    assert capsys.readouterr().out.split() == ["grid.png", "grid.png", "run/samples-2.png"]

    assert main(["eval", "run", "--json"]) == 0
    measured = json.loads(capsys.readouterr().out)
    assert measured["metrics"] == summary["test"]
    assert (measured["model"], measured["data"], measured["split"], measured["step"]) == ("vae", "tiny", "test", 14)
    assert main("eval run --split valid".split()) == 0
    (printed,) = (line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("valid KL "))
    assert float(printed[2]) == pytest.approx(summary["valid"]["kl_nats"], abs=1e-4)

    assert main(["resume", "run"]) == 0
    assert "run is complete, at step 14" in capsys.readouterr().out
    assert main("resume run --epochs 3".split()) == 0
    assert json.loads(Path("run/summary.json").read_text())["steps"] == 21
    Path("run/report.html").unlink()
    assert main(["report", "run"]) == 0
    assert Path("run/report.html").exists()


def test_a_run_without_a_checkpoint_is_resumed_from_its_seed(capsys):
    assert train("whole", "--steps", "3", "--seed", "5") == 0
    assert train("cut", "--steps", "3", "--seed", "5") == 0
    for name in ("checkpoint.safetensors", "summary.json", "report.html"):
        Path("cut", name).unlink()
    Path("cut/metrics.jsonl").write_text("")
    assert main(["resume", "cut"]) == 0
    assert tensors_of("cut") == tensors_of("whole")


def test_flags_set_the_fields_of_the_configuration(capsys):
    assert train("run", "--steps", "1", "--learning-rate", "0.25", "--seed", "5", "--save-every", "2") == 0
    config = json.loads(Path("run/config.json").read_text())
    assert config["config"]["learning_rate"] == 0.25
    assert config["config"]["hidden"] == 8
    length = {"epochs": None, "steps": 1, "budget": None}
    assert config["fit"] == {"length": length, "seed": 5, "save_every": 2, "patience": None, "capture": False}
    assert config["command"].startswith("tinygen train vae --data tiny.npz --out run")
    assert config["source"] == {"data": str(Path("tiny.npz").resolve()), "skip_broken": False}


def test_a_run_that_fit_made_on_thresholded_data_is_evaluated(capsys):
    thresholded = data.load("digits8x8").binarised("threshold")
    model = VAE(VAE.Config(hidden=4, latent=2, importance_samples=2), thresholded.spec)
    summary = fit(model, thresholded, steps=1, out="a run", quiet=True)
    assert main(["eval", "a run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"] == summary["test"]


def test_runs_without_out_are_numbered(capsys):
    for _ in range(2):
        assert main(["train", "ae", "--data", "tiny.npz", "--steps", "1", "--batch-size", "9", "--hidden", "4"]) == 0
    assert sorted(os.listdir("runs")) == ["ae-1", "ae-2"]
    assert load(Path("runs/ae-1/checkpoint.safetensors"))[1]["model"] == "ae"


def test_equal_seeds_give_equal_weights_and_other_seeds_others(capsys):
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        assert train(name, "--steps", "3", "--seed", seed) == 0
    assert tensors_of("a") == tensors_of("b")
    assert tensors_of("a") != tensors_of("c")


def test_a_run_and_its_data_are_found_from_another_folder(tmp_path, monkeypatch, capsys):
    assert train("run", "--steps", "1") == 0
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert main(["eval", "../run", "--json"]) == 0


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_an_error_of_the_parser_is_one_line_in_any_terminal(encoding):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": encoding, "COLUMNS": "40"}
    process = subprocess.run(
        [sys.executable, "-m", "tinygen", "sample", "run", "--n", "many"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 2
    assert process.stderr.startswith("tinygen: --n: 'many' is not a whole number (tinygen")
    assert process.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "tinygen COMMAND --help"),
        (["--help"], "  train       Train a model"),
        (["train", "-h"], "  ae              Auto-encoder"),
        (["train", "vae", "--help"], "--learning-rate"),
        (["train", "vae", "--help"], "--budget TIME"),
        (["resume", "--help"], "--save-every"),
        (["sample", "--help"], "--seed"),
        (["eval", "--help"], "--json"),
        (["--version"], "tinygen 0."),
        (["models"], "vae"),
        (["data"], "fashion-mnist-7k"),
    ],
)
def test_help_and_lists(words, expected, capsys):
    assert main(words) == 0
    message = capsys.readouterr()
    assert expected in message.out
    assert "type: ignore" not in message.out
    assert message.err == ""


def test_a_closed_pipe_causes_no_error_message():
    process = subprocess.run(
        f"{shlex.quote(sys.executable)} -m tinygen data | true",
        shell=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.stderr == ""


def wait_for_lines(folder: str, lines: int) -> None:
    """Until the log of the run has so many."""
    log, end = Path(folder) / "metrics.jsonl", time.monotonic() + 60
    while time.monotonic() < end:
        if lines == 0 or (log.exists() and log.read_text().count("\n") >= lines):
            return
        time.sleep(0.01)
    raise AssertionError(f"{folder} did not log {lines} lines")


LONG = ["train", "vae", "--data", "tiny.npz", *SMALL, "--save-every", "3"]


def test_ctrl_c_saves_says_how_to_go_on_and_resume_goes_on(capsys):
    process = tinygen(*LONG, "--out", "stopped", "--epochs", "100000")
    wait_for_lines("stopped", 20)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "go on with: tinygen resume stopped" in err
    assert "Traceback" not in err
    step = load(Path("stopped/checkpoint.safetensors"))[1]["step"]
    assert f"at step {step}, step {step} is saved" in err
    assert not Path("stopped/summary.json").exists()
    assert main(["resume", "stopped", "--steps", str(step + 5)]) == 0
    assert train("whole", "--steps", str(step + 5)) == 0
    assert tensors_of("stopped") == tensors_of("whole")


def kill_and_resume(folder: str, logged: int, wait: float) -> tuple[int, bool]:
    """Kill a run some time after it logged so many lines, and resume it.

    Returns the step that was saved, and whether a checkpoint was being written.
    """
    checkpoint = Path(folder, "checkpoint.safetensors")
    process = tinygen(*LONG, "--out", folder, "--steps", "30", "--save-every", "1")
    while not checkpoint.exists():
        assert process.poll() is None
    wait_for_lines(folder, logged)
    time.sleep(wait)
    process.kill()
    process.communicate()
    step, was_writing = load(checkpoint)[1]["step"], Path(folder, f".{checkpoint.name}.part").exists()
    assert main(["resume", folder]) == 0
    return step, was_writing


@pytest.mark.parametrize("tries", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_kill_9_at_a_random_moment_changes_no_byte(tries, capsys):
    assert train("whole", "--steps", "30") == 0
    expected, moments = tensors_of("whole"), Stream(0, "moments")
    lines, waits = moments.integers(25, tries), 0.03 * moments.uniform(tries)
    lines[0] = waits[0] = 0  # before the first step
    killed = [kill_and_resume(f"killed-{i}", int(lines[i]), float(waits[i])) for i in range(tries)]
    same = [tensors_of(f"killed-{i}") == expected for i in range(tries)]
    steps, was_writing = zip(*killed, strict=True)
    with capsys.disabled():
        print(f"\nkilled at steps {steps}, {sum(was_writing)} times while a checkpoint was written", end=": ")
        print(f"{sum(same)} of {tries} identical to the uninterrupted run")
    assert all(same)
    assert steps[0] == 0 < max(steps)
