"""The promise that it learns: every model, trained small from a fixed seed, beside what needs no training.

Each figure of a trained model is demanded to lie beyond a bound that a trivial rival misses. The rival's figure is
measured in the same run, on the same data: nothing but the distance between the two stands in the table.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

import numpy as np

from tinygen import models, random
from tinygen.backend import to_device, to_numpy
from tinygen.data import Dataset, Loader, Split, load
from tinygen.errors import NonFiniteError, TinygenError
from tinygen.metrics import labels, parzen
from tinygen.metrics.modes import SAMPLES
from tinygen.models import GenerativeModel
from tinygen.models.adversarial import about_points
from tinygen.random import Stream
from tinygen.train.length import format_time

SEED = 0
IMAGES = 1000  # samples of images that are looked at
Figures = dict[str, float]


class NotLearnt(TinygenError):
    """A model that is no better than its rivals, or not by as much as is demanded."""

    exit_code = 1


@dataclass(frozen=True)
class Demand:
    """A figure that must be below or above a bound: `times` that of a rival, plus a constant."""

    figure: str
    side: Literal["<", ">"]
    rival: str
    times: float = 0.0
    plus: float = 0.0


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


@dataclass(frozen=True)
class Trial:
    """A short training, and what it has to come to."""

    model: str
    data: str
    steps: int
    config: dict[str, Any]
    demands: tuple[Demand, ...]
    binarised: Literal["dynamic", "threshold"] | None = None
    """How images are made black and white for a model that would take grey ones."""
    quick: bool = True
    """Seconds, so that the tests run it as well."""

    def __str__(self) -> str:
        architecture = self.config.get("architecture")
        return f"{self.model} ({architecture}) on {self.data}" if architecture else f"{self.model} on {self.data}"


# What is trained, and what it must reach

MEAN_IMAGE = "mean image"
INDEPENDENT = "independent pixels"
COPY = "copied input"
GUESS = "most frequent class"
UNTRAINED = "untrained"
NO_MODES = "no modes"

LIKE_DATA = Demand("pixel_covariance_correlation", ">", INDEPENDENT, plus=0.7)
CODED = Demand("probe_error_rate", "<", GUESS, times=0.38)

SMALL = {"hidden": 64, "latent": 8, "batch_size": 64, "learning_rate": 3e-3}
PIXELS = {"hidden": 32, "blocks": 3, "head": 32, "batch_size": 16, "learning_rate": 1e-2, "cosine_steps": 900}
GATED = {"hidden": 16, "blocks": 3, "head": 16, "batch_size": 32, "learning_rate": 2e-2, "cosine_steps": 250}
PLANE = {"latent": 2, "hidden": 64, "batch_size": 128, "learning_rate": 1e-3, "averaging": 0.99}
LINE = {"latent": 2, "hidden": 32, "layers": 2, "batch_size": 128, "learning_rate": 1e-3, "averaging": 0.9}
GAMES = {"latent": 16, "channels": 16, "batch_size": 64, "learning_rate": 1e-3, "averaging": 0.95}
TRIALS = (
    Trial(
        "ae", "digits8x8", 250, SMALL, (Demand("squared_error_per_pixel", "<", MEAN_IMAGE, times=0.5), CODED, LIKE_DATA)
    ),
    Trial(
        "ae",
        "digits8x8",
        250,
        SMALL | {"architecture": "conv", "batch_size": 32},
        (Demand("squared_error_per_pixel", "<", MEAN_IMAGE, times=0.6), CODED, LIKE_DATA),
    ),
    Trial(
        "dae",
        "digits8x8",
        400,
        SMALL | {"noise": "salt-and-pepper", "level": 0.2},
        (
            Demand("denoised_squared_error_per_pixel", "<", MEAN_IMAGE, times=0.6),
            Demand("denoised_squared_error_per_pixel", "<", COPY, times=0.5),
            CODED,
            LIKE_DATA,
        ),
    ),
    Trial(
        "vae",
        "fashion-mnist-7k",
        150,
        SMALL | {"importance_samples": 8, "warmup_steps": 0},
        (Demand("neg_elbo_nats", "<", INDEPENDENT, times=0.82), LIKE_DATA),
    ),
    Trial(
        "vae",
        "fashion-mnist-7k",
        100,
        SMALL | {"architecture": "conv", "batch_size": 16, "importance_samples": 8, "warmup_steps": 0},
        (
            Demand("neg_elbo_nats", "<", INDEPENDENT, times=0.9),
            Demand("pixel_covariance_correlation", ">", INDEPENDENT, plus=0.5),
        ),
    ),
    Trial(
        "aae",
        "digits8x8",
        1500,
        SMALL | {"latent": 4, "dropout": 0.0, "discriminator_learning_rate": 1e-3},
        (
            Demand("squared_error_per_pixel", "<", MEAN_IMAGE, times=0.6),
            Demand("code_moment_distance", "<", UNTRAINED, plus=0.5),
            Demand("parzen_log_likelihood_nats", ">", INDEPENDENT, times=1, plus=5),
            LIKE_DATA,
        ),
    ),
    Trial(
        "pixelcnn",
        "digits8x8",
        1000,
        PIXELS,
        (Demand("nll_nats", "<", INDEPENDENT, times=0.8), LIKE_DATA),
        binarised="threshold",
    ),
    Trial(
        "gated-pixelcnn",
        "digits8x8",
        350,
        GATED,
        (Demand("nll_nats", "<", INDEPENDENT, times=0.8), LIKE_DATA),
        binarised="threshold",
    ),
    Trial(
        "gan",
        "ring8",
        2500,
        PLANE,
        (Demand("modes_count", ">", UNTRAINED, plus=7), Demand("high_quality_rate", ">", NO_MODES, times=2)),
    ),
    Trial("dcgan", "digits8x8", 400, GAMES, (Demand("pixel_covariance_correlation", ">", INDEPENDENT, plus=0.45),)),
    Trial(
        "cdcgan",
        "digits8x8",
        400,
        GAMES | {"channels": 8},
        (
            Demand("pixel_covariance_correlation", ">", INDEPENDENT, plus=0.55),
            Demand("asked_class_rate", ">", UNTRAINED, plus=0.8),
        ),
    ),
    Trial(
        "wgan",
        "mixture1d",
        1500,
        LINE | {"clip": 0.1, "long_critic_steps": 5},
        (Demand("w1_distance", "<", NO_MODES, times=1 / 1.6),),
    ),
    Trial(
        "wgan-gp",
        "mixture1d",
        1000,
        LINE | {"beta1": 0.5, "penalty": 1.0},
        (Demand("w1_distance", "<", NO_MODES, times=1 / 1.6),),
    ),
    Trial(
        "vae",
        "fashion-mnist-7k",
        600,
        SMALL
        | {"architecture": "conv", "hidden": 128, "latent": 16, "importance_samples": 8}
        | {"learning_rate": 2e-3, "warmup_steps": 0},
        (Demand("neg_elbo_nats", "<", INDEPENDENT, times=0.7), LIKE_DATA),
        quick=False,
    ),
    Trial(
        "gated-pixelcnn",
        "fashion-mnist-7k",
        200,
        GATED | {"head": 32, "batch_size": 16, "learning_rate": 1e-2, "cosine_steps": 200},
        (Demand("nll_nats", "<", INDEPENDENT, times=0.4),),
        binarised="threshold",
        quick=False,
    ),
    Trial(
        "dcgan",
        "fashion-mnist-7k",
        300,
        GAMES | {"latent": 32, "channels": 32, "learning_rate": 5e-4},
        (LIKE_DATA,),
        quick=False,
    ),
    Trial(
        "wgan-gp",
        "grid25",
        8000,
        PLANE | {"hidden": 128, "batch_size": 256, "critic_steps": 2, "penalty": 0.1},
        (Demand("modes_count", ">", UNTRAINED, plus=19), Demand("high_quality_rate", ">", NO_MODES, times=4)),
        quick=False,
    ),
)


def trials_of(names: Sequence[str]) -> list[Trial]:
    """The trials of these models, or of all; UsageError for a name that no model has."""
    for name in names:
        models.get(name)
    return [trial for trial in TRIALS if not names or trial.model in names]


# Figures


def pixels(split: Split) -> np.ndarray:
    """The images (N, H, W, C) of a split, in [0, 1]."""
    return np.concatenate([batch.x for batch in split.batches(1000)])


def figures_of(model: GenerativeModel, data: Dataset) -> Figures:
    """A model's evaluation on test, and numbers about its samples and codes."""
    figures = model.evaluate(data.test, seed=SEED)
    if data.spec.kind != "points":
        made = model.sample(IMAGES, seed=SEED)
        figures["pixel_covariance_correlation"] = covariance_correlation(made, pixels(data.train))
        if model.conditional:
            figures["asked_class_rate"] = asked_class_rate(made, data.train)
    if hasattr(model, "encode"):
        figures["code_moment_distance"] = moment_distance(model.encode(pixels(data.test)))
    return figures


