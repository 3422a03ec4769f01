"""The helpers of the benchmarks, and that each benchmark runs; what they measure is not tested."""

import contextlib
import dataclasses
import functools
import itertools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tinygen as tg
from benchmarks import (
    compare,
    harness,
    kernels,
    memory,
    operations,
    sampling,
    scaling,
    scoreboard,
    spoken_digits,
    startup,
    steps,
    tables,
    train,
    vae_mnist,
)
from benchmarks.harness import Timing, against_pytorch, comparison, in_turns, markdown
from benchmarks.pairs import (
    BATCHES,
    DCGAN,
    LSTM,
    PAIRS,
    VAE,
    WGANGP,
    PixelCNN,
    UNetBlock,
    our_side,
    trainable_parameters,
)
from tinygen import cli, data, models
from tinygen.errors import UsageError
from tinygen.score import Score

ROOT = Path(__file__).parents[1]


def run(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120
    )


def test_list_names_every_benchmark_with_its_description():
    lines = run("-m", "benchmarks", "--list").stdout.splitlines()
    helpers = {"__init__", "__main__", "harness", "jax_steps", "pairs"}
    files = {path.stem for path in (ROOT / "benchmarks").glob("*.py") if not path.stem.startswith("gpu_")}
    assert {line.split()[0] for line in lines} == files - helpers
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


def test_ratios_of_timings_are_medians_over_rounds():
    ours, peer = Timing((1.0, 2.0, 30.0)), Timing((2.0, 4.0, 60.0))
    assert peer.ratio_to(ours) == (2.0, 0.0)  # the third round was slower for both sides
    rows = comparison({"us": ours, "them": peer}, unit=1e-3, unit_name="ms")
    assert [row["time / ours"] for row in rows] == [1.0, 2.0]
    assert [row["median, ms"] for row in rows] == [2000.0, 4000.0]


def test_sides_are_timed_in_turns_without_the_first_call_of_each():
    calls = []
    sides = {name: functools.partial(calls.append, name) for name in "ab"}
    timings = in_turns(sides, rounds=2, block=0, pause=0)
    assert calls == list("aabbbbaa")
    assert [len(timing.rounds) for timing in timings.values()] == [2, 2]


def test_a_table_is_markdown_with_numbers_aligned_to_the_right():
    assert markdown([{"a": "x", "b": 1.5}, {"a": "long", "b": 12345.0}]).splitlines() == [
        "| a    |      b |",
        "| ---- | -----: |",
        "| x    |    1.5 |",
        "| long | 12,345 |",
    ]


def test_rows_of_other_keys_begin_another_table():
    result = harness.Result("Title", [{"a": "x"}, {"a": "y"}, {"b": "z"}], ["a note"])
    assert harness.as_markdown(result).splitlines() == [
        *["Title", "", "| a |", "| - |", "| x |", "| y |", "", "| b |", "| - |", "| z |", "", "- a note"]
    ]


