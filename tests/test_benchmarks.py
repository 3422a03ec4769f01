"""The benchmarks' own machinery; what they measure is no test's business."""

import functools
import subprocess
import sys
from pathlib import Path

from benchmarks.harness import Timing, comparison, in_turns, markdown

ROOT = Path(__file__).parents[1]


def run(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )


def test_list_names_every_benchmark_and_what_it_measures():
    lines = run("-m", "benchmarks", "--list").stdout.splitlines()
    helpers = {"__init__", "__main__", "harness", "torch_vae"}
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
