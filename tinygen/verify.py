"""The promise that it learns: every model, trained small from a fixed seed, beside what needs no training.

Each figure of a trained model is demanded to lie beyond a bound that a trivial rival misses. The rival's figure is
measured in the same run, on the same data: nothing but the distance between the two stands in the system's file, whose
`trials` these are.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from tinygen import models, random
from tinygen.backend import to_device, to_numpy
from tinygen.capabilities import Codes, Samples
from tinygen.data import Dataset, Loader, Split, load
from tinygen.errors import NonFiniteError, TinygenError
from tinygen.metrics import independent, labels, parzen
from tinygen.metrics.modes import SAMPLES
from tinygen.models import System
from tinygen.models.adversarial.base import about_points
from tinygen.models.trial import COPY, GUESS, INDEPENDENT, MEAN_IMAGE, NO_MODES, UNTRAINED, Demand, Trial
from tinygen.random import Stream
from tinygen.train.images import is_intensities
from tinygen.train.length import format_time

SEED = 0
IMAGES = 1000  # samples of images that are looked at
Figures = dict[str, float]


class NotLearnt(TinygenError):
    """A model that is no better than its rivals, or not by as much as is demanded."""

    exit_code = 1


@dataclass(frozen=True)
class Finding:
    """A demand, and what was measured of the model and of its rival."""

    demand: Demand
    model: float
    rival: float

    @property
    def bound(self) -> float:
        return self.demand.times * self.rival + self.demand.plus

    @property
    def holds(self) -> bool:
        """Whether the model is beyond the bound and its rival is not: a demand that a rival meets shows nothing."""
        beyond = [x < self.bound if self.demand.side == "<" else x > self.bound for x in (self.model, self.rival)]
        return beyond == [True, False]

    def __str__(self) -> str:
        demand, verdict = self.demand, "holds" if self.holds else "FAILS"
        bound = f"{demand.side} {self.bound:.4g}"
        return f"  {verdict}  {demand.figure:<34}{self.model:>10.4g}  {bound:<10}  {demand.rival}: {self.rival:.4g}"


def trials_of(names: Sequence[str]) -> list[tuple[type[System], Trial]]:
    """The systems of these names, or all, each with its trials: quick ones first; UsageError for an unknown name."""
    systems = [models.get(name) for name in names or models.names()]
    return [
        (system, each) for quick in (True, False) for system in systems for each in system.trials if each.quick is quick
    ]


def title(system: type[System], trial: Trial) -> str:
    """What is trained on what."""
    architecture = trial.config.get("architecture")
    return f"{system.name} ({architecture}) on {trial.data}" if architecture else f"{system.name} on {trial.data}"


# Figures


def pixels(split: Split) -> np.ndarray:
    """The images (N, H, W, C) of a split, in [0, 1]."""
    return np.concatenate([batch.x for batch in split.batches(1000)])


def figures_of(model: System, data: Dataset) -> Figures:
    """A model's evaluation on test, and numbers about its samples and codes."""
    figures = model.evaluate(data.test, seed=SEED)
    if isinstance(model, Samples) and is_intensities(data.spec.x):
        made = model.sample(IMAGES, seed=SEED)
        figures["pixel_covariance_correlation"] = covariance_correlation(made, pixels(data.train))
        if "y" in model.conditions:
            figures["asked_class_rate"] = asked_class_rate(made, data.train)
    if isinstance(model, Codes):
        figures["code_moment_distance"] = moment_distance(model.encode(pixels(data.test)))
    return figures


def covariance_correlation(made: np.ndarray, real: np.ndarray) -> float:
    """Correlation of the covariances of pixels, which are zero for independent pixels and for a constant."""
    matrices = [np.cov(x.reshape(len(x), -1).T.astype("float64")) for x in (made, real)]
    off_diagonal = ~np.eye(len(matrices[0]), dtype=bool)
    return float(np.corrcoef([matrix[off_diagonal] for matrix in matrices])[0, 1])


def asked_class_rate(made: np.ndarray, split: Split) -> float:
    """Share of images of the classes 0, 1, 2, ... in turn that lie nearest to the mean image of their class."""
    x, y = pixels(split), split.values("y")
    means = np.stack([x[y == label].mean(axis=0) for label in range(y.max() + 1)])
    nearest = ((made[:, None] - means) ** 2).sum(axis=(2, 3, 4)).argmin(axis=1)
    return labels.agreement(nearest, np.arange(len(made)) % len(means))


