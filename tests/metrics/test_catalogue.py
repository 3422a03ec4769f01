"""The catalogue of metrics: every name that is used is in it, and is written as people write it."""

import math

import numpy as np
import pytest

from tinygen import verify
from tinygen.metrics import catalogue
from tinygen.metrics.catalogue import METRICS, Metric, describe, find
from tinygen.train.doctor import variety


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("neg_elbo_nats", "-ELBO 103.99 nats"),
        ("neg_is64_nats", "-log p, bound by 64 samples 103.99 nats"),
        ("bits_per_dim", "-log p 103.99 bits per dimension"),
        ("active_units", "active units 103.99"),
    ],
)
def test_a_metric_is_written_as_people_write_it(name, written):
    assert find(name).written(103.987) == written


def test_a_number_in_a_name_is_a_whole_number_and_all_of_it():
    assert find("neg_is1000_nats").label == "-log p, bound by 1000 samples"
    for name in ("neg_is_nats", "neg_isx_nats", "neg_is5_nats_", "neg_is{n}_nats_", "my_neg_is5_nats"):
        assert find(name) is None


def test_a_metric_of_a_users_own_model_is_called_by_its_name():
    assert describe("surprise_of_nats") == Metric("surprise of nats")
    assert str(describe("surprise")) == "surprise"


def test_better_is_up_or_down_or_neither():
    assert find("neg_elbo_nats").is_better(1.0, than=2.0)
    assert not find("neg_elbo_nats").is_better(2.0, than=2.0)
    assert find("coverage").is_better(2.0, than=1.0)
    for name, value in (("kl_nats", -math.inf), ("kl_nats", math.inf), ("nll_nats", math.nan)):
        assert not find(name).is_better(value, than=1.0)


def test_verify_demands_what_is_better():
    for _, trial in verify.trials_of([]):
        for demand in trial.demands:
            assert {"up": ">", "down": "<"}[find(demand.metric).better] == demand.side, demand


def test_what_the_doctor_measures_is_known():
    names = variety(np.eye(3), np.eye(4)[:, :3]).keys()
    assert names
    assert all(map(find, names))


def test_labels_differ():
    """With their units: a table that has two of them can be read."""
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
