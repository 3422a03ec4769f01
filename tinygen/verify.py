"""Check that every model learns: each is trained briefly from a fixed seed, and must beat untrained baselines.

A baseline is measured in the same run and on the same data as the model. The `trials` in a system's file say by how
much the model must beat it.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from tinygen import models, random
from tinygen.backend import to_device, to_numpy
from tinygen.capabilities import Codes, Samples
from tinygen.data import Dataset, Split, load
from tinygen.errors import NonFiniteError, TinygenError
from tinygen.metrics import independent, labels, parzen
from tinygen.metrics.captions import caption_metrics
from tinygen.metrics.catalogue import describe
from tinygen.metrics.modes import SAMPLES
from tinygen.metrics.points import density_metrics, log_normal_fit, points_metrics
from tinygen.metrics.probe import Probe
from tinygen.metrics.segmentation import foreground_iou
from tinygen.metrics.trivial import (
    GENERATORS,
    covariance_correlation,
    metrics_of_generators,
    pixels,
    sample_metrics,
)
from tinygen.models import System
from tinygen.models.trial import (
    COPIED_INPUT,
    FEW_LABELS,
    INDEPENDENT,
    INDEPENDENT_SAMPLES,
    INDEPENDENT_TOKENS,
    LAST_FRAME,
    MEAN_IMAGE,
    MEAN_MASK,
    MOST_FREQUENT_CLASS,
    NO_MODES,
    ONE_NORMAL,
    SHUFFLED_CAPTIONS,
    TRIVIAL,
    TRIVIAL_GENERATOR,
    UNTRAINED,
    Demand,
    Trial,
)
from tinygen.random import Stream
from tinygen.steps import training_steps
from tinygen.train.images import is_intensities
from tinygen.train.length import format_time

SEED = 0
IMAGES = 1000  # number of samples of images, as of trivial generators
Metrics = dict[str, float]


class NotLearnt(TinygenError):
    """A model that does not beat its baselines by as much as its trials demand."""

    exit_code = 1


@dataclass(frozen=True)
class Outcome:
    """A demand, and the values measured for the model and for the baseline."""

    demand: Demand
    model: float
    baseline: float

    @property
    def bound(self) -> float:
        return self.demand.times * self.baseline + self.demand.plus

    @property
    def holds(self) -> bool:
        """Whether the model passes the bound and the baseline does not: a bound that both pass would show nothing."""
        beyond = [x < self.bound if self.demand.side == "<" else x > self.bound for x in (self.model, self.baseline)]
        return beyond == [True, False]

    def __str__(self) -> str:
        demand, bound = self.demand, f"{self.demand.side} {self.bound:.4g}"
        model = f"{'holds' if self.holds else 'FAILS'}  {demand.metric:<34}{self.model:>10.4g}"
        return f"  {model}  {bound:<10}  {demand.baseline}: {self.baseline:.4g}"


def trials_of(names: Sequence[str]) -> list[tuple[type[System], Trial]]:
    """(system, trial) for the trials of the named systems, or of all; quick ones first. UsageError for a bad name."""
    systems = [models.get(name) for name in names or models.names()]
    return [
        (system, each) for quick in (True, False) for system in systems for each in system.trials if each.quick is quick
    ]


def title(system: type[System], trial: Trial) -> str:
    """The title of a trial: the model, its architecture or task if it has several, and the data."""
    variant = trial.config.get("architecture") or trial.config.get("task")
    return f"{system.name} ({variant}) on {trial.data}" if variant else f"{system.name} on {trial.data}"


# Metrics


def metrics_of(model: System, data: Dataset, images: Dataset | None = None) -> Metrics:
    """A model's evaluation on test, and metrics of its codes and of its samples, which are compared with `images`."""
    metrics = model.evaluate(data.test, seed=SEED)
    if isinstance(model, Samples) and is_intensities(data.spec.x):
        samples = model.sample(IMAGES, seed=SEED)
        metrics |= sample_metrics(samples, images or data)
        if "y" in model.conditions:
            metrics["asked_class_rate"] = asked_class_rate(samples, data.train)
    if isinstance(model, Codes):
        codes = [model.encode(batch.x) for batch in data.test.batches(1000)]
        metrics["code_moment_distance"] = moment_distance(np.concatenate(codes))
    return metrics


