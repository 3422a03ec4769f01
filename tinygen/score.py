"""The score of a run: its model's evaluation on test, or the metrics of its samples.

A model that has a likelihood, a bound or reconstructions is scored by these. Samples of an `implicit` model, and those
that a model draws for given labels, are compared with test images (`tinygen.metrics.reference`); the same metrics of
real images show what can be reached.
"""

from dataclasses import dataclass, field
from typing import Any

from tinygen.capabilities import Classifies, Codes, Ranks, Samples
from tinygen.data import Dataset
from tinygen.metrics.catalogue import describe, format_number
from tinygen.metrics.reference import Reference
from tinygen.train import Run
from tinygen.train.images import is_intensities
from tinygen.train.length import format_time
from tinygen.train.loading import data_of, load_state, model_of

SCORED_EXAMPLES = 5000
"""Most examples of train and of test on which classification and ranking are scored."""

CLASS_KEPT = "class_kept_rate"
"""The metric of reconstructions that is scored beside those of samples."""


@dataclass(frozen=True)
class Score:
    """The metrics of one run, those of real test images where samples were scored, and what they depend on."""

    run: str
    model: str
    data: str
    seed: int
    step: int
    seconds: float
    """Seconds of training up to that step."""
    metrics: dict[str, float]
    """Metrics of samples (`Reference.score`), or the model's evaluation on test."""
    test: dict[str, float]
    """The model's evaluation on test; empty for an `implicit` model whose training did not end."""
    real: dict[str, float] = field(default_factory=dict)
    """The same metrics of real images, the half of test that is not the reference; empty if no samples are scored."""
    samples: int = 0
    judges: tuple[str, ...] = ()
    """Digests of the weights of the two judges; empty if no samples are scored."""
    which: str = "last"
    """The state of the model that was scored: last or best."""


class Scorer:
    """Scores runs, and keeps the reference of each data set.

    A run that was interrupted or diverged is scored by its last checkpoint.
    """

    def __init__(self) -> None:
        self.references: dict[str, tuple[Reference, Dataset]] = {}

    def score(self, run: Run, device: str = "auto", which: str = "last", place: str | None = None) -> Score:
        """Score the last or the best state of a run's model; `place` is the new place of data that have moved.

        DataError if samples must be scored and the data have no labels.
        """
        model, data = model_of(run, device), data_of(run, place)
        state, seed = load_state(run, model, which), run.config["fit"]["seed"]
        seconds = state.get("seconds") or run.seconds_at(state["step"])
        about = run.folder.as_posix(), model.name, data.spec.name, seed, state["step"], seconds
        test = (run.summary() or {}).get("test", {}) if which == "last" else {}
        judged = samples_are_judged(model, data)
        if not (model.implicit and judged):
            # A model's own error rate, on all of test, goes before that of the examples scored here.
            test = of_labels(model, data) | (test or model.evaluate(data.test, seed=seed))
        if not judged:
            return Score(*about, test, test, which=which)
        reference = self.reference(run.config["data"]["digest"], data)
        metrics = of_samples(model, reference, seed)
        # Real images are reconstructions without any loss.
        of_real = reference.of_real | {CLASS_KEPT: reference.of_real["label_agreement"]}
        real = {name: of_real[name] for name in metrics}
        digests = tuple(judge.digest for judge in reference.judges)
        return Score(*about, metrics, test, real, reference.n, digests, which)

    def reference(self, digest: str, data: Dataset) -> Reference:
        """The reference of a data set, made at the first use."""
        if digest not in self.references:
            self.references[digest] = Reference(data), data
        return self.references[digest][0]


def samples_are_judged(model: Any, data: Dataset) -> bool:
    """Whether samples of a model are scored: images of given labels, or of an `implicit` model without a metric."""
    scored = (model.implicit and model.selection_metric is None) or "y" in model.conditions
    return scored and isinstance(model, Samples) and is_intensities(data.spec.x)


def of_samples(model: Any, reference: Reference, seed: int) -> dict[str, float]:
    """The metrics of a model's samples; a conditional model is given the conditions of the real images.

    If it has codes, also the share of real images whose reconstruction a judge gives their class.
    """
    conditions = {name: reference.real[name] for name in model.conditions}
    samples = model.sample(reference.n, seed=seed, **({"given": conditions} if conditions else {}))
    metrics = reference.score(samples, conditions.get("y"))
    if isinstance(model, Codes):
        metrics[CLASS_KEPT] = reference.label_agreement(model.decode(model.encode(reference.real.x)))
    return metrics


def of_labels(model: Any, data: Dataset) -> dict[str, float]:
    """The error rate and the precision of rankings on test, for labelled data and a model that classifies or ranks."""
    if data.spec.classes is None:
        return {}
    metrics, test = {}, data.test.take(SCORED_EXAMPLES).batch(slice(None))
    if isinstance(model, Classifies):
        metrics["error_rate"] = float((model.classify(test.x).argmax(axis=1) != test.y).mean())
    if isinstance(model, Ranks):
        train = data.train.take(SCORED_EXAMPLES).batch(slice(None))
        best = model.rank(test.x, train.x)[:, :10]
        metrics["precision_at_10"] = float((train.y[best] == test.y[:, None]).mean())
    return metrics


def readable(score: Score) -> str:
    """A score as lines of text."""
    weights = f", best weights, of step {score.step}" if score.which == "best" else ""
    spent = format_time(score.seconds)
    lines = [f"{score.run}: {score.model} on {score.data}, seed {score.seed}, {spent} of training{weights}"]
    width = max(len(str(describe(name))) for name in score.test | score.metrics)
    lines += [f"{describe(name)!s:<{width}}{format_number(value):>12}" for name, value in score.test.items()]
    if score.real:
        judges = " and ".join(score.judges)
        lines += [f"{score.samples} samples, judges {judges}", f"{'':<{width}}{'model':>12}{'real':>12}"]
        for name, value in score.metrics.items():
            real = format_number(score.real[name])
            lines.append(f"{describe(name)!s:<{width}}{format_number(value):>12}{real:>12}")
    return "\n".join(lines)
