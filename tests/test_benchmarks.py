"""The benchmarks' own machinery; what they measure is no test's business."""

import dataclasses
import functools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tinygen as tg
from benchmarks import harness, kernels, memory, startup, steps
from benchmarks.harness import Timing, comparison, duel, in_turns, markdown
from benchmarks.pairs import LSTM, PAIRS, our_side, trained

ROOT = Path(__file__).parents[1]


def run(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )


def test_list_names_every_benchmark_and_what_it_measures():
    lines = run("-m", "benchmarks", "--list").stdout.splitlines()
    helpers = {"__init__", "__main__", "harness", "jax_steps", "pairs", "torch_vae"}
    assert {line.split()[0] for line in lines} == {path.stem for path in (ROOT / "benchmarks").glob("*.py")} - helpers
    assert all(len(line.split()) > 4 for line in lines)


def test_an_unknown_name_is_refused():
    done = run("-m", "benchmarks", "overhaed")
    assert done.returncode == 2
    assert "'overhaed'" in done.stderr
    assert "Traceback" not in done.stderr


def test_every_benchmark_can_be_imported_without_a_peer():
    code = """
import sys, importlib
sys.modules["torch"] = None  # as if it were not installed
from benchmarks.__main__ import available
for name in available():
    assert callable(importlib.import_module("benchmarks." + name).run), name
"""
    done = run("-c", code)
    assert done.returncode == 0, done.stderr


def test_timings_are_compared_round_by_round():
    ours, peer = Timing((1.0, 2.0, 30.0)), Timing((2.0, 4.0, 60.0))
    assert peer.ratio_to(ours) == (2.0, 0.0)  # what slowed the third round slowed both sides
    rows = comparison({"us": ours, "them": peer}, unit=1e-3, unit_name="ms")
    assert [row["time / ours"] for row in rows] == [1.0, 2.0]
    assert [row["median, ms"] for row in rows] == [2000.0, 4000.0]


def test_sides_take_turns_and_the_first_call_of_a_turn_does_not_count():
    calls = []
    sides = {name: functools.partial(calls.append, name) for name in "ab"}
    timings = in_turns(sides, rounds=2, block=0, pause=0)
    assert calls == list("aabbbbaa")
    assert [len(timing.rounds) for timing in timings.values()] == [2, 2]


def test_a_table_is_markdown_with_numbers_to_the_right():
    assert markdown([{"a": "x", "b": 1.5}, {"a": "long", "b": 12345.0}]).splitlines() == [
        "| a    |      b |",
        "| ---- | -----: |",
        "| x    |    1.5 |",
        "| long | 12,345 |",
    ]


def test_a_duel_is_with_the_fastest_of_the_peers():
    def slow():
        sum(range(100_000))

    cells = duel(bool, {"slow": slow, "quick": bool}, rounds=2, block=0)
    assert list(cells) == ["ours, ms", "PyTorch, ms", "PyTorch / ours", "its spread", "PyTorch's best"]
    assert cells["PyTorch's best"] == "quick"
    assert list(duel(bool, {}, rounds=2, block=0)) == ["ours, ms"]


@pytest.mark.parametrize("name", PAIRS)
def test_our_side_of_a_pair_makes_a_step(name):
    pair = LSTM(batch=2, length=3) if name == "lstm" else dataclasses.replace(PAIRS[name], batch=2)
    networks, step = our_side(pair, tg)
    before = [p.numpy().copy() for p in trained(networks)]
    assert all(np.isfinite(loss.item()) for loss in step())
    changed = [not np.array_equal(p.numpy(), old) for p, old in zip(trained(networks), before, strict=True)]
    if name == "wgan_gp":  # a critic's step: the generator only runs, and the critic's last bias cancels
        generator = len(trained(networks[:1]))
        assert not any(changed[:generator])
        changed = changed[generator:-1]
    assert all(changed)


def test_a_step_is_measured_without_a_peer(monkeypatch):
    monkeypatch.setattr(harness, "torch_or_none", lambda: None)
    monkeypatch.setattr(steps, "ROUNDS", 2)
    monkeypatch.setattr(steps, "BLOCK", 0)
    row = steps.measure(dataclasses.replace(PAIRS["vae"], batch=2))
    assert list(row) == ["step", "batch", "ours, ms", "our page faults a step"]
    assert row["batch"] == 2


def test_directions_of_a_transposed_convolution_are_those_of_the_convolution_exchanged():
    case = kernels.Convolution("", 8, 3, 5, 4, stride=2, padding=1, batch=2)
    shapes = {}
    for transposed in (False, True):
        case = dataclasses.replace(case, transposed=transposed)
        shapes[transposed] = [call().shape for call in case.ours(*case.arrays()).values()]
    assert shapes[False] == [(2, 4, 4, 5), (2, 8, 8, 3), (4, 4, 3, 5)]
    assert shapes[True] == [(2, 8, 8, 3), (2, 4, 4, 5), (4, 4, 3, 5)]


def test_operations_of_a_masked_convolution_are_those_of_its_live_weights():
    dense = kernels.Convolution("", 6, 2, 3, 3, padding=1, batch=1)
    assert dense.flops == 2 * 36 * 9 * 2 * 3
    assert dataclasses.replace(dense, kind="B").flops == 2 * 36 * 5 * 2 * 3
    assert dataclasses.replace(dense, kind="A").flops == 2 * 36 * 4 * 2 * 3


def test_a_first_layer_has_no_input_gradient(monkeypatch):
    monkeypatch.setattr(kernels, "ROUNDS", 2)
    monkeypatch.setattr(kernels, "BLOCK", 0)
    rows = kernels.measure(kernels.Convolution("3x3", 6, 1, 2, 3, padding=1, first=True, batch=1), None)
    assert [row["direction"] for row in rows] == ["forward", "weight gradient"]
    assert list(rows[0]) == ["shape", "direction", "ours, ms", "our GFLOP/s"]


def test_peak_memory_is_compared_over_the_steps_and_over_the_process():
    row = memory.row(PAIRS["vae"], (50.0, 100.0), (100.0, 300.0))
    assert row["steps: PyTorch / ours"] == 2.0
    assert row["process: PyTorch / ours"] == 3.0
    assert list(memory.row(PAIRS["vae"], (50.0, 100.0), None)) == [
        "step",
        "batch",
        "steps: ours, MB",
        "process: ours, MB",
    ]


def test_start_up_is_told_with_numpy_and_without():
    assert startup.row("us", [(1.0, 2.0, 4.0), (1.0, 3.0, 5.0), (1.0, 9.0, 9.0)]) == {
        "side": "us",
        "import numpy, s": 1.0,
        "the library too, s": 3.0,
        "a first step too, s": 5.0,
        "without numpy, s": 4.0,
    }
