"""The benchmark of a GPU on a machine without one: on the emulator, and on made-up results."""

import dataclasses
import json
import time

import numpy as np
import pytest

from benchmarks import gpu, gpu_jobs, gpu_parity, gpu_training, harness
from benchmarks.__main__ import main
from benchmarks.gpu_jobs import Outcome
from tests.cuda.cases import cases
from tests.cuda.conftest import emulated  # noqa: F401 (a fixture)
from tinygen.errors import DeviceError
from tinygen.kernels.cuda import KERNELS


@pytest.fixture
def results(tmp_path, monkeypatch):
    """Where results are written."""
    monkeypatch.setattr(harness, "ROOT", tmp_path)
    monkeypatch.setattr(harness, "RESULTS", tmp_path / "results")
    return tmp_path / "results"


def test_without_a_gpu_it_says_so_in_a_line_and_writes_nothing(results, monkeypatch, capsys):
    def refuse(device):
        raise DeviceError(f"device {device!r} cannot be used: no driver")

    monkeypatch.setattr(gpu, "select_device", refuse)
    monkeypatch.setattr("os.environ", {})
    assert main(["gpu", "--save"]) == 2
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", "gpu: device 'cuda' cannot be used: no driver\n")
    assert not results.exists()


# Processes


def test_a_job_that_fails_takes_no_other_with_it():
    start = time.monotonic()
    outcome = gpu_jobs.run("tests.jobs_that_fail:jobs", start + 12)
    assert outcome.rows == [{"row": 1}, {"row": 2}]
    assert list(outcome.failures) == ["raises", "crashes", "hangs"]
    assert outcome.failures["raises"] == "ZeroDivisionError: division by zero"
    assert "exit code 7" in outcome.failures["crashes"]
    assert outcome.failures["hangs"] == "its time was up"
    assert outcome.missing == 1


def test_jobs_that_cannot_be_listed_are_a_failure():
    outcome = gpu_jobs.run("tests.jobs_that_fail:nothing", time.monotonic() + 60)
    assert not outcome.rows
    assert "has no attribute 'nothing'" in outcome.failures["the start"]


# Parity


def group(name):
    return [case for case in cases() if getattr(getattr(case, "call", None), "name", None) == name]


def test_a_wrong_kernel_is_seen(emulated, monkeypatch):  # noqa: F811
    emulated("ascending")
    (row,) = gpu_parity.kernel("column_sums", "float32", group("column_sums"))
    assert row["within"] == "yes"
    assert 0 < row["worst error"] <= row["bound"]
    right = KERNELS["column_sums"]
    monkeypatch.setitem(KERNELS, "column_sums", lambda *a, **k: right(*a, **k) + np.float32(1e-2))
    (row,) = gpu_parity.kernel("column_sums", "float32", group("column_sums"))
    assert row["within"] == "no"
    monkeypatch.setitem(KERNELS, "column_sums", lambda *a, **k: right(*a, **k) * np.float32("nan"))
    assert gpu_parity.kernel("column_sums", "float32", group("column_sums"))[0]["worst error"] == "nan"


def test_a_wrong_operation_is_seen(monkeypatch):
    (row,) = gpu_parity.operation("tanh", "cpu")
    assert row["within"] == "yes"
    assert 0 < row[gpu_parity.GRADIENTS] < 2e-5
    monkeypatch.setattr(gpu_parity, "case_reference", lambda case: (np.tanh(case.arguments[0]) + 1e-6,))
    assert gpu_parity.operation("tanh", "cpu")[0]["within"] == "no"


@pytest.mark.parametrize(("name", "losses"), [("vae", 1), ("dcgan", 2)])
def test_training_is_compared_step_by_step(name, losses, monkeypatch):
    short = dataclasses.replace(gpu_training.TRAININGS[name], steps=3)
    monkeypatch.setitem(gpu_training.TRAININGS, name, short)
    (row,) = gpu_training.compare(name, 0, device="cpu")
    assert (row["first 5 steps apart"], row["end apart"], row["within"]) == (0, 0, "yes")
    assert len(row["CPU"].split(", ")) == losses
    right = gpu_training.losses

    def otherwise(training, seed, device):
        return right(training, seed, "cpu") * (1 if device == "cpu" else 1.2)

    monkeypatch.setattr(gpu_training, "losses", otherwise)
    assert gpu_training.compare(name, 0)[0]["within"] == "no"


# What is told