def covariance_correlation(made: np.ndarray, real: np.ndarray) -> float:
    """Correlation of the covariances of pixels, which are zero for independent pixels and for a constant."""
    matrices = [np.cov(x.reshape(len(x), -1).T.astype("float64")) for x in (made, real)]
    off_diagonal = ~np.eye(len(matrices[0]), dtype=bool)
    return float(np.corrcoef([matrix[off_diagonal] for matrix in matrices])[0, 1])


def asked_class_rate(made: np.ndarray, split: Split) -> float:
    """Share of images of the classes 0, 1, 2, ... in turn that lie nearest to the mean image of their class."""
    x, y = pixels(split), split.arrays["y"]
    means = np.stack([x[y == label].mean(axis=0) for label in range(y.max() + 1)])
    nearest = ((made[:, None] - means) ** 2).sum(axis=(2, 3, 4)).argmin(axis=1)
    return labels.agreement(nearest, np.arange(len(made)) % len(means))


def moment_distance(codes: np.ndarray) -> float:
    """How far a mean or a log standard deviation of codes (N, D) is, at most, from that of a standard normal."""
    spread = np.maximum(codes.std(axis=0), 1e-30)
    return float(np.maximum(np.abs(codes.mean(axis=0)), np.abs(np.log(spread))).max())