def asked_class_rate(samples: np.ndarray, split: Split) -> float:
    """Share of samples, of the classes 0, 1, 2, ... in turn, that are nearest to the mean image of their class."""
    x, y = pixels(split), split.values("y")
    means = np.stack([x[y == label].mean(axis=0) for label in range(y.max() + 1)])
    nearest = ((samples[:, None] - means) ** 2).sum(axis=(2, 3, 4)).argmin(axis=1)
    return labels.agreement(nearest, np.arange(len(samples)) % len(means))


def moment_distance(codes: np.ndarray) -> float:
    """The largest magnitude of a mean or a log standard deviation of codes (N, D): 0 for a standard normal."""
    spread = np.maximum(codes.std(axis=0), 1e-30)
    return float(np.maximum(np.abs(codes.mean(axis=0)), np.abs(np.log(spread))).max())


# Baselines: each returns the metrics that demands compare; a model is given before its training


def mean_image(model: System, data: Dataset) -> Metrics:
    """The errors of the mean image of train as the reconstruction of every image."""
    error = float(((pixels(data.test) - pixels(data.train).mean(axis=0)) ** 2).mean())
    return {"squared_error_per_pixel": error, "denoised_squared_error_per_pixel": error}


def copied_input(model: Any, data: Dataset) -> Metrics:
    """The error of the corrupted images themselves as reconstructions."""
    x = pixels(data.test)
    corrupted = to_numpy(model.corrupt(to_device(x, model.device), Stream(SEED, "eval")))
    return {"denoised_squared_error_per_pixel": float(((corrupted - x) ** 2).mean())}


def independent_pixels(model: System, data: Dataset) -> Metrics:
    """The likelihood of independent pixels, if values are discrete, and metrics of samples of them, each from train."""
    train, test = pixels(data.train), pixels(data.test)
    samples = GENERATORS["independent pixels"].samples(data, len(train))
    width = parzen.choose_width(test[:100], samples)
    return {
        **independent.likelihood(data),
        "pixel_covariance_correlation": covariance_correlation(samples, train),
        "parzen_log_likelihood_nats": float(parzen.log_likelihood(test[:1000], samples, [width]).mean()),
    }


def independent_tokens(model: System, data: Dataset) -> Metrics:
    """The likelihood of independent tokens, with their frequencies in train; the end of a sentence is a token, too."""
    return independent.likelihood_of_tokens(data)


def independent_samples(model: System, data: Dataset) -> Metrics:
    """The likelihood of sounds whose samples are independent, with the frequencies of levels in train."""
    return independent.likelihood_of_sounds(data)


def last_frame(model: Any, data: Dataset) -> Metrics:
    """The likelihood of frames by the last one before each: each pixel is kept with a probability fitted to train."""
    return independent.likelihood_of_frames(data, model.config.given)


def most_frequent_class(model: System, data: Dataset) -> Metrics:
    """The error rate of predicting the most frequent class of train for every example."""
    guess = np.bincount(data.train.values("y")).argmax()
    error = float((data.test.values("y") != guess).mean())
    return {"probe_error_rate": error, "error_rate": error}


def few_labels(model: System, data: Dataset) -> Metrics:
    """A linear classifier of pixels, fitted to the labelled examples that a semi-supervised model is given."""
    source: Any = model.source(data.train, seed=SEED)
    part, test = source.labelled_split, data.test
    probe = Probe(pixels(part).reshape(len(part), -1), part.values("y"), data.spec.classes or 0)
    return {"error_rate": probe.error_rate(pixels(test).reshape(len(test), -1), test.values("y"))}


def without_modes(model: System, data: Dataset) -> Metrics:
    """Points like the data, without modes: on a line a normal distribution with their mean and standard deviation; in
    the plane the same points, each turned around the origin by a random angle.
    """
    draws = Stream(SEED, "without modes")
    real = data.test.take(SAMPLES).batch(slice(None)).x
    if real.shape[1] == 1:
        samples = real.mean() + real.std() * draws.normal(real.shape)
    else:
        turned = (real @ [1, 1j]) * np.exp(2j * np.pi * draws.uniform(len(real)))
        samples = np.stack([turned.real, turned.imag], axis=1)
    return points_metrics(data.spec, real, samples)


def one_normal_distribution(model: System, data: Dataset) -> Metrics:
    """The normal distribution with the mean and the covariance of train, of points or of the logits of images."""
    if is_intensities(data.spec.x):
        return independent.likelihood_of_one_normal(data)
    train, test = data.train.values("x"), data.test.values("x")
    return density_metrics(data.spec, test, log_normal_fit(train, test))


