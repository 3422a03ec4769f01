"""The catalogue of metrics: labels, units and directions of the names that are used, and formatted numbers."""

import math

import numpy as np
import pytest

from tinygen import verify
from tinygen.metrics import catalogue
from tinygen.metrics.catalogue import METRICS, Metric, describe, find
from tinygen.train.doctor import variety, variety_given


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("neg_elbo_nats", "-ELBO 103.99 nats"),
        ("neg_is64_nats", "-log p, bound by 64 samples 103.99 nats"),
        ("bits_per_dim", "-log p 103.99 bits per dimension"),
        ("active_units", "active units 103.99"),
    ],
)
def test_a_metric_is_written_with_its_label_and_unit(name, written):
    assert find(name).format(103.987) == written


def test_the_number_in_a_name_must_be_a_whole_number_in_its_place():
    assert find("neg_is1000_nats").label == "-log p, bound by 1000 samples"
    for name in ("neg_is_nats", "neg_isx_nats", "neg_is5_nats_", "neg_is{n}_nats_", "my_neg_is5_nats"):
        assert find(name) is None


def test_an_unknown_metric_is_labelled_by_its_name():
    assert describe("surprise_of_nats") == Metric("surprise of nats")
    assert str(describe("surprise")) == "surprise"


def test_values_are_compared_in_the_direction_of_the_metric():
    assert find("neg_elbo_nats").is_better(1.0, than=2.0)
    assert not find("neg_elbo_nats").is_better(2.0, than=2.0)
    assert find("coverage").is_better(2.0, than=1.0)
    for name, value in (("kl_nats", -math.inf), ("kl_nats", math.inf), ("nll_nats", math.nan)):
        assert not find(name).is_better(value, than=1.0)


def test_demands_of_verify_agree_with_the_directions_of_the_catalogue():
    sides = {"up": ">", "down": "<"}
    for _, trial in verify.trials_of([]):
        for demand in trial.demands:
            assert sides.get(find(demand.metric).better, demand.side) == demand.side, demand


def test_metrics_of_the_doctor_are_in_the_catalogue():
    x, y = np.eye(3), np.eye(4)[:, :3]
    names = (variety(x, y) | variety_given(x, y, np.zeros(4, bool))).keys()
    assert len(names) == 2
    assert all(map(find, names))


def test_no_two_metrics_have_the_same_label_and_unit():
    """Otherwise a table with several metrics would be ambiguous."""
    assert len({str(metric) for metric in METRICS.values()}) == len(METRICS)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (276.6123, "276.61"),
        (6.22912, "6.229"),
        (20.0, "20"),
        (0.00012345, "0.0001234"),
        (None, "n/a"),
        (math.nan, "n/a"),
        (12345.678, "12,345.68"),
    ],
)
def test_numbers_are_short(value, text):
    assert catalogue.format_number(value) == text
