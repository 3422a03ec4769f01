"""The recipes of all models, each trained on three seeds and scored: benchmarks/results/scoreboard.md.

`python -m benchmarks scoreboard` trains the missing runs, which takes hours; `python -m benchmarks.scoreboard` prints
their commands, and scores the existing runs. scoreboard.json has every metric of every run. Runs are in the folder
$TINYGEN_RUNS, or runs/scoreboard.
"""

import os
import re
import shlex
import statistics
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from benchmarks import harness
from tinygen import models
from tinygen.metrics.calibration import calibrate, misranked
from tinygen.metrics.catalogue import describe
from tinygen.score import Score, Scorer
from tinygen.serialization import write_atomically
from tinygen.train import Run

SEEDS = (0, 1, 2)
RECIPES = tuple(f"{name} {recipe}" for name in models.names() for recipe in models.get(name).recipes)
"""The arguments of `tinygen train`, without seed and folder, from the recipes of each system."""


def folder(recipe: str, seed: int) -> Path:
    """The folder of a run, named after its recipe and its seed."""
    return Path(os.environ.get("TINYGEN_RUNS", "runs/scoreboard")) / f"{re.sub(r'[^A-Za-z0-9.]+', '-', recipe)}-{seed}"


def missing() -> Iterable[list[str]]:
    """The command lines that train or resume all unfinished runs, seed by seed."""
    for seed in SEEDS:
        for recipe in RECIPES:
            out = folder(recipe, seed)
            if (out / "summary.json").exists():
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
    scores_by_recipe = {recipe: scores for recipe in RECIPES if (scores := scores_of(recipe, scorer))}
    rows = sample_rows([*scores_by_recipe.values()]) + evaluation_rows([*scores_by_recipe.values()])
    notes = [
        f"the mean over seeds {', '.join(map(str, SEEDS))}, as far as there are that many, and the range",
        "training: seconds of one run, its evaluation and pictures on the way included",
        *(f"`tinygen train {recipe}`" for recipe in scores_by_recipe),
    ]
    for reference, data in scorer.references.values():
        digests = " and ".join(judge.digest for judge in reference.judges)
        notes.append(f"{data.spec.name}: {reference.n} samples, as many test images, judges {digests}")
        metrics = calibrate(reference, data)
        rows += [
            {"calibration": f"{name}, {data.spec.name}"} | {str(describe(key)): value for key, value in each.items()}
            for name, each in metrics.items()
        ]
        notes += [f"NOT TO BE BELIEVED: {fault}" for fault in misranked(metrics)]
    result = harness.Result("Scoreboard", rows, notes, [harness.Result("Runs", each_run(scores_by_recipe))])
    harness.save("scoreboard", result)
    write_atomically(harness.RESULTS / "scoreboard.md", harness.as_markdown(result) + "\n")
    return result


def scores_of(recipe: str, scorer: Scorer) -> list[Score]:
    """The scores of a recipe's runs that have a checkpoint, seed by seed."""
    runs = [Run.open(out) for seed in SEEDS if (out := folder(recipe, seed)).is_dir()]
    return [scorer.score(each) for each in runs if each.checkpoint_file.exists()]


def each_run(scores_by_recipe: Mapping[str, list[Score]]) -> list[dict[str, Any]]:
    """A row for each run, with all its metrics."""
    return [{"recipe": recipe, **vars(score)} for recipe, scores in scores_by_recipe.items() for score in scores]


def first_cells(scores: list[Score]) -> dict[str, Any]:
    """The first cells of a row about the runs of one recipe."""
    first = scores[0]
    return {"model": first.model, "data": first.data, "seeds": len(scores)}


def sample_rows(scores: list[list[Score]]) -> list[dict[str, Any]]:
    """Rows about models that are scored by their samples, with equal keys.

    The rows of a data set follow each other, and begin with one about its test images.
    """
    rows = []
    for name in dict.fromkeys(seeds[0].data for seeds in scores if seeds[0].real):
        of_data = [seeds for seeds in scores if seeds[0].real and seeds[0].data == name]
        real = {figure: value for seeds in of_data for figure, value in seeds[0].real.items()}
        empty = {str(describe(figure)): "" for figure in real}
        rows.append({"model": "test images", "data": name, "seeds": ""} | cells([real]) | {"training, s": ""})
        for seeds in of_data:
            spent = spread([score.seconds for score in seeds])
            rows.append(first_cells(seeds) | empty | cells([score.metrics for score in seeds]) | {"training, s": spent})
    return rows


def evaluation_rows(scores: list[list[Score]]) -> list[dict[str, Any]]:
    """Rows about the models' own evaluations on test."""
    rows = []
    for seeds in scores:
        tests = [quality(score.test) for score in seeds if score.test]
        if tests and tests[0]:
            numbers = "; ".join(f"{name} {value}" for name, value in cells(tests).items())
            rows.append(first_cells(seeds) | {"on test": numbers, "training, s": spread([s.seconds for s in seeds])})
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