def trivial_translation(model: System, data: Dataset) -> Metrics:
    """For each metric, the best value of the trivial translations that a system evaluates beside its own."""
    numbers = model.evaluate(data.test, seed=SEED)
    return best((describe(name).baseline_of, value) for name, value in numbers.items() if describe(name).baseline_of)


def trivial_generator(model: System, data: Dataset) -> Metrics:
    """For each metric of samples, the best value of the trivial generators that are bad in it."""
    figures = metrics_of_generators(data)
    return best((metric, figures[name][metric]) for name, each in GENERATORS.items() for metric in each.bad_in)


def best(values: Iterable[tuple[str, float]]) -> Metrics:
    """The best of the values of each metric."""
    found: Metrics = {}
    for metric, value in values:
        known = found.setdefault(metric, value)
        found[metric] = value if describe(metric).is_better(value, known) else known
    return found


def mean_mask(model: System, data: Dataset) -> Metrics:
    """The pixels that are in the masks of at least half of train, as the mask of every image."""
    true = data.test.values("mask") > 0
    mean = (data.train.values("mask") > 0).mean(axis=0)
    return {"foreground_iou": float(foreground_iou(np.broadcast_to(mean >= 0.5, true.shape), true).mean())}


def shuffled_captions(model: System, data: Dataset) -> Metrics:
    """Real pictures as samples for the captions of others."""
    split = data.test.take(IMAGES)
    captions = [data.spec.caption.draw(each) for each in split.values("caption")]
    return caption_metrics(data.spec, [*captions[1:], *captions[:1]], split.values("x"))


BASELINES: dict[str, Callable[[System, Dataset], Metrics]] = {
    MEAN_IMAGE: mean_image,
    INDEPENDENT: independent_pixels,
    INDEPENDENT_TOKENS: independent_tokens,
    INDEPENDENT_SAMPLES: independent_samples,
    LAST_FRAME: last_frame,
    COPIED_INPUT: copied_input,
    MOST_FREQUENT_CLASS: most_frequent_class,
    FEW_LABELS: few_labels,
    UNTRAINED: metrics_of,
    NO_MODES: without_modes,
    ONE_NORMAL: one_normal_distribution,
    TRIVIAL: trivial_translation,
    TRIVIAL_GENERATOR: trivial_generator,
    MEAN_MASK: mean_mask,
    SHUFFLED_CAPTIONS: shuffled_captions,
}


# Trials


def run_trial(system: type[System], trial: Trial, device: str = "cpu") -> list[Outcome]:
    """Train a model, and measure it and its baselines; NonFiniteError if training diverges."""
    data, config = load(trial.data), system.Config(**trial.config)
    images = data.binarised(trial.binarised) if trial.binarised else data
    data = models.check_data(system, images, config)  # perhaps dynamically binarised
    random.seed(SEED)
    model = system(config, data.spec, device)
    model.prepare(data, seed=SEED)
    names = {demand.baseline for demand in trial.demands}
    baselines = {name: BASELINES[name](model, images if name == TRIVIAL_GENERATOR else data) for name in names}
    batches = model.source(data.train, seed=SEED)
    for _ in islice(training_steps(model.training_step, batches, device), trial.steps):
        pass
    metrics = metrics_of(model, data, images)
    return [Outcome(each, metrics[each.metric], baselines[each.baseline][each.metric]) for each in trial.demands]


def verify(trials: Sequence[tuple[type[System], Trial]], device: str = "cpu") -> None:
    """Run all trials and print their outcomes; then raise NotLearnt if a demand did not hold."""
    failed = []
    for system, trial in trials:
        start = time.perf_counter()
        try:
            outcomes = run_trial(system, trial, device)
            lines, learnt = [str(outcome) for outcome in outcomes], all(outcome.holds for outcome in outcomes)
        except NonFiniteError as error:
            lines, learnt = [f"  FAILS  {error}"], False
        spent = format_time(time.perf_counter() - start)
        print(f"{title(system, trial)}, {trial.steps} steps, {spent}", *lines, sep="\n", flush=True)
        if not learnt:
            failed.append(title(system, trial))
    if failed:
        raise NotLearnt(f"{len(failed)} of {len(trials)} trainings fell short: {', '.join(failed)}")
    print(f"all {len(trials)} trainings learnt")
