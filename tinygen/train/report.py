"""One self-contained page about a run: its results, pictures of what the model can do, and how to repeat it."""

import datetime
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tinygen.capabilities import Samples
from tinygen.data import Dataset, Points, Spec
from tinygen.metrics import catalogue
from tinygen.registry import first_line
from tinygen.serialization import write_atomically
from tinygen.train import images, plots
from tinygen.train.changes import in_words
from tinygen.train.doctor import Doctor
from tinygen.train.figures import Figure
from tinygen.train.length import format_time
from tinygen.train.panels import Panel, panels_of, progress
from tinygen.train.run import Run, metrics_of
from tinygen.train.verdict import conclusion

FRAMES = 8
"""Pictures of samples during training, at most."""


@dataclass(frozen=True)
class Curve:
    """One metric over training, and its last value on each split."""

    metric: catalogue.Metric
    svg: str
    ends: dict[str, float]


def write_report(run: Run, model: Any, data: Dataset, which: str = "last", step: int | None = None) -> None:
    """Write the page about the run so far; the model holds the state `which`: the last, or the best, of `step`."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    templates = Environment(
        loader=PackageLoader("tinygen.train"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    history, summary = run.history(), run.summary()
    if which == "best":
        split, measured = "validation", run.valid_metrics(step or 0)
    elif summary:
        split, measured = "test", summary["test"]
    else:
        split, measured = "validation", ([{}] + [metrics_of(e) for e in history if e["split"] == "valid"])[-1]
    frames = list(_frames(run, history))
    panels, seed = panels_of(model, data.spec), run.config["fit"]["seed"]
    # Pictures of training are files, which hold no sound.
    anew = which == "best" or ("x" in data.spec and data.spec.x.is_sound)
    hero = progress(model, data, seed) if anew else frames[-1] if frames else None
    hero_legend, sections = _sections(panels, model, data, seed, hero is not None)
    page = templates.get_template("report.html").render(
        run=run,
        folder=shlex.quote(str(run.folder)),
        summary=summary,
        last=history[-1] if history else {"step": 0, "epoch": 0, "seconds": 0},
        date=f"{(now := datetime.datetime.now(tz=datetime.UTC)).day} {now:%B %Y, %H:%M}",
        task=data_in_words(data.spec),
        about=first_line(type(model)),
        parameters=sum(parameter.size for parameter in model.parameters()),
        layers=model.summary(),
        split=split,
        best_step=step if which == "best" else None,
        metrics=[(catalogue.describe(name), value) for name, value in measured.items()],
        findings=Doctor.from_history(history).findings,
        conclusion=conclusion(history, model.selection_metric),
        curves=list(_curves(history)),
        frames=frames,
        hero=hero,
        hero_panel=panels[0] if panels else None,
        hero_legend=hero_legend,
        samples=isinstance(model, Samples),
        sections=sections,
        figures=list(model.figures(data, seed=seed)) if hasattr(model, "figures") else [],
        changes=[in_words(change) for change in run.config.get("changes", [])],
        tables={
            "Configuration": run.config["config"],
            "Environment": {"device": run.config["device"], **run.config["machine"], **run.config["versions"]},
        },
        number=catalogue.format_number,
        typeset=typeset,
        duration=format_time,
    )
    write_atomically(run.report_of(which), page)


def typeset(label: str) -> str:
    """The label of a metric with a minus sign in place of the hyphen that it begins with."""
    return f"−{label[1:]}" if label.startswith("-") else label


def data_in_words(spec: Spec) -> str:
    """The data in words, with their binarisation: likelihoods under different ones cannot be compared."""
    return spec.x.in_words() if "x" in spec else ", ".join(field.in_words() for field in spec.fields.values())


def _curves(history: list[dict[str, Any]]) -> Iterator[Curve]:
    """Yield a curve for each metric that was logged more than once, first for those that both splits have."""
    series: dict[str, dict[str, list[tuple[float, float]]]] = {}
    by_epoch = any(entry["epoch"] >= 1 for entry in history)
    for entry in history:
        for name, value in metrics_of(entry).items():
            if value is not None:
                point = (entry["epoch"] if by_epoch else entry["step"], value)
                series.setdefault(name, {}).setdefault(entry["split"], []).append(point)
    for name, splits in sorted(series.items(), key=lambda item: -len(item[1])):
        if max(map(len, splits.values())) < 2:
            continue
        ends = {split: points[-1][1] for split, points in splits.items()}
        yield Curve(catalogue.describe(name), plots.curves(splits, "epoch" if by_epoch else "step"), ends)


def _frames(run: Run, history: list[dict[str, Any]]) -> Iterator[Figure]:
    """Yield saved pictures of samples, from the same noise, evenly spread over training."""
    files = run.samples()
    epochs = {entry["step"]: entry["epoch"] for entry in history}
    steps = sorted(files)
    for position in np.unique(np.linspace(0, len(steps) - 1, FRAMES).round().astype(int)) if steps else ():
        step = steps[position]
        caption = f"epoch {epochs[step]:.4g}" if epochs.get(step, 0) >= 1 else f"step {step}"
        yield Figure.read(caption, files[step])


def _legend_of_samples(model: Any) -> str:
    """How to read a picture of samples: what its axes or its columns show; empty if there is nothing to say."""
    x = model.spec.x
    if isinstance(x, Points) and x.limits:
        shown = f"from {x.limits[0]:.3g} to {x.limits[1]:.3g}"
        return f"A histogram {shown}." if x.dimensions == 1 else f"The first two coordinates, both {shown}."
    if not images.arrangement(model)[1]:
        return ""
    return f"A column for each class: {', '.join(map(model.spec.y.draw, range(model.spec.classes)))}."


def _sections(
    panels: list[Panel], model: Any, data: Dataset, seed: int, has_hero: bool
) -> tuple[str, list[tuple[Panel, list[Figure]]]]:
    """How to read the picture at the top, the first of the first panel; and each panel with its other figures."""
    legend, sections = "", []
    for panel in panels:
        of_samples = panel is panels[0] and panel.capability is Samples  # its only figure is the one at the top
        figures = [] if of_samples else list(panel.figures(model, data, seed))
        if panel is panels[0]:
            legend = _legend_of_samples(model) if of_samples else figures[0].caption
        if shown := figures[has_hero and panel is panels[0] :]:
            sections.append((panel, shown))
    return legend, sections
