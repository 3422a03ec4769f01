"""The benchmark `gpu` without a GPU: kernels on the emulator, the rest on a stub of CuPy, with invented timings."""

import json
import os
import time
from dataclasses import replace
from unittest import mock

import numpy as np
import pytest

from benchmarks import gpu, gpu_jobs, gpu_parity, gpu_speed, harness
from benchmarks.__main__ import main
from benchmarks.gpu_jobs import Outcome
from benchmarks.kernels import FORWARD, Linear
from benchmarks.pairs import PAIRS
from tests.cuda.device import emulator, install
from tests.cuda.emulator import build
from tests.cuda.emulator.stand_in import ORDERS
from tests.cupy_stub.module import installed
from tinygen.backend import device
from tinygen.kernels.cuda import KERNELS, runtime


@pytest.fixture
def results(monkeypatch, tmp_path):
    """An empty folder of results, and a provenance without facts about a GPU."""
    monkeypatch.setattr(harness, "ROOT", tmp_path)
    monkeypatch.setattr(harness, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(harness, "provenance", lambda device: {"machine": device})
    return tmp_path / "results"


def test_without_a_gpu_one_line_says_so_and_nothing_is_written(monkeypatch, results, capsys):
    monkeypatch.setattr(device, "gpu_problem", lambda: "no CUDA device was found")
    with mock.patch.dict(os.environ):
        assert main(["gpu"]) == 2
    printed = capsys.readouterr()
    assert printed.err == "gpu: device 'cuda' cannot be used: no CUDA device was found\n"
    assert not printed.out
    assert not results.exists()


# What a section measures


def use_emulator(monkeypatch):
    """Let CUDA kernels run on the emulator during a test."""
    if build.no_compiler:
        pytest.skip(build.no_compiler)
    xp = emulator(80)
    xp.order = next(iter(ORDERS))
    install(xp, monkeypatch.setattr)


def test_kernels_are_compared_with_their_references(monkeypatch):
    use_emulator(monkeypatch)
    jobs = gpu_parity.kernels()
    (exact,) = jobs["softmax, float32"]()
    (rounded,) = jobs["conv2d, tf32"]()
    (random_numbers,) = jobs["drawn normal, float32"]()
    assert [row["within"] for row in (exact, rounded, random_numbers)] == ["yes"] * 3
    assert exact["worst error"] < 1e-6 < rounded["worst error"] < 2e-3
    assert runtime.precision() == "float32"


def test_a_wrong_kernel_is_reported(monkeypatch):
    use_emulator(monkeypatch)
    right = KERNELS["column_sums"]
    monkeypatch.setitem(KERNELS, "column_sums", lambda *arguments: right(*arguments) * np.float32(1.001))
    rows = gpu_parity.kernels()["column_sums, float32"]()
    assert rows[0]["within"] == "no"
    (row,) = [row for row in gpu.parity(results_with(gpu.KERNELS, rows)) if row["met"]]
    assert row["met"] == "no"
    assert row["measured"].endswith("(column_sums); 0 of 1 within")


def test_operations_are_compared_with_their_references(monkeypatch):
    with installed():
        (row,) = gpu_parity.operation("tanh", "cuda")
        assert row["within"] == "yes"
        monkeypatch.setattr(gpu_parity, "case_reference", lambda case: (np.tanh(case.arguments[0]) + 1e-6,))
        (row,) = gpu_parity.operation("tanh", "cuda")
    assert row["within"] == "no"


def test_a_difference_of_equal_nans_is_0_and_of_other_infinities_nan():
    assert gpu_parity.difference([np.array([1.0, np.nan])], [np.array([1.0, np.nan])]) == 0
    assert np.isnan(gpu_parity.difference([np.array([np.inf])], [np.array([-np.inf])]))
    assert gpu_parity.finite(float("nan")) == "nan"  # JSON has no such number


def test_trainings_of_both_devices_are_compared(monkeypatch):
    monkeypatch.setitem(gpu_parity.TRAININGS, "vae", replace(gpu_parity.TRAININGS["vae"], steps=6))
    with installed():
        assert [row["within"] for row in gpu_parity.compare("vae")] == ["yes", "yes"]
        monkeypatch.setattr(gpu_parity, "TOLERANCE", -1.0)
        assert [row["within"] for row in gpu_parity.compare("vae")] == ["no", "no"]


@pytest.fixture
def invented_timings(monkeypatch):
    """A machine of 1e12 bytes and 1e13 operations a second, on which every call takes 2 ms, without PyTorch."""
    for name in ("queued", "paced"):
        monkeypatch.setattr(gpu_speed, name, lambda call, block: [2e-3])
    monkeypatch.setattr(gpu_speed, "bandwidth", lambda: (1e12, "ours"))
    monkeypatch.setattr(gpu_speed, "peak", lambda precision: (1e13, "ours"))
    monkeypatch.setattr(gpu_speed, "peer", lambda: (None, "no PyTorch"))


@pytest.mark.usefixtures("invented_timings")
def test_speed_is_compared_with_the_peak_that_bounds_it():
    with installed():
        (small,) = gpu_speed.product(Linear(10, 20, batch=5), FORWARD, "float32")
        (large,) = gpu_speed.product(Linear(1000, 1000, batch=500), FORWARD, "float32")
    assert small["bound by"] == "memory"
    assert small["of peak"] == pytest.approx((50 + 200 + 100) * 4 / 1e12 / 2e-3)
    assert large["bound by"] == "arithmetic"
    assert large["of peak"] == pytest.approx(2 * 500e6 / 1e13 / 2e-3)


@pytest.mark.usefixtures("invented_timings")
def test_a_step_that_is_not_captured_is_reported_and_the_others_are_timed():
    with installed():  # the stub's streams cannot capture
        captured, eager = gpu_speed.step_rows(replace(PAIRS["vae"], batch=2, device="cuda"))
    assert captured["failed"].startswith("RuntimeError: not captured, since ")
    assert eager["median, ms"] == pytest.approx(2)


# Jobs in processes, and the report

JOBS = """
import os, time

def jobs():
    return {
        "first": lambda: [{"x": 1}],
        "wrong": lambda: 1 / 0,
        "second": lambda: [{"x": 2}],
        "crash": lambda: os._exit(7),
        "third": lambda: [{"x": 3}],
    }

def endless():
    return {"hangs": lambda: time.sleep(600)}
"""


@pytest.fixture
def jobs_module(monkeypatch, tmp_path):
    """The name of a module with jobs that processes can import."""
    (tmp_path / "jobs_module.py").write_text(JOBS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    return "jobs_module"


def test_jobs_that_fail_or_crash_are_recorded_and_the_others_run(jobs_module):
    outcome = gpu_jobs.run(f"{jobs_module}:jobs", time.monotonic() + 60)
    assert outcome.rows == [{"x": 1}, {"x": 2}, {"x": 3}]
    assert outcome.failures == {
        "wrong": "ZeroDivisionError: division by zero",
        "crash": "the process ended with exit code 7: no message",
    }
    assert outcome.missing == 0


def test_jobs_are_cut_off_when_their_time_is_up(jobs_module):
    outcome = gpu_jobs.run(f"{jobs_module}:endless", time.monotonic() + 2)
    assert outcome.rows == []
    assert list(outcome.failures.values()) == ["its time was up"]


def test_jobs_that_cannot_begin_are_recorded(jobs_module):
    outcome = gpu_jobs.run(f"{jobs_module}:nothing", time.monotonic() + 60)
    (why,) = outcome.failures.values()
    assert "has no attribute 'nothing'" in why


def results_with(section, rows):
    """The rows of all sections, empty but for this section."""
    return {each: [] for phase in gpu.PHASES for each in phase} | {section: rows}


def convolution_row(precision, ours, theirs, direction="forward", shape="3x3, 8 -> 8 @ 9x9"):
    times = {"ours, ms": ours, "PyTorch, ms": theirs, "PyTorch / ours": theirs / ours, "of peak": 0.5}
    return {"shape": shape, "direction": direction, "precision": precision, **times}


OUTCOMES = {
    gpu.OPERATIONS: Outcome([], {"the start": "ImportError: no such thing"}, 4, 1.0),
    gpu.MACHINE: Outcome([{"what": "PyTorch", "by": "PyTorch 0.0; cudnn.benchmark = True"}], {}, 0, 1.0),
    gpu.SPEED: Outcome(
        [
            convolution_row("float32", 1.0, 0.9),
            convolution_row("float32", 1.0, 0.7, direction="weight gradient"),
            convolution_row("tf32", 1.0, 0.4),
            convolution_row("tf32", 1.0, 0.6, shape="1x1, 8 -> 8 @ 9x9"),
            convolution_row("tf32", 1.0, 0.7, shape="4x4, 8 -> 8 @ 9x9"),
            convolution_row("float32", 0.5, 1.0, shape="masked 3x3 B, 8 -> 8 @ 9x9"),
        ],
        {},
        0,
        1.0,
    ),
    gpu.STEPS: Outcome(
        [
            {"step": "DCGAN 28x28", "side": "tinygen, captured", "median, ms": 1.0},
            {"step": "DCGAN 28x28", "side": "tinygen, eager", "median, ms": 5.0},
            {"step": "DCGAN 28x28", "side": "PyTorch, fused Adam", "median, ms": 3.0},
            {"step": "DCGAN 28x28", "side": "PyTorch, foreach Adam", "median, ms": 4.0},
            {"step": "DCGAN 28x28", "side": "PyTorch, fused Adam, compiled", "failed": "RuntimeError: no compiler"},
        ],
        {},
        0,
        1.0,
    ),
}


def test_the_report_is_written_and_its_summary_printed(monkeypatch, results, capsys):
    outcomes = {section.function_path: outcome for section, outcome in OUTCOMES.items()}
    nothing = Outcome([], {}, 0, 0.0)
    monkeypatch.setattr(gpu_jobs, "run", lambda function_path, until, workers: outcomes.get(function_path, nothing))
    with installed(), mock.patch.dict(os.environ):
        assert main(["gpu"]) == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[-1] == "- written: results/gpu.json, results/gpu.md"

    saved = json.loads((results / "gpu.json").read_text())
    assert [part["title"] for part in saved["parts"]] == [s.title for phase in gpu.PHASES for s in phase]
    assert saved["machine"] == "cuda"
    assert "PyTorch 0.0; cudnn.benchmark = True" in saved["notes"]
    summary = {row["what"]: (row["measured"], row["met"]) for row in saved["rows"]}
    assert summary["kernels, float32: worst relative error"] == ("not measured", "")
    assert summary["convolution, float32, forward: PyTorch / ours"] == ("1.45 (0.90 to 2.00)", "yes")
    assert summary["convolution, float32, weight gradient: PyTorch / ours"] == ("0.70", "no")
    assert summary["convolution, tf32: PyTorch / ours"] == ("0.60 (0.40 to 0.70)", "by the median")
    assert summary["masked 3x3 B, float32: PyTorch / ours"] == ("2.00", "yes")
    assert summary["dense 3x3 / masked 3x3 B, both ours, float32"] == ("2.00", "")
    assert summary["captured DCGAN step: our eager / captured"] == ("5.00", "")
    assert summary["captured DCGAN step: PyTorch eager / captured"] == ("3.00", "yes")
    assert summary["captured DCGAN step: PyTorch compiled / captured"] == ("not measured", "")
    assert summary[f"{gpu.OPERATIONS.title}: the start"] == ("ImportError: no such thing", "failed")
    assert summary[gpu.OPERATIONS.title] == ("4 jobs were not reached", "cut off")
    assert "RuntimeError: no compiler" in (results / "gpu.md").read_text()
    assert all(row["what"] in printed for row in saved["rows"])
