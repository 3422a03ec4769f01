"""`tinygen verify`: its trials, demands and baselines, and what it prints when a demand is not met."""

import math
from dataclasses import replace

import numpy as np
import pytest

from tinygen import models, verify
from tinygen.cli import main
from tinygen.data import Dataset, load
from tinygen.data.points import MIXTURES
from tinygen.metrics import trivial
from tinygen.metrics.catalogue import METRICS
from tinygen.models import Autoencoder, DenoisingAutoencoder
from tinygen.models.trial import CONTRASTED_SAMPLES, INDEPENDENT, SAMPLES_LIKE_DATA, TRIVIAL_GENERATOR, Demand, Trial
from tinygen.random import Stream
from tinygen.verify import BASELINES, Outcome

TINY = {"hidden": 16, "latent": 4, "learning_rate": 1e-2}
ERROR = (Demand("squared_error_per_pixel", "<", "mean image", times=1.0),)
LEARNS = Trial("digits8x8", 100, TINY, ERROR)


def test_every_model_has_a_quick_trial_and_quick_ones_come_first():
    trials = verify.trials_of([])
    assert {system.name for system, trial in trials if trial.quick} == set(models.names())
    assert [trial.quick for _, trial in trials] == sorted((trial.quick for _, trial in trials), reverse=True)
    assert [each for name in models.names() for each in models.get(name).trials if each.quick] == [
        trial for _, trial in trials if trial.quick
    ]


@pytest.mark.parametrize(
    ("demand", "model", "baseline", "holds"),
    [
        (Demand("error", "<", "r", times=0.5), 4.9, 10.0, True),
        (Demand("error", "<", "r", times=0.5), 5.1, 10.0, False),
        (Demand("error", "<", "r", times=0.5), math.nan, 10.0, False),
        (Demand("nats", ">", "r", times=1, plus=5), -4.9, -10.0, True),
        (Demand("nats", ">", "r", times=1, plus=5), -5.1, -10.0, False),
        (Demand("modes", ">", "r", plus=5), 6.0, 2.0, True),
        (Demand("modes", ">", "r", plus=5), 5.0, 2.0, False),
        (Demand("modes", ">", "r", plus=5), 8.0, 7.0, False),  # the baseline meets the bound too
        (Demand("modes", ">", "r", plus=5), 6.0, math.nan, False),
    ],
)
def test_a_demand_holds_if_the_model_is_beyond_the_bound_and_the_baseline_is_not(demand, model, baseline, holds):
    assert Outcome(demand, model, baseline).holds is holds


def test_the_measured_values_are_printed(monkeypatch, capsys):
    monkeypatch.setattr(Autoencoder, "trials", (LEARNS,))
    assert main(["verify", "ae"]) == 0
    title, finding, total = capsys.readouterr().out.splitlines()
    assert title.startswith("ae on digits8x8, 100 steps, ")
    verdict, figure, model, side, bound, *baseline, value = finding.split()
    assert (verdict, figure, side, baseline) == ("holds", "squared_error_per_pixel", "<", ["mean", "image:"])
    assert float(model) < float(bound) == float(value)
    assert total == "all 1 trainings learnt"


def test_failures_are_listed_at_the_end_and_the_exit_code_is_1(monkeypatch, capsys):
    too_short, diverging = replace(LEARNS, steps=1), replace(LEARNS, config=TINY | {"learning_rate": 1e30})
    monkeypatch.setattr(Autoencoder, "trials", (too_short, LEARNS))
    monkeypatch.setattr(DenoisingAutoencoder, "trials", (diverging,))
    assert main(["verify", "ae", "dae"]) == 1
    message = capsys.readouterr()
    assert [line.split()[0] for line in message.out.splitlines()] == ["ae", "FAILS", "ae", "holds", "dae", "FAILS"]
    assert message.err == "tinygen: 2 of 3 trainings fell short: ae on digits8x8, dae on digits8x8\n"


def test_an_unknown_model_is_refused(capsys):
    assert main(["verify", "ae", "vea"]) == 2
    assert capsys.readouterr().err == "tinygen: unknown model 'vea': did you mean 'vae'?\n"


def test_trials_run_on_every_device(device):
    (finding,) = verify.run_trial(Autoencoder, replace(LEARNS, steps=2), device)
    assert finding.baseline == pytest.approx(verify.run_trial(Autoencoder, replace(LEARNS, steps=2))[0].baseline)


@pytest.fixture(scope="module")
def images():
    """Images for which every pixel is 0 in half of train and 1 in the other, and black test images."""
    binary = (Stream(0, "tests").uniform((400, 4, 4)) < 0.5).astype(np.uint8)
    train = np.concatenate([binary, 1 - binary])
    test = train[::8] * np.uint8(0)
    y = np.arange(len(train)) % 5 // 2  # two in five are of class 0, two of class 1, one of class 2
    return Dataset.from_arrays("noise", 255 * train, y, test, y[: len(test)])


def test_baselines_of_images_match_their_formulas(images):
    mean = trivial.pixels(images.train).mean(axis=(0))
    assert BASELINES["mean image"](None, images)["squared_error_per_pixel"] == pytest.approx((mean**2).mean(), rel=1e-5)
    independent = BASELINES["independent pixels"](None, images)
    assert independent["nll_nats"] == independent["neg_elbo_nats"] == pytest.approx(-np.log(1 - mean).sum(), rel=1e-5)
    assert BASELINES["most frequent class"](None, images)["probe_error_rate"] == pytest.approx(0.6)
    model = DenoisingAutoencoder(DenoisingAutoencoder.Config(noise="gaussian", level=0.5, hidden=2), images.spec)
    copied = BASELINES["copied input"](model, images)["denoised_squared_error_per_pixel"]
    assert copied == pytest.approx(0.25, rel=0.1)  # the variance of the noise


