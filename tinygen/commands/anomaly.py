"""`tinygen anomaly RUN`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np

from tinygen.applications import anomaly, results
from tinygen.capabilities import Codes, Density
from tinygen.commands.flags import Debug, Device, File, Labels, RunFolder, Which, default
from tinygen.commands.opening import Opened, data_for, label_number, open_run_of_pictures
from tinygen.errors import UsageError
from tinygen.train import images
from tinygen.train.loading import data_of

SHOWN = 10


@dataclass(frozen=True)
class Flags:
    """Score normal and anomalous test examples: a high score means unlike the training data of the run."""

    run: RunFolder
    data: Annotated[File, default("the data of the run")] = None
    """Data whose test examples are the anomalies; with --normal, the test examples of its other classes."""
    normal: Annotated[Labels, default("all of the run's own test examples")] = None
    """Names or numbers of the normal classes; examples of the others are the anomalies."""
    seed: int = 0
    """Seed of the codes that a bound draws."""
    out: Annotated[File, default("anomaly.png in the run's folder")] = None
    """File of the picture; scores and numbers lie beside it in a .json file, the ROC curves in ...-roc.png."""
    which: Which = "last"
    device: Device = "auto"
    debug: Debug = False


def run(flags: Flags) -> None:
    if flags.data is None and flags.normal is None:
        raise UsageError("what is anomalous? Give other data with --data, or the normal classes with --normal")
    opened = open_run_of_pictures(flags.run, flags.device, flags.which, Codes, Density)
    groups = examples_of(opened, flags.data, flags.normal)
    detector = anomaly.Detector(opened.model, data_of(opened.run).train, seed=flags.seed)
    normal, anomalous = map(detector.scores, groups)
    scores = {name: [normal[name], anomalous[name]] for name in normal}
    areas = {name: anomaly.auroc(*pair) for name, pair in scores.items()}
    for name, area in areas.items():
        print(f"AUROC by {name}: {area:.4f}")
    out = Path(flags.out or opened.run.folder / "anomaly.png")
    numbers = {
        "auroc": areas,
        "scores": {name: dict(zip(("normal", "anomalous"), pair, strict=True)) for name, pair in scores.items()},
    }
    results.save(extremes(groups, next(iter(scores.values()))), as_lists(numbers), out)
    curves = {f"{name}, {areas[name]:.3f}": anomaly.roc(*pair) for name, pair in scores.items()}
    images.save(anomaly.roc_picture(curves), out.with_name(f"{out.stem}-roc{out.suffix}"))
    print(out.with_name(f"{out.stem}-roc{out.suffix}"))


def examples_of(opened: Opened, place: str | None, normal: tuple[str, ...] | None) -> tuple[np.ndarray, np.ndarray]:
    """Normal and anomalous test examples x; UsageError if one of them would be empty."""
    data = data_for(opened, place)
    x = data.test.values("x")
    if normal is None:
        return data_of(opened.run).test.values("x"), x
    if data.spec.classes is None:
        raise UsageError(f"--normal: {data.spec.name} has no labels; leave it out, and give anomalies with --data")
    chosen = np.isin(data.test.values("y"), [label_number(data.spec.y, word) for word in normal])
    if chosen.all() or not chosen.any():
        which = "all" if chosen.all() else "none"
        raise UsageError(f"--normal: {which} of the test examples of {data.spec.name} are of these classes; use others")
    return x[chosen], x[~chosen]


def extremes(groups: tuple[np.ndarray, np.ndarray], scores: list[np.ndarray]):
    """A sheet of four rows: the lowest and highest scores of normal examples, then those of anomalies."""
    rows = []
    shown = min(SHOWN, *map(len, groups))
    for x, each in zip(groups, scores, strict=True):
        order = each.argsort(kind="stable")
        rows += [x[order[:shown]], x[order[::-1][:shown]]]
    return images.sheet(np.concatenate(rows), shown)


def as_lists(value):
    """Arrays inside dictionaries as lists."""
    return (
        {key: as_lists(each) for key, each in value.items()} if isinstance(value, dict) else np.asarray(value).tolist()
    )
