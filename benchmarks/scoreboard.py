"""The recipes of all models, each trained on three seeds and scored: benchmarks/results/scoreboard.md.

`python -m benchmarks scoreboard` trains the missing runs, which takes hours; `python -m benchmarks.scoreboard` prints
their commands, and scores the existing runs. Runs are in the folder $TINYGEN_RUNS, or runs/scoreboard. scoreboard.json
has every metric of every run, with the machine and the versions that trained it and the commit that scored it: it
collects the runs of several days and machines, and those of recipes that have changed since are left out.
"""

import dataclasses
import json
import os
import re
import shlex
import statistics
import subprocess
import sys
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from benchmarks import harness
from tinygen import models
from tinygen.data import Spec
from tinygen.metrics.calibration import calibrate, misranked
from tinygen.metrics.catalogue import describe
from tinygen.score import Score, Scorer
from tinygen.serialization import write_atomically
from tinygen.train import Run
from tinygen.train.description import spec_of

SEEDS = (0, 1, 2)
REAL = "test images"
RECIPES = tuple(f"{name} {recipe}" for name in models.names() for recipe in models.get(name).recipes)
"""The arguments of `tinygen train`, without seed and folder, from the recipes of each system."""


def folder(recipe: str, seed: int) -> Path:
    """The folder of a run, named after its recipe and its seed."""
    return Path(os.environ.get("TINYGEN_RUNS", "runs/scoreboard")) / f"{re.sub(r'[^A-Za-z0-9.]+', '-', recipe)}-{seed}"


def missing() -> Iterable[list[str]]:
    """The command lines that train or resume all unfinished runs, seed by seed."""
    scored = {(row["recipe"], row["seed"]) for row in saved_part("Runs")}
    for seed in SEEDS:
        for recipe in RECIPES:
            out = folder(recipe, seed)
            if (out / "summary.json").exists() or (recipe, seed) in scored:
                continue
            if (out / "config.json").exists():
                yield ["tinygen", "resume", str(out)]
            else:
                yield ["tinygen", "train", *recipe.split(), "--seed", str(seed), "--out", str(out)]


def run(train: bool = True) -> harness.Result:
    for command in missing():
        print("$", shlex.join(command), flush=True)
        if train:  # a run that diverges is scored with its last checkpoint
            subprocess.run([sys.executable, "-m", *command], check=False)
    scorer = Scorer()
    runs = merged(saved_part("Runs"), [row for recipe in RECIPES for row in run_rows(recipe, scorer)])
    calibrations = merged(saved_part("Calibration"), calibration_rows(scorer), key="calibration")
    earlier = earlier_prints(runs)
    parts = [*earlier, harness.Result("Runs", runs), harness.Result("Calibration", calibrations)]
    scores: dict[str, list[Score]] = {}
    for row in runs:
        scores.setdefault(row["recipe"], []).append(score_of(row))
    binary = {row["recipe"] for row in runs if row.get("x") == "binary"}
    rows = sample_rows(scores, calibrations) + evaluation_rows(scores, binary)
    result = harness.Result("Scoreboard", rows, notes_of(runs), parts)
    harness.save("scoreboard", result)
    shown = dataclasses.replace(result, rows=result.rows + calibrations)
    markdown = [harness.as_markdown(shown), *(f"## {harness.as_markdown(part)}" for part in earlier)]
    write_atomically(harness.RESULTS / "scoreboard.md", "\n\n".join(markdown) + "\n")
    return shown


def notes_of(runs: list[dict[str, Any]]) -> list[str]:
    """What a reader must know of the table."""
    machines = sorted({row["machine"] for row in runs})
    return [
        f"the mean over seeds {', '.join(map(str, SEEDS))}, as far as there are that many, and the range",
        "training: seconds of one run, its evaluation and pictures on the way included",
        f"trained on {'; '.join(machines)}; scoreboard.json says which run where",
    ]


def saved_part(title: str) -> list[dict[str, Any]]:
    """The rows of a part of scoreboard.json; none if there is no such file or part."""
    return next((part.rows for part in saved_parts() if part.title == title), [])


def saved_parts() -> list[harness.Result]:
    """The parts of scoreboard.json: every run, the calibration, and tables of runs that were not kept one by one."""
    path = harness.RESULTS / "scoreboard.json"
    parts = json.loads(path.read_text(encoding="utf-8")).get("parts", []) if path.exists() else []
    return [harness.Result(part["title"], part["rows"], part.get("notes", [])) for part in parts]


def earlier_prints(runs: list[dict[str, Any]]) -> list[harness.Result]:
    """Tables that earlier versions saved without the runs behind them, less what the `runs` measure again."""
    measured = {(row["model"], row["data"]) for row in runs}
    kept = []
    for part in saved_parts():
        rows = [row for row in part.rows if (row.get("model"), row.get("data")) not in measured]
        if part.title not in ("Runs", "Calibration") and any(is_of_a_model(row) for row in rows):
            kept.append(dataclasses.replace(part, rows=rows))
    return kept


def is_of_a_model(row: dict[str, Any]) -> bool:
    """Whether a row is about runs of a model, and not about test images or a calibration."""
    return row.get("model", REAL) != REAL