def test_independent_pixels_are_not_like_correlated_ones():
    digits = load("digits8x8")
    assert abs(BASELINES["independent pixels"](None, digits)["pixel_covariance_correlation"]) < 0.05
    x = trivial.pixels(digits.train)
    assert trivial.covariance_correlation(x[::2], x[1::2]) > 0.95


@pytest.mark.parametrize("name", ["ring8", "grid25"])
def test_the_baseline_of_points_has_low_quality(name):
    figures = BASELINES["no modes"](None, load(name))
    assert figures["high_quality_rate"] < 0.15  # of the mixture's own points 0.99
    assert figures["modes_count"] > 5, "even without modes some are covered by chance"


def test_the_distance_of_normal_points_to_the_mixture_matches_its_integral():
    data = load("mixture1d")
    x = np.linspace(-12, 12, 20001)
    mixture = MIXTURES["mixture1d"]
    mean = mixture.centres.mean()
    variance = (mixture.std**2 + mixture.centres[:, 0] ** 2).mean() - mean**2
    normal = np.exp(-((x - mean) ** 2) / (2 * variance)) / math.sqrt(2 * math.pi * variance)
    between = np.cumsum(mixture.density(x[:, None]) - normal) * (x[1] - x[0])
    exact = np.abs(between).sum() * (x[1] - x[0])
    assert BASELINES["no modes"](None, data)["w1_distance"] == pytest.approx(exact, rel=0.1)


OF_SAMPLES = {metric for each in trivial.GENERATORS.values() for metric in each.bad_in}
OF_SAMPLES |= {"asked_class_rate", "parzen_log_likelihood_nats"}
TRIALS_OF_SAMPLES = [
    (system, trial)
    for system, trial in verify.trials_of([])
    if any(demand.metric in OF_SAMPLES for demand in trial.demands) and trial.data != "ageing-digits"
]


@pytest.mark.parametrize("generator", trivial.GENERATORS)
@pytest.mark.parametrize(
    ("system", "trial"), TRIALS_OF_SAMPLES, ids=[verify.title(*each) for each in TRIALS_OF_SAMPLES]
)
def test_no_trivial_generator_passes_the_trial_of_an_image_system(system, trial, generator):
    data = load(trial.data)
    data = data.binarised(trial.binarised) if trial.binarised else data
    metrics = trivial.metrics_of_generators(data)
    baselines = {
        TRIVIAL_GENERATOR: BASELINES[TRIVIAL_GENERATOR](None, data),
        INDEPENDENT: metrics["independent pixels"],
    }
    outcomes = [
        Outcome(demand, metrics[generator][demand.metric], baselines[demand.baseline][demand.metric])
        for demand in trial.demands
        if demand.metric in metrics[generator]
    ]
    assert not all(outcome.holds for outcome in outcomes)


def test_real_images_are_better_than_every_trivial_generator():
    digits = load("digits8x8")
    real = trivial.pixels(digits.test)
    without = Dataset(digits.spec, digits.train, digits.valid, digits.valid.take(1))  # held out: valid alone
    metrics, best = trivial.sample_metrics(real, without), BASELINES[TRIVIAL_GENERATOR](None, digits)
    for demand in (*SAMPLES_LIKE_DATA, *CONTRASTED_SAMPLES):
        assert Outcome(demand, metrics[demand.metric], best[demand.metric]).holds, demand.metric


def test_the_best_trivial_translation_is_found_for_each_metric_that_the_catalogue_declares():
    class Translator:
        def evaluate(self, data, *, seed):
            return {"psnr_db": 9.0, "copy_psnr_db": 3.0, "bicubic_psnr_db": 5.0, "copy_distance": 1.0} | {
                "constant_absolute_error_per_pixel": 0.2,
                "table_absolute_error_per_pixel": 0.1,
                "reverse_psnr_db": 8.0,
            }

    best = BASELINES["best trivial translation"](Translator(), load("digits8x8"))
    assert best == {"psnr_db": 5.0, "absolute_error_per_pixel": 0.1}
    assert {metric.baseline_of for metric in METRICS.values()} - {""} <= METRICS.keys()


def test_samples_are_classified_by_the_nearest_mean_image():
    digits = load("digits8x8")
    x, y = trivial.pixels(digits.train), digits.train.values("y")
    means = np.stack([x[y == label].mean(axis=0) for label in range(10)])
    assert verify.asked_class_rate(means[np.arange(40) % 10], digits.train) == 1
    assert verify.asked_class_rate(np.repeat(means[:1], 40, axis=0), digits.train) == pytest.approx(0.1)


def test_the_distance_of_moments_measures_means_and_deviations_of_codes():
    codes = Stream(0, "codes").normal((4000, 3))
    assert verify.moment_distance(codes) < 0.1
    assert verify.moment_distance(codes + np.array([0, 0.7, 0])) == pytest.approx(0.7, abs=0.1)
    assert verify.moment_distance(codes * np.array([1, 1, 0.2])) == pytest.approx(math.log(5), abs=0.1)