# Rivals: each gives the figures in which it competes, for a model that is not trained yet


def mean_image(model: GenerativeModel, data: Dataset) -> Figures:
    """The mean image of train in place of every reconstruction."""
    error = float(((pixels(data.test) - pixels(data.train).mean(axis=0)) ** 2).mean())
    return {"squared_error_per_pixel": error, "denoised_squared_error_per_pixel": error}


def copied_input(model: Any, data: Dataset) -> Figures:
    """The corrupted images themselves in place of the denoised ones."""
    x = pixels(data.test)
    corrupted = to_numpy(model.corrupt(to_device(x, model.device), Stream(SEED, "eval")))
    return {"denoised_squared_error_per_pixel": float(((corrupted - x) ** 2).mean())}


def independent_pixels(model: GenerativeModel, data: Dataset) -> Figures:
    """Every pixel on its own: Bernoulli with its mean over train, and samples of its values in train."""
    train, test = pixels(data.train), pixels(data.test)
    p = train.mean(axis=0, dtype=np.float64).clip(1e-3, 1 - 1e-3)
    nats = -float((test * np.log(p) + (1 - test) * np.log(1 - p)).sum(axis=(1, 2, 3)).mean())
    values = train.reshape(len(train), -1)
    order = [Stream(SEED, f"pixel {i}").permutation(len(train)) for i in range(values.shape[1])]
    made = np.take_along_axis(values, np.stack(order, axis=1), axis=0).reshape(train.shape)
    width = parzen.choose_width(test[:100], made)
    return {
        "nll_nats": nats,
        "neg_elbo_nats": nats,
        "pixel_covariance_correlation": covariance_correlation(made, train),
        "parzen_log_likelihood_nats": float(parzen.log_likelihood(test[:1000], made, [width]).mean()),
    }


def most_frequent_class(model: GenerativeModel, data: Dataset) -> Figures:
    """The class that train has most of, whatever the code."""
    guess = np.bincount(data.train.arrays["y"]).argmax()
    return {"probe_error_rate": float((data.test.arrays["y"] != guess).mean())}


def without_modes(model: GenerativeModel, data: Dataset) -> Figures:
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


RIVALS: dict[str, Callable[[GenerativeModel, Dataset], Figures]] = {
    MEAN_IMAGE: mean_image,
    INDEPENDENT: independent_pixels,
    COPY: copied_input,
    GUESS: most_frequent_class,
    UNTRAINED: figures_of,
    NO_MODES: without_modes,
}


# Runs


def run(trial: Trial, device: str = "cpu") -> list[Finding]:
    """Train, and measure what is demanded; NonFiniteError where training diverges."""
    model_class, data = models.get(trial.model), load(trial.data)
    data = models.check_data(model_class, data.binarised(trial.binarised) if trial.binarised else data)
    random.seed(SEED)
    model = model_class(model_class.Config(**trial.config), data.spec, device)
    rivals = {name: RIVALS[name](model, data) for name in {demand.rival for demand in trial.demands}}
    for batch in islice(Loader(data.train, model.config.batch_size, seed=SEED), trial.steps):
        model.training_step(batch.to(device))
    figures = figures_of(model, data)
    return [Finding(demand, figures[demand.figure], rivals[demand.rival][demand.figure]) for demand in trial.demands]


def verify(trials: Sequence[Trial], device: str = "cpu") -> None:
    """Run trials and print what was found; NotLearnt, once all are run, where a demand does not hold."""
    failed = []
    for trial in trials:
        start = time.perf_counter()
        try:
            findings = run(trial, device)
            lines, learnt = [str(finding) for finding in findings], all(finding.holds for finding in findings)
        except NonFiniteError as error:
            lines, learnt = [f"  FAILS  {error}"], False
        print(f"{trial}, {trial.steps} steps, {format_time(time.perf_counter() - start)}", *lines, sep="\n", flush=True)
        if not learnt:
            failed.append(str(trial))
    if failed:
        raise NotLearnt(f"{len(failed)} of {len(trials)} trainings fell short: {', '.join(failed)}")
    print(f"all {len(trials)} trainings learnt")
