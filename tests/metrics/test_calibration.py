"""Metrics must rank sets of known quality correctly, and metrics that do not are reported."""

import copy

import numpy as np
import pytest

from tinygen.data import Dataset
from tinygen.errors import DataError, NonFiniteError
from tinygen.metrics import catalogue
from tinygen.metrics.calibration import calibrate, graded_sets, misranked
from tinygen.metrics.frechet import frechet_distance
from tinygen.metrics.reference import Reference


@pytest.fixture(scope="module")
def metrics(reference, digits):
    return calibrate(reference, digits)


def test_all_sets_of_the_panel_are_ranked_correctly(metrics):
    assert misranked(metrics) == []


def test_real_images_score_as_the_reference_says_and_near_their_ideal_values(metrics, reference):
    real = metrics["real"]
    assert real == {name: reference.of_real[name] for name in real}
    assert [name for name in reference.of_real if catalogue.find(name) is None] == []
    assert real["frechet_over_floor"] == 1
    assert real["judges_agree"] > 0.9
    assert reference.of_real["label_agreement"] > 0.9
    assert (real["classes"], real["density"]) == (10, pytest.approx(1, abs=0.15))
    assert real["coverage"] == pytest.approx(1 - 2**-5, abs=0.03)
    assert real["memorisation"] == pytest.approx(1, abs=0.25)


def test_each_fault_of_a_set_shows_in_its_metric(metrics):
    assert metrics["copies of train"]["memorisation"] == 0
    assert metrics["one class dropped"]["classes"] == 9
    assert metrics["class means"]["coverage"] < min(
        metrics[name]["coverage"] for name in ("blur", "per-class Gaussian")
    )
    assert metrics["single mode"]["coverage"] < 0.05
    assert metrics["pure noise"]["judges_agree"] < metrics["real"]["judges_agree"] - 0.2


@pytest.mark.parametrize(
    ("name", "metric", "value", "message"),
    [
        ("blur", "frechet", 0.0, "the Frechet distance puts 'blur' before 'real'"),
        ("pure noise", "coverage", 1.0, "coverage puts 'pure noise' before 'blur'"),
        ("10 % noise", "frechet", np.nan, "the Frechet distance puts '10 % noise' before 'real'"),
        ("copies of train", "memorisation", 0.9, "the memorisation ratio does not tell copies of train from the rest"),
        ("one class dropped", "label_distance", 0.0, "the label histogram does not miss a class that was dropped"),
        ("single mode", "classes", 2.0, "a single mode counts as more than one class"),
    ],
)
def test_wrong_values_of_metrics_are_reported(metrics, name, metric, value, message):
    forged = copy.deepcopy(metrics)
    forged[name][metric] = value
    assert message in misranked(forged)


def test_a_score_compares_samples_with_the_held_out_half_and_with_train(reference, digits):
    """By the definitions, pair by pair, on features and on pixels; the numbers of all sets differ."""
    x = graded_sets(reference, digits)["10 % noise"][:60]
    score, judge = reference.score(x), reference.judges[0]

    def distances(a, b):
        return np.linalg.norm(a.reshape(len(a), 1, -1).astype(float) - b.reshape(len(b), -1), axis=2)

    samples, real = judge.features(x), judge.features(reference.held_out.x)
    radii = np.sort(distances(real, real), axis=1)[:, 5]
    inside = distances(samples, real) < radii
    assert score["density"] == pytest.approx(inside.sum() / (5 * len(x)), abs=1e-3)
    assert score["coverage"] == pytest.approx(inside.any(axis=0).mean(), abs=5e-3)
    of_train, of_held_out = (distances(x, part.x).min(axis=1).mean() for part in (reference.train, reference.held_out))
    assert score["memorisation"] == pytest.approx(of_train / of_held_out, rel=1e-5)
    shares = [np.bincount(judge.classes(each), minlength=10) / len(each) for each in (samples, real)]
    assert score["label_distance"] == pytest.approx(abs(shares[0] - shares[1]).sum() / 2)
    assert score["frechet"] == pytest.approx(frechet_distance(samples, real))


def test_every_set_has_the_same_number_of_images_in_the_unit_range(reference, digits):
    for x in graded_sets(reference, digits).values():
        assert x.shape == (reference.n, 16, 16, 1)
        assert 0 <= x.min() <= x.max() <= 1


def test_blur_is_the_mean_of_nine_pixels_and_gaussians_have_the_classes_moments(reference, digits):
    sets = graded_sets(reference, digits)
    assert sets["blur"][3, 2:5, 4, 0] == pytest.approx(
        [reference.real.x[3, i - 1 : i + 2, 3:6, 0].mean() for i in (2, 3, 4)], abs=1e-6
    )
    of_class = reference.train.x[reference.train.y == 0]
    samples = sets["per-class Gaussian"][reference.real.y == 0]
    assert samples.mean(axis=0) == pytest.approx(of_class.mean(axis=0), abs=0.2)


def test_samples_that_are_not_finite_are_refused(reference):
    with pytest.raises(NonFiniteError, match="samples hold NaN"):
        reference.score(np.full((reference.n, 16, 16, 1), np.nan, np.float32))


def test_too_few_test_images_are_refused(digits, judges):
    small = Dataset(digits.spec, digits.train, digits.valid, digits.test.take(11))
    with pytest.raises(DataError, match="digits has 11 test images: a comparison needs 12 or more"):
        Reference(small, judges)