def product(shape, direction, precision, ratio, ours=1.0):
    row = {
        "shape": shape,
        "direction": direction,
        "precision": precision,
        "ours, ms": ours,
        "PyTorch, ms": ratio * ours,
    }
    return row | {"PyTorch / ours": ratio, "of peak": 0.5}


OUTCOMES = {
    gpu.KERNELS: Outcome(
        [
            {"kernel": "matmul", "precision": "tf32", "cases": 2, "worst error": 5e-4, "bound": 2e-3, "within": "yes"},
            {"kernel": "exp", "precision": "tf32", "cases": 1, "worst error": "nan", "bound": 2e-3, "within": "no"},
            {
                "kernel": "drawn normal",
                "precision": "float32",
                "cases": 1,
                "worst error": 3,
                "bound": 4,
                "within": "yes",
            },
        ],
        {"conv2d, float32": "ValueError: it broke"},
        missing=2,
        seconds=9.0,
    ),
    gpu.OPERATIONS: Outcome([], {}, 0, 1.0),
    gpu.TRAINING: Outcome([], {}, 0, 1.0),
    gpu.MACHINE: Outcome([{"what": "PyTorch", "by": "as it is set"}], {}, 0, 1.0),
    gpu.SPEED: Outcome(
        [
            product("3x3, 64 -> 64 @ 28x28", "forward", "float32", 0.9, ours=1.8),
            product("masked 3x3 B, 64 -> 64 @ 28x28", "forward", "float32", 1.5, ours=1.0),
            product("3x3, 1 -> 32 @ 28x28", "forward", "float32", 0.7),
            product("3x3, 64 -> 64 @ 28x28", "input gradient", "float32", 0.7),
            product("3x3, 64 -> 64 @ 28x28", "forward", "bfloat16", 0.6),
        ],
        {},
        0,
        1.0,
    ),
    gpu.STEPS: Outcome(
        [
            {"step": "DCGAN 28x28", "side": "tinygen, captured", "median, ms": 1.0},
            {"step": "DCGAN 28x28", "side": "PyTorch, fused Adam", "median, ms": 2.5},
            {"step": "DCGAN 28x28", "side": "PyTorch, foreach Adam", "median, ms": 2.1},
            {"step": "DCGAN 28x28", "side": "PyTorch, fused Adam, compiled", "failed": "no compiler"},
        ],
        {},
        0,
        1.0,
    ),
}


def test_the_table_holds_each_target_and_each_failure():
    rows = {row["what"]: row for row in gpu.summary(OUTCOMES)}

    def told(what):
        return rows[what]["measured"], rows[what]["met"]

    assert told("kernels, float32: worst relative error") == ("not measured", "")
    assert told("kernels, tf32: worst relative error") == ("nan (exp); 1 of 2 within", "no")
    assert told("random numbers: units in the last place") == ("3 (drawn normal); 1 of 1 within", "yes")
    assert told("convolution, float32, forward: PyTorch / ours") == ("0.90 (0.70 to 1.50)", "by the median")
    assert told("convolution, float32, input gradient: PyTorch / ours") == ("0.70", "no")
    assert told("convolution, bfloat16: PyTorch / ours") == ("0.60", "yes")
    assert told("dense 3x3 / masked 3x3 B, both ours, float32") == ("1.80", "")
    assert told("captured DCGAN step: PyTorch eager / ours") == ("2.10", "yes")
    assert told("captured DCGAN step: PyTorch compiled / ours") == ("not measured", "")
    assert told("Kernels against their references in float64: conv2d, float32") == ("ValueError: it broke", "failed")
    assert told("Kernels against their references in float64") == ("2 jobs were not reached", "cut off")
    assert told("Training steps: PyTorch, fused Adam, compiled, DCGAN 28x28") == ("no compiler", "failed")


def test_all_of_it_is_written(results):
    report = gpu.report(OUTCOMES, 61.4)
    data = json.loads(harness.save("gpu", report).read_text())
    assert [part["title"] for part in data["parts"]] == [section.title for section in OUTCOMES]
    assert data["parts"][0]["rows"] == OUTCOMES[gpu.KERNELS].rows
    assert data["notes"] == ["`python -m benchmarks gpu`, 61 s", "as it is set"]
    page = harness.document("gpu", report).read_text()
    assert page.startswith("# On a GPU\n")
    assert all(f"## {section.title}\n" in page for section in OUTCOMES)
    assert "conv2d, float32: ValueError: it broke" in page