@pytest.fixture
def repository(monkeypatch, tmp_path):
    """A repository with a line of code and a result, in the place of this one; git's own settings are left out."""
    for name in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"):
        monkeypatch.setenv(name, os.devnull)
    monkeypatch.setattr(harness, "ROOT", tmp_path)
    monkeypatch.setattr(harness, "RESULTS", tmp_path / "benchmarks" / "results")
    monkeypatch.setattr(harness, "commit", harness.commit.__wrapped__)  # asked again at each call
    result = harness.Result("Title", [{"step": "a step", "PyTorch / ours": 2.0, "its spread": 0.1, "ours, ms": 5.0}])
    (tmp_path / "benchmarks" / "code.py").parent.mkdir()
    (tmp_path / "benchmarks" / "code.py").write_text("1\n")
    harness.save("steps", result)
    for arguments in (["init"], ["add", "."], ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-m", "first"]):
        assert harness.git(*arguments) is not None
    return result


def test_the_commit_of_a_result_is_that_of_the_code_whatever_results_were_saved(repository):
    head = harness.git("rev-parse", "--short", "HEAD")
    harness.save("another", repository)
    harness.save("steps", repository, "a note")
    assert harness.commit() == head
    (harness.ROOT / "benchmarks" / "code.py").write_text("2\n")
    assert harness.commit() == f"{head}-dirty"


@pytest.mark.parametrize(
    ("ratio", "spread", "note", "message"),
    [
        (1.7, 0.1, None, "figures of steps worsened"),
        (1.7, 0.1, "another machine", None),
        (1.7, 0.4, None, None),  # within its spread
        (1.85, 0.0, None, None),  # within the tolerance
        (3.0, 0.0, None, None),
    ],
)
def test_a_figure_that_worsened_needs_a_note(repository, ratio, spread, note, message):
    (row,) = repository.rows
    now = {**row, "PyTorch / ours": ratio, "its spread": spread, "ours, ms": 50.0}
    harness.save("steps", dataclasses.replace(repository, rows=[now]), note)
    with pytest.raises(UsageError, match=message) if message else contextlib.nullcontext():
        found = compare.run()
        assert [each["note"] for each in found.rows] == ([note] if note else [])


def test_figures_worsen_in_the_direction_of_the_catalogue():
    runs = [{"recipe": "gan", "seed": 0, "metrics": {"frechet": 10.0, "coverage": 0.5, "critic_distance": 1.0}}]
    other = [{**runs[0], "metrics": {"frechet": 20.0, "coverage": 0.9, "critic_distance": 9.0}}]
    before, now = ({"rows": [], "parts": [{"rows": rows}]} for rows in (runs, other))
    assert [row["figure"] for row in compare.worsened(before, now)] == ["Frechet"]
    assert [row["figure"] for row in compare.worsened(now, before)] == ["coverage"]


def test_no_saved_figure_is_worse_than_at_the_last_commit_without_a_note():
    compare.run()


def test_every_recipe_of_the_scoreboard_is_a_valid_command(monkeypatch, tmp_path):
    trained = []
    fit = lambda model, dataset, **options: trained.append((model.name, dataset.spec.name))  # noqa: E731
    monkeypatch.setattr("tinygen.commands.train.fit", fit)
    monkeypatch.setattr(data, "load", functools.partial(load_stand_in, data.load))
    monkeypatch.setenv("TINYGEN_RUNS", str(tmp_path))
    monkeypatch.setattr(harness, "RESULTS", tmp_path)  # no run is scored
    commands = list(scoreboard.missing())
    assert len({tuple(command) for command in commands}) == len(commands) == 3 * len(scoreboard.RECIPES)
    assert len({scoreboard.folder(recipe, 0) for recipe in scoreboard.RECIPES}) == len(scoreboard.RECIPES)
    for command in commands[: len(scoreboard.RECIPES)]:
        assert cli.main(command[1:]) == 0
    assert {name for name, _ in trained} == set(models.names())


STAND_INS = {
    "mnist": "fashion-mnist-7k",
    "text": "sentences",
    "cifar10_5k": "coloured-digits8x8",
    "fsdd_mulaw": "tones",
    "emoji32": "coloured-digits8x8",
    "pokemon_lecture": "coloured-digits8x8",
    "photo_patches64": "coloured-digits8x8",
    "smiles32": "fashion-mnist-7k",
    "facades64": "segmented-sprites",
    "ageing-mnist": "ageing-digits",
}
"""Data sets of the package with the fields of those that the recipes name, which the tests do not have."""


def load_stand_in(load, name, **options):
    """Load the data set, or the one that stands in for it; its fields have the names that the models need."""
    fields = options.get("fields") or {}
    if name not in STAND_INS:
        return load(name, **options)
    if "target" not in fields:
        return load(STAND_INS[name])
    if fields["x"].endswith(":map"):
        return exchanged(load("segmented-sprites"))
    return load("segmented-sprites" if fields["target"].endswith(":map") else "shadowed-digits8x8")


def exchanged(dataset):
    """The data set with each example's target as x, and the other way round."""
    fields = {"x": dataset.spec.target, "target": dataset.spec.x}
    parts = (dataset.train, dataset.valid, dataset.test)
    splits = [data.Split(fields, {"x": s.columns["target"], "target": s.columns["x"]}) for s in parts]
    return data.Dataset(data.Spec(dataset.spec.name, fields), *splits)


def test_spoken_digits_are_heard_by_the_energies_of_their_frequencies():
    field, lengths = data.Wave(rate=8000), [900, 1500]
    tones = [0.5 * np.sin(2 * np.pi * f * np.arange(n) / 8000) for f, n in zip((500, 2500), lengths, strict=True)]
    x = spoken_digits.placed(field, field.store("x", tones), 2000)
    np.testing.assert_array_equal((x != field.silence).argmax(axis=1) - 1, [550, 250])  # a sine begins with zero
    energy = spoken_digits.bands(field, x)[..., 0]
    mel = lambda f: 1127 * np.log1p(f / 700)  # noqa: E731
    assert energy.shape[2] == spoken_digits.BANDS
    for of_tone, frequency in zip(energy, (500, 2500), strict=True):
        band = of_tone[len(of_tone) // 2].argmax() + 1
        assert band == pytest.approx(mel(frequency) / mel(4000) * (spoken_digits.BANDS + 1), abs=1)
    with tg.no_grad():
        assert spoken_digits.Classifier(10)(energy[..., None]).shape == (2, 10)


def test_finished_runs_are_not_missing_and_unfinished_ones_are_resumed(monkeypatch, tmp_path):
    monkeypatch.setenv("TINYGEN_RUNS", str(tmp_path))
    monkeypatch.setattr(harness, "RESULTS", tmp_path)
    done, cut = (scoreboard.folder(recipe, 0) for recipe in scoreboard.RECIPES[:2])
    for folder in (done, cut):
        folder.mkdir()
        (folder / "config.json").write_text("{}")
    (done / "summary.json").write_text("{}")
    commands = list(scoreboard.missing())
    assert commands[0] == ["tinygen", "resume", str(cut)]
    assert not any(str(done) in command for command in commands)


def score_of_seed(seed, metrics, *, data="digits", real=None, test=None):
    """A record of the score of a GAN's run with these metrics."""
    return Score(f"runs/{seed}", "gan", data, seed, 10, 5.0 + seed, metrics, test or {}, real or {})


def test_a_scoreboard_shows_mean_and_range_beside_real_images():
    real = {"frechet": 1.5, "coverage": 0.97, "classes": 10.0}
    seeds = [score_of_seed(seed, {"coverage": c, "classes": 9.0}, real=real) for seed, c in enumerate((0.3, 0.5, 0.7))]
    ring = [score_of_seed(0, {"modes_count": 8.0}, data="ring8")]
    above, row = scoreboard.sample_rows({"gan --data digits": seeds, "gan --data ring8": ring})
    assert (above["model"], above["coverage"], above["classes"]) == ("test images", "0.97", "10")
    assert (row["seeds"], row["coverage"], row["classes"]) == (3, "0.5 (0.3 to 0.7)", "9 (9 to 9)")
    assert row["training, s"] == "6 (5 to 7)"


def test_black_and_white_images_and_grey_ones_of_one_name_are_not_compared_with_each_other():
    grey, binary = ({"frechet": floor, "coverage": 0.97} for floor in (1.5, 1.6))
    scores = {
        "gan --data digits": [score_of_seed(0, {"frechet": 3.0, "coverage": 0.5}, real=grey)],
        "vae --data digits": [score_of_seed(0, {"frechet": 9.0, "coverage": 0.4}, real=binary)],
    }
    named = {"digits": 1.5, "digits (dynamic binarisation)": 1.6}
    calibrations = [{"calibration": f"real, {name}", "Frechet": floor} for name, floor in named.items()]
    rows = scoreboard.sample_rows(scores, calibrations)
    assert [(row["recipe"] or row["data"], row["Frechet"]) for row in rows] == [
        ("digits", "1.5"),
        ("gan --data digits", "3"),
        ("digits (dynamic binarisation)", "1.6"),
        ("vae --data digits", "9"),
    ]


def test_bits_per_dimension_of_binary_data_are_called_so():
    scores = [score_of_seed(0, {}, test={"bits_per_dim": 0.2})]
    rows = scoreboard.evaluation_rows({"made": scores, "pixelcnn": scores}, binary={"made"})
    assert [row["on test"] for row in rows] == [
        "-log p, bits per binary dimension 0.2",
        "-log p, bits per dimension 0.2",
    ]


def test_an_earlier_table_is_left_out_once_its_runs_are_measured_again(monkeypatch, tmp_path):
    monkeypatch.setattr(harness, "RESULTS", tmp_path)
    earlier = [{"model": "test images", "data": "digits"}, *({"model": m, "data": "digits"} for m in ("gan", "wgan"))]
    harness.save("scoreboard", harness.Result("Scoreboard", [], [], [harness.Result("Before", earlier)]))
    (kept,) = scoreboard.earlier_prints([{"model": "gan", "data": "digits"}])
    assert [row["model"] for row in kept.rows] == ["test images", "wgan"]
    assert scoreboard.earlier_prints([{"model": each, "data": "digits"} for each in ("gan", "wgan")]) == []


def test_a_scoreboard_shows_own_evaluations_only_of_metrics_with_a_direction():
    ring = score_of_seed(0, {}, data="ring8", test={"modes_count": 8.0, "discriminator_nats": 1.3})
    other = score_of_seed(0, {}, test={"discriminator_nats": 1.4})
    (row,) = scoreboard.evaluation_rows({"gan --data ring8": [ring], "gan --data digits": [other]})
    assert row["on test"] == "modes 8"


def runs_of_two_seeds():
    scores = [
        score_of_seed(
            seed,
            {"frechet": 4.0, "frechet_over_floor": 2.0, "coverage": 0.5 + seed},
            real={"frechet": 2.0, "frechet_over_floor": 1.0, "coverage": 0.97},
            test={"modes_count": 8.0},
        )
        for seed in (0, 1)
    ]
    about = {"machine": "a CPU, 1 threads", "scored": {"date": "2026-01-02"}}
    return [{"recipe": "gan --data digits", **vars(score), **about} for score in scores]


def test_the_table_of_the_readme_has_a_line_for_each_recipe(monkeypatch, tmp_path):
    runs = runs_of_two_seeds()
    scores = {"gan --data digits": [scoreboard.score_of(row) for row in runs]}
    rows = scoreboard.sample_rows(scores) + scoreboard.evaluation_rows(scores)
    earlier = harness.Result(
        "Before", [{"model": "wgan", "data": "ring8", "seeds": 1, "on test": "x", "training, s": "9"}]
    )
    monkeypatch.setattr(harness, "RESULTS", tmp_path)
    known = [
        {
            "calibration": f"{name}, {data}",
            "Frechet": 5.0,
            "Frechet over floor": 2.5,
            "coverage": 0.1,
            "judges agree": 1.0,
        }
        for name in ("blur", "single mode")
        for data in ("digits", "faces")
    ]
    parts = [earlier, harness.Result("Runs", runs), harness.Result("Calibration", known)]
    harness.save("scoreboard", harness.Result("Scoreboard", rows, [], parts))
    assert [line for line in tables.scoreboard().splitlines() if line and not line.startswith("|-")] == [
        "Scored on 2026-01-02, trained on a CPU, 1 threads:",
        "| samples of | seeds | training, s | Frechet over floor | coverage | label distance | memorisation "
        "| judges agree | asked label | on test |",
        "| test images, digits |  |  | 1 | 0.97 |  |  |  |  |  |",
        "| `gan --data digits` | 2 | 5.5 (5 to 6) | 2 (2 to 2) | 1 (0.5 to 1.5) |  |  |  |  | modes 8 (8 to 8) |",
        "| one image, repeated, digits |  |  | 2.5 | 0.1 |  |  | 1 |  |  |",
        "Before:",
        "| `tinygen train` | seeds | training, s | on test: mean (range) |",
        "| wgan, ring8 | 1 | 9 | x |",
    ]


def test_a_scoreboard_keeps_the_runs_of_earlier_days_and_drops_those_of_earlier_recipes(monkeypatch, tmp_path):
    """A saved run is neither trained again nor lost; a run of the same recipe and seed replaces it."""
    monkeypatch.setattr(harness, "RESULTS", tmp_path)
    monkeypatch.setenv("TINYGEN_RUNS", str(tmp_path))
    monkeypatch.setattr(scoreboard, "RECIPES", ("gan --data digits", "wgan --data ring8"))
    before = [*runs_of_two_seeds(), {**runs_of_two_seeds()[0], "recipe": "gan --data digits --epochs 1"}]
    harness.save("scoreboard", harness.Result("Scoreboard", [], [], [harness.Result("Runs", before)]))
    saved = scoreboard.saved_part("Runs")
    assert [command[2:6] for command in scoreboard.missing()] == [
        ["wgan", "--data", "ring8", "--seed"],
        ["wgan", "--data", "ring8", "--seed"],
        ["gan", "--data", "digits", "--seed"],
        ["wgan", "--data", "ring8", "--seed"],
    ]
    new = {**saved[1], "step": 77}
    rows = scoreboard.merged(saved, [new])
    assert [(row["recipe"], row["seed"], row["step"]) for row in rows] == [
        ("gan --data digits", 0, 10),
        ("gan --data digits", 1, 77),
    ]
    assert scoreboard.score_of(rows[0]).metrics["coverage"] == 0.5


def test_our_side_is_compared_with_the_fastest_configuration_of_pytorch():
    def slow():
        sum(range(100_000))

    cells = against_pytorch(bool, {"slow": slow, "quick": bool}, rounds=2, block=0)
    assert list(cells) == ["ours, ms", "PyTorch, ms", "PyTorch / ours", "its spread", "PyTorch's best"]
    assert cells["PyTorch's best"] == "quick"
    assert list(against_pytorch(bool, {}, rounds=2, block=0)) == ["ours, ms"]
    also = against_pytorch(bool, {"quick": bool}, rounds=2, block=0, also={"JAX": slow})
    assert list(also)[:5] == list(cells)
    assert also["JAX / ours"] > 1


@pytest.mark.parametrize("name", PAIRS)
def test_our_side_of_a_pair_makes_a_step_that_changes_its_parameters(name):
    pair = LSTM(batch=2, length=3) if name == "lstm" else dataclasses.replace(PAIRS[name], batch=2)
    networks, step = our_side(pair, tg)
    before = [p.numpy().copy() for p in trainable_parameters(networks)]
    assert all(np.isfinite(loss.item()) for loss in step())
    changed = [
        not np.array_equal(p.numpy(), old) for p, old in zip(trainable_parameters(networks), before, strict=True)
    ]
    if name == "wgan_gp":  # the step updates the critic alone, whose last bias cancels in its loss
        generator = len(trainable_parameters(networks[:1]))
        assert not any(changed[:generator])
        changed = changed[generator:-1]
    assert all(changed)


def test_a_step_is_measured_without_pytorch(monkeypatch):
    monkeypatch.setattr(harness, "torch_or_none", lambda: None)
    monkeypatch.setattr(steps, "ROUNDS", 2)
    monkeypatch.setattr(steps, "BLOCK", 0)
    row = steps.measure(dataclasses.replace(PAIRS["vae"], batch=2))
    assert list(row) == ["step", "batch", "ours, ms", "our page faults a step"]
    assert row["batch"] == 2


def test_a_transposed_convolution_exchanges_forward_and_input_gradient():
    case = kernels.Convolution("", 8, 3, 5, 4, stride=2, padding=1, batch=2)
    shapes = {}
    for transposed in (False, True):
        case = dataclasses.replace(case, transposed=transposed)
        shapes[transposed] = [call().shape for call in case.ours(*case.arrays()).values()]
    assert shapes[False] == [(2, 4, 4, 5), (2, 8, 8, 3), (4, 4, 3, 5)]
    assert shapes[True] == [(2, 8, 8, 3), (2, 4, 4, 5), (4, 4, 3, 5)]


def test_operations_of_a_masked_convolution_count_its_live_weights_only():
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
    ours, theirs = memory.Levels(40.0, 50.0, 60.0, 100.0), memory.Levels(180.0, 200.0, 210.0, 300.0)
    row = memory.row(PAIRS["vae"], ours, theirs)
    assert row["training: PyTorch / ours"] == 2.0
    assert row["process: PyTorch / ours"] == 3.0
    assert list(memory.row(PAIRS["vae"], ours, None)) == [
        "step",
        "batch",
        "training: ours, MB",
        "process: ours, MB",
    ]


def test_the_time_of_starting_is_given_with_numpy_and_without():
    assert startup.row("us", [(1.0, 2.0, 4.0), (1.0, 3.0, 5.0), (1.0, 9.0, 9.0)]) == {
        "side": "us",
        "import numpy, s": 1.0,
        "the library too, s": 3.0,
        "a first step too, s": 5.0,
        "without numpy, s": 4.0,
    }


def test_the_tables_of_the_readme_match_the_results():
    text = tables.README.read_text(encoding="utf-8")
    assert tables.rewritten(text) == text, "python -m benchmarks tables writes them again"


def test_changed_results_and_changed_tables_are_rewritten_or_refused(monkeypatch, tmp_path):
    shutil.copytree(harness.RESULTS, tmp_path / "results")
    overhead = tmp_path / "results" / "overhead.json"
    result = json.loads(overhead.read_text())
    measured, result["rows"][1]["time / ours"] = f"{result['rows'][1]['time / ours']:.2f} |", 0.66
    overhead.write_text(json.dumps(result))
    monkeypatch.setattr(harness, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(tables, "README", tmp_path / "README.md")
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    lines = set(tables.rewritten(text).splitlines()) ^ set(text.splitlines())
    assert sorted(line.split(" | ")[-1] for line in lines) == sorted(["0.66 |", measured])
    tables.README.write_text(text.replace(f"| {measured}", "| 0.99 |"))
    assert tables.run().notes == ["README.md is written"]
    assert tables.README.read_text() == tables.rewritten(text)
    assert tables.run().notes == ["README.md is as it was"]
    for wrong in (text.replace("table: steps,", "table: leaps,"), text + text, ""):
        with pytest.raises(UsageError, match=r"README.md has the tables .*; it should have scoreboard, toys, steps"):
            tables.rewritten(wrong)


def test_calibrations_under_different_binarisations_have_different_names():
    specs = [
        data.Spec("mnist", {"x": data.Image(28, 28, 1, "binary", binarisation=each)}) for each in ("dynamic", None)
    ]
    assert [scoreboard.in_words(each) for each in specs] == ["mnist (dynamic binarisation)", "mnist"]


@pytest.mark.parametrize(
    ("pair", "checkpoints"), [(UNetBlock(batch=2, side=8, channels=8, depth=3), 3), (LSTM(batch=1, length=26), 2)]
)
def test_checkpoints_change_no_loss_of_a_pair(monkeypatch, pair, checkpoints):
    called = []
    checkpoint = tg.checkpoint
    monkeypatch.setattr(tg, "checkpoint", lambda *arguments: called.append(1) or checkpoint(*arguments))
    _, plain = our_side(pair, tg)
    expected = steps.losses(plain)
    assert not called
    _, checkpointed = our_side(dataclasses.replace(pair, checkpoint=True), tg)
    np.testing.assert_allclose(steps.losses(checkpointed), expected, rtol=1e-5)
    assert len(called) == BATCHES * checkpoints


def test_the_exponent_is_that_of_the_larger_half():
    sizes = [1.0, 2.0, 4.0, 8.0, 16.0]
    assert scaling.exponent(sizes, [9.0, 9.0, *(3 * size**1.5 for size in sizes[2:])]) == pytest.approx(1.5)
    curve = [
        {"size": "batch", "threads": 1, "checkpoint": False, "value": n, "ours, ms": n, "PyTorch, ms": 2 * n**2}
        | {"ours, MB": 7.0}
        for n in (2, 4, 8, 16)
    ]
    row = scaling.growth(curve)
    assert (row["size"], row["from"], row["to"], row["PyTorch / ours, ms"]) == ("batch", 8, 16, 32.0)
    exponents = {key: value for key, value in row.items() if key.startswith("exponent")}
    assert exponents == pytest.approx(
        {"exponent: ours, ms": 1.0, "exponent: PyTorch, ms": 2.0, "exponent: ours, MB": 0.0}, abs=1e-9
    )


def test_every_size_of_an_axis_is_another_pair_and_the_warm_up_is_small():
    for axis in scaling.AXES:
        pairs = {axis.at(size, checkpoint=checkpoint) for size in axis.sizes for checkpoint in (False, True)}
        assert len(pairs) == 2 * len(axis.sizes)
        assert list(axis.sizes) == sorted(axis.sizes)
        assert axis.warm_up().batch == 1


def test_time_and_memory_of_a_size_are_measured(monkeypatch):
    """Memory in a process of its own, whose peak is that of the larger pair, beyond what the first one left."""
    monkeypatch.setattr(harness, "torch_or_none", lambda: None)
    monkeypatch.setattr(scaling.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(scaling, "ROUNDS", 1)
    monkeypatch.setattr(scaling, "BLOCK", 0)
    pair = UNetBlock(batch=1, side=8, channels=8, depth=1)
    assert list(scaling.times(pair)) == ["ours, ms"]
    cells = scaling.peaks(dataclasses.replace(pair, batch=64), pair)
    images = 64 * 8 * 8 * 8 * 4 / 1e6
    assert list(cells) == ["ours, MB"]
    assert cells["ours, MB"] > images


def a_step_that_cannot_be_compiled(pair, torch, config, networks):
    def step():
        if config.compiled:
            raise RuntimeError("no compiler\nand more")
        return (np.float32(1),)

    return step


class NoTorch:
    """As much of PyTorch as `peers_of` uses itself."""

    class compiler:
        @staticmethod
        def reset():
            pass


def test_a_step_that_cannot_be_compiled_says_why_and_the_others_are_compared(monkeypatch):
    monkeypatch.setattr(steps, "peer_side", a_step_that_cannot_be_compiled)
    sides, values, failure = steps.peers_of(PAIRS["vae"], NoTorch, [])
    assert list(sides) == list(values) == ["fused Adam", "foreach Adam"]
    assert failure == "fails: RuntimeError: no compiler"
    assert tables.compiled_ratio(failure) == "fails"
    assert tables.compiled_ratio(1.234) == "1.23"
    assert steps.largest_difference(values, np.float32(1), "") == 0.0
    with pytest.raises(AssertionError, match=r"a title, fused Adam"):
        steps.largest_difference(values, np.float32(1.1), "a title")


SHORT_TRAININGS = [
    dataclasses.replace(training, pair=pair, steps=4, reading=2, slice=2)
    for training, pair in zip(
        train.TRAININGS, (VAE(batch=8), PixelCNN(batch=2), DCGAN(batch=4), WGANGP(batch=4, critic_steps=2)), strict=True
    )
]


@pytest.mark.parametrize("training", SHORT_TRAININGS, ids=lambda training: training.pair.title)
def test_a_training_is_measured_without_pytorch(monkeypatch, training):
    dataset = data.load("fashion-mnist-7k")
    few = dataclasses.replace(dataset, valid=dataset.valid.take(40))
    monkeypatch.setattr(harness, "torch_or_none", lambda: None)
    monkeypatch.setattr(train.Judge, "of", lambda dataset: train.Judge(dataset.spec))
    row = train.measure(training, few)
    assert row["steps"] == 4
    assert np.isfinite(row["ours, final number"])
    assert row["the same number"] <= row["ours, final number"]
    assert row["ours, steps"] in (2, 4)


def test_the_vae_on_mnist_is_read_on_test_images_after_each_epoch(monkeypatch):
    dataset = data.load("fashion-mnist-7k")
    few = dataclasses.replace(dataset, train=dataset.train.take(20), test=dataset.test.take(30))
    monkeypatch.setattr(tg.data, "load", lambda name: few)
    monkeypatch.setattr(harness, "torch_or_none", lambda: None)
    monkeypatch.setattr(vae_mnist, "EPOCHS", 2)
    monkeypatch.setattr(vae_mnist, "VAE", functools.partial(VAE, batch=8))
    (row,) = vae_mnist.run().rows
    assert row["steps"] == 4
    assert row["ours, steps"] in (2, 4)


def test_naive_and_cached_sampling_are_timed_several_times_each():
    options = {"hidden": 4, "blocks": 1, "head": 4}
    row = sampling.row("pixelcnn", data.Image(4, 4, 1, "binary"), 2, "2 images", **options)
    assert row["equal to the bit"]
    assert row["its spread"] > 0  # of one run each it would be nothing


def test_the_generator_of_wgan_gp_is_updated_after_every_nth_update_of_the_critic():
    networks, step = our_side(WGANGP(batch=2, critic_steps=2), tg)
    weight = networks[0].parameters()[0]
    values = [weight.numpy().copy()]
    for _ in range(4):
        step()
        values.append(weight.numpy().copy())
    changed = [not np.array_equal(a, b) for a, b in itertools.pairwise(values)]
    assert changed == [False, True, False, True]


def test_the_same_number_is_the_worse_of_both_best_ones_and_slices_count_until_it_is_read():
    side = train.Side(bool, list, list, [0.0, 1.0, 1.0], [(2, 0.0, 9.0), (4, 1.0, 3.0), (6, 2.0, 5.0)])
    assert side.reached(3.5) == (4, 1.0)
    assert side.reached(9.0) == (2, 0.0)


def test_a_table_without_a_result_says_how_to_get_one(monkeypatch, tmp_path):
    monkeypatch.setattr(harness, "RESULTS", tmp_path)
    assert tables.written("scaling") == "Not measured yet: `python -m benchmarks scaling --save`.\n"
    assert tables.written("trainings") == "Not measured yet: `python -m benchmarks train --save`.\n"


def test_the_tables_of_growth_and_of_trainings(monkeypatch, tmp_path):
    monkeypatch.setattr(harness, "RESULTS", tmp_path)
    curve = [
        {"size": "batch", "threads": 1, "checkpoint": True, "value": n}
        | {f"{side}, {what}": n * factor for side, factor in (("ours", 1.0), ("PyTorch", 1.5)) for what in ("ms", "MB")}
        for n in (1, 2, 4, 8)
    ]
    harness.save("scaling", harness.Result("", [scaling.growth(curve), *curve]))
    assert tables.scaling().splitlines()[2:] == [
        "| batch, 4 to 8, checkpoints | 1 | 1.00 / 1.00 | 1.50 | 1.00 / 1.00 | 1.50 |"
    ]
    row = {"training": "VAE", "number": "-ELBO, nats", "the same number": 230.12, "PyTorch / ours": 1.5}
    for side, factor in (("ours", 1), ("PyTorch", 2)):
        row |= {f"{side}, s": 10.0 * factor, f"{side}, steps": 100 * factor, f"{side}, final number": 229.0 + factor}
    harness.save("train", harness.Result("", [row]))
    line = "| VAE | -ELBO, nats 230.1 | 10.0 s (100 steps) | 20.0 s (200 steps) | 1.50 | 230 / 231 |"
    assert tables.trainings().splitlines()[2:] == [line]


@pytest.mark.parametrize("operation", operations.TABLE, ids=lambda operation: operation.name)
def test_operations_are_measured_with_their_gradients(monkeypatch, operation):
    monkeypatch.setattr(harness, "torch_or_none", lambda: None)
    monkeypatch.setattr(operations, "ROUNDS", 1)
    monkeypatch.setattr(operations, "BLOCK", 0)
    row = operations.measure(operation)
    assert list(row) == ["operation", "forward: ours, ms", "with gradients: ours, ms"]
    assert row["with gradients: ours, ms"] > 0