def moment_distance(codes: np.ndarray) -> float:
    """How far a mean or a log standard deviation of codes (N, D) is, at most, from that of a standard normal."""
    spread = np.maximum(codes.std(axis=0), 1e-30)
    return float(np.maximum(np.abs(codes.mean(axis=0)), np.abs(np.log(spread))).max())


# Rivals: each gives the figures in which it competes, for a model that is not trained yet


def mean_image(model: System, data: Dataset) -> Figures:
    """The mean image of train in place of every reconstruction."""
    error = float(((pixels(data.test) - pixels(data.train).mean(axis=0)) ** 2).mean())
    return {"squared_error_per_pixel": error, "denoised_squared_error_per_pixel": error}


def copied_input(model: Any, data: Dataset) -> Figures:
    """The corrupted images themselves in place of the denoised ones."""
    x = pixels(data.test)
    corrupted = to_numpy(model.corrupt(to_device(x, model.device), Stream(SEED, "eval")))
    return {"denoised_squared_error_per_pixel": float(((corrupted - x) ** 2).mean())}


def independent_pixels(model: System, data: Dataset) -> Figures:
    """Every pixel on its own: its likelihood where values are discrete, and samples of its values in train."""
    train, test = pixels(data.train), pixels(data.test)
    values = train.reshape(len(train), -1)
    order = [Stream(SEED, f"pixel {i}").permutation(len(train)) for i in range(values.shape[1])]
    made = np.take_along_axis(values, np.stack(order, axis=1), axis=0).reshape(train.shape)
    width = parzen.choose_width(test[:100], made)
    return {
        **independent.likelihood(data),
        "pixel_covariance_correlation": covariance_correlation(made, train),
        "parzen_log_likelihood_nats": float(parzen.log_likelihood(test[:1000], made, [width]).mean()),
    }


def most_frequent_class(model: System, data: Dataset) -> Figures:
    """The class that train has most of, whatever the code."""
    guess = np.bincount(data.train.values("y")).argmax()
    return {"probe_error_rate": float((data.test.values("y") != guess).mean())}


def without_modes(model: System, data: Dataset) -> Figures:
    """Points that know the data but for the modes: on a line normal with their mean and standard deviation, in the
    plane turned by any angle.
    """
    draws = Stream(SEED, "without modes")
    real = data.test.take(SAMPLES).batch(slice(None)).x
    if real.shape[1] == 1:
        made = real.mean() + real.std() * draws.normal(real.shape)
    else:
        turned = (real @ [1, 1j]) * np.exp(2j * np.pi * draws.uniform(len(real)))
        made = np.stack([turned.real, turned.imag], axis=1)
    return about_points(data.spec, real, made)


RIVALS: dict[str, Callable[[System, Dataset], Figures]] = {
    MEAN_IMAGE: mean_image,
    INDEPENDENT: independent_pixels,
    COPY: copied_input,
    GUESS: most_frequent_class,
    UNTRAINED: figures_of,
    NO_MODES: without_modes,
}


# Runs


def run(system: type[System], trial: Trial, device: str = "cpu") -> list[Finding]:
    """Train, and measure what is demanded; NonFiniteError where training diverges."""
    data, config = load(trial.data), system.Config(**trial.config)
    data = models.check_data(system, data.binarised(trial.binarised) if trial.binarised else data, config)
    random.seed(SEED)
    model = system(config, data.spec, device)
    rivals = {name: RIVALS[name](model, data) for name in {demand.rival for demand in trial.demands}}
    for batch in islice(Loader(data.train, model.config.batch_size, seed=SEED), trial.steps):
        model.training_step(batch.to(device))
    figures = figures_of(model, data)
    return [Finding(demand, figures[demand.figure], rivals[demand.rival][demand.figure]) for demand in trial.demands]


def verify(trials: Sequence[tuple[type[System], Trial]], device: str = "cpu") -> None:
    """Run trials and print what was found; NotLearnt, once all are run, where a demand does not hold."""
    failed = []
    for system, trial in trials:
        start = time.perf_counter()
        try:
            findings = run(system, trial, device)
            lines, learnt = [str(finding) for finding in findings], all(finding.holds for finding in findings)
        except NonFiniteError as error:
            lines, learnt = [f"  FAILS  {error}"], False
        spent = format_time(time.perf_counter() - start)
        print(f"{title(system, trial)}, {trial.steps} steps, {spent}", *lines, sep="\n", flush=True)
        if not learnt:
            failed.append(title(system, trial))
    if failed:
        raise NotLearnt(f"{len(failed)} of {len(trials)} trainings fell short: {', '.join(failed)}")
    print(f"all {len(trials)} trainings learnt")