def merged(before: list[dict[str, Any]], new: list[dict[str, Any]], key: str | None = None) -> list[dict[str, Any]]:
    """Rows of before and new ones, which replace those of the same recipe and seed, or of the same `key`."""

    def identity(row: dict[str, Any]) -> Any:
        return row[key] if key else (row["recipe"], row["seed"])

    rows = {identity(row): row for row in before} | {identity(row): row for row in new}
    if key:
        return list(rows.values())
    return [rows[recipe, seed] for recipe in RECIPES for seed in SEEDS if (recipe, seed) in rows]


def run_rows(recipe: str, scorer: Scorer) -> list[dict[str, Any]]:
    """A row for each run of a recipe that has a checkpoint, with all its metrics and where it was trained."""
    rows, provenance = [], harness.provenance("cpu")
    scored = {name: provenance[name] for name in ("date", "commit")}
    for seed in SEEDS:
        if (out := folder(recipe, seed)).is_dir() and (trained := Run.open(out)).checkpoint_file.exists():
            machine = trained.config["machine"]
            x = spec_of(trained)["x"]
            about = {
                "x": getattr(x, "kind", type(x).__name__),
                "machine": f"{machine['cpu']}, {machine['threads']} threads" + (", GPU" if "gpu" in machine else ""),
                "versions": trained.config["versions"],
                "scored": scored,
            }
            rows.append({"recipe": recipe, **vars(scorer.score(trained)), **about})
    return rows


def score_of(row: dict[str, Any]) -> Score:
    """The score in a row about a run."""
    return Score(**{each.name: row[each.name] for each in dataclasses.fields(Score)})


def calibration_rows(scorer: Scorer) -> list[dict[str, Any]]:
    """The metrics of samples that are known to be good or bad, for each data set whose samples were scored.

    The name of a row says so where the metrics rank such samples wrongly.
    """
    rows = []
    for reference, data in scorer.references.values():
        metrics = calibrate(reference, data)
        faults = misranked(metrics)
        for name, each in metrics.items():
            cells = {str(describe(key)): value for key, value in each.items()}
            doubt = {"NOT TO BE BELIEVED": "; ".join(faults)} if faults else {}
            rows.append({"calibration": f"{name}, {in_words(data.spec)}", **cells, **doubt})
    return rows


def in_words(spec: Spec) -> str:
    """The name of a data set, and how its images were binarised if they were: both decide about the metrics."""
    binarisation = getattr(spec["x"], "binarisation", None)
    return f"{spec.name} ({binarisation} binarisation)" if binarisation else spec.name


def first_cells(recipe: str, scores: list[Score]) -> dict[str, Any]:
    """The first cells of a row about the runs of one recipe."""
    first = scores[0]
    return {"model": first.model, "data": first.data, "recipe": recipe, "seeds": len(scores)}


def sample_rows(
    scores_by_recipe: Mapping[str, list[Score]], calibrations: Iterable[Mapping[str, Any]] = ()
) -> list[dict[str, Any]]:
    """Rows about models that are scored by their samples, with equal keys.

    The rows of a reference follow each other, and begin with one about its real images. Runs that were compared with
    the same reference have the same Frechet distance of real images, by which the calibrations name their data.
    """
    names = {row["Frechet"]: row["calibration"] for row in calibrations}
    references: dict[float, dict[str, list[Score]]] = {}
    for recipe, scores in scores_by_recipe.items():
        for score in scores:
            if score.real:
                references.setdefault(score.real["frechet"], {}).setdefault(recipe, []).append(score)
    rows = []
    for floor, compared in references.items():
        real = {figure: value for scores in compared.values() for each in scores for figure, value in each.real.items()}
        empty = {str(describe(figure)): "" for figure in real}
        data = names.get(floor, f"real, {next(iter(compared.values()))[0].data}").removeprefix("real, ")
        about = {"model": REAL, "data": data, "recipe": "", "seeds": ""}
        rows.append(about | empty | cells([real]) | {"training, s": ""})
        for recipe, scores in compared.items():
            spent = spread([score.seconds for score in scores])
            metrics = cells([score.metrics for score in scores])
            rows.append(first_cells(recipe, scores) | empty | metrics | {"training, s": spent})
    return rows


def evaluation_rows(scores_by_recipe: Mapping[str, list[Score]], binary: Collection[str] = ()) -> list[dict[str, Any]]:
    """Rows about the models' own evaluations on test; those of the recipes in `binary` are of binary data."""
    rows = []
    for recipe, scores in scores_by_recipe.items():
        tests = [quality(score.test) for score in scores if score.test]
        if tests and tests[0]:
            numbers = "; ".join(f"{name} {value}" for name, value in cells(tests).items())
            if recipe in binary:  # not to be compared with those of 256 levels
                numbers = numbers.replace("bits per dimension", "bits per binary dimension")
            spent = spread([score.seconds for score in scores])
            rows.append(first_cells(recipe, scores) | {"on test": numbers, "training, s": spent})
    return rows


def quality(metrics: Mapping[str, float]) -> dict[str, float]:
    """The metrics for which the catalogue says whether up or down is better."""
    return {name: value for name, value in metrics.items() if describe(name).better}


def cells(metrics: list[dict[str, float]]) -> dict[str, str]:
    """A cell for each metric: its label, and mean and range over the seeds."""
    return {str(describe(name)): spread([each[name] for each in metrics]) for name in metrics[0]}


def spread(values: list[float]) -> str:
    """Mean, and the range if there are several values."""
    mean = f"{statistics.fmean(values):.4g}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.4g} to {max(values):.4g})"


if __name__ == "__main__":
    harness.show(run(train=False))
