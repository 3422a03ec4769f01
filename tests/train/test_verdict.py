"""The verdict on a training curve: tests with curves of a known trend, with and without noise, and of its display."""

import json
import math

import numpy as np
import pytest

from tests.train.runs import Killed, kill_at
from tinygen import train
from tinygen.random import Stream
from tinygen.train import Run
from tinygen.train.verdict import FEWEST, Verdict, conclusion, trend_of, verdict

TRIES = 40


def curve(shape: str, n: int) -> np.ndarray:
    """n values (n,), of which lower are better; the trend changes at 40 % of them, if it changes."""
    share = np.arange(1, n + 1) / n
    return {
        "falling": 100 - 20 * share,
        "slowing": 100 + 20 * np.exp(-2 * share),
        "flat": 100 + 20 * np.maximum(0, 0.4 - share),
        "rising": 100 + 20 * np.abs(share - 0.4),
        "rising slowly": 100 + 20 * np.maximum(0, 0.4 - share) + 4 * np.maximum(0, share - 0.4),
    }[shape]


def verdicts(shape: str, n: int, noise: float) -> list[tuple[str, float | None]]:
    """Trend, and the share of the values after which it began, for TRIES curves that differ in their noise."""
    draws = noise * Stream(0, f"{shape} {n}").normal((TRIES, n))
    trends = [trend_of(curve(shape, n) + each) for each in draws]
    return [(trend, None if since is None else (since + 1) / n) for trend, since in trends]


@pytest.mark.parametrize("n", [10, 20, 60, 200])
@pytest.mark.parametrize("noise", [0.0, 0.02, 0.1])
@pytest.mark.parametrize(
    ("shape", "truth"),
    [
        ("falling", "improving"),
        ("slowing", "improving"),
        ("flat", "flat"),
        ("rising", "worse"),
        ("rising slowly", "worse"),
    ],
)
def test_the_trend_of_a_curve_is_recognised(shape, truth, noise, n):
    verdicts_of_curve = verdicts(shape, n, noise)
    assert np.mean([trend == truth for trend, _ in verdicts_of_curve]) >= (1 if noise == 0 else 0.9)
    since = [when for trend, when in verdicts_of_curve if trend == truth]
    if truth == "improving":
        assert set(since) == {None}
    else:
        assert np.median(since) == pytest.approx(0.4, abs=0.1)


@pytest.mark.parametrize("n", [20, 60, 200])
def test_noise_around_a_constant_is_judged_flat(n):
    """Neither an exceptionally good value nor a bad last one makes a trend."""
    draws = Stream(0, f"noise {n}").normal((200, n))
    trends = [trend_of(100 + each)[0] for each in draws]
    assert trends.count("flat") >= 180


def test_a_gain_of_a_quarter_percent_of_all_gains_is_judged_flat():
    gained = np.concatenate([np.linspace(100, 80, 10), 80 - np.linspace(0.001, 0.05, 10)])
    trend, since = trend_of(gained)
    assert trend == "flat"
    assert since in (9, 10)
    assert trend_of(np.concatenate([np.linspace(100, 80, 10), 80 - np.linspace(0.1, 2, 10)]))[0] == "improving"


def log_of_validations(values, metric="neg_elbo_nats"):
    return [{"step": 7 * i, "epoch": float(i), "split": "valid", metric: value} for i, value in enumerate(values, 1)]


FLAT = [9.0, 5.0, 4.0, 4.0, 4.0, 4.0, 4.0]


def test_a_log_is_judged_by_its_validation_entries():
    history = [{"step": 1, "epoch": 0.1, "split": "train", "neg_elbo_nats": 1e9}, *log_of_validations(FLAT)]
    judged = verdict(history, "neg_elbo_nats")
    assert judged == Verdict("neg_elbo_nats", "flat", 3.0)
    assert str(judged) == "flat since epoch 3"
    assert (
        str(verdict(log_of_validations([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), "neg_elbo_nats"))
        == "getting worse since epoch 1"
    )
    assert (
        str(verdict(log_of_validations([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], "modes_count"), "modes_count"))
        == "still improving"
    )


def test_values_that_are_not_finite_are_left_out_and_few_are_not_judged():
    assert verdict(log_of_validations([None, math.nan, *FLAT]), "neg_elbo_nats") == Verdict(
        "neg_elbo_nats", "flat", 5.0
    )
    assert verdict(log_of_validations(FLAT[: FEWEST - 1]), "neg_elbo_nats") is None
    assert verdict(log_of_validations(FLAT), None) is verdict(log_of_validations(FLAT), "nll_nats") is None
    assert conclusion(log_of_validations(FLAT), None) is conclusion([], "nll_nats") is None


def test_the_conclusion_names_the_trend_and_the_best_value():
    assert (
        conclusion(log_of_validations(FLAT), "neg_elbo_nats")
        == "-ELBO on valid: flat since epoch 3; best 4 nats at epoch 3"
    )
    assert (
        conclusion(log_of_validations([1.0, 3.0, 2.0], "modes_count"), "modes_count")
        == "modes on valid: best 3 at epoch 2"
    )


def test_the_verdict_is_printed_and_in_the_summary_and_the_report(tmp_path, data, make_model, capsys):
    summary = train.fit(make_model(), data, epochs=6, out=tmp_path / "run")
    history = Run.open(tmp_path / "run").history()
    judged = verdict(history, "neg_elbo_nats")
    assert summary["verdict"] == {**vars(judged), "text": str(judged)}
    assert json.loads((tmp_path / "run/summary.json").read_text())["verdict"] == summary["verdict"]
    message = conclusion(history, "neg_elbo_nats")
    assert message in capsys.readouterr().out.splitlines()
    assert f"−{message[1:]}." in (tmp_path / "run/report.html").read_text()


def test_a_resumed_run_is_judged_as_if_it_had_not_been_interrupted(tmp_path, data, make_model):
    uninterrupted = train.fit(make_model(), data, epochs=6, out=tmp_path / "whole", save_every=5, quiet=True)
    with pytest.raises(Killed):
        train.fit(kill_at(make_model(), 33), data, epochs=6, out=tmp_path / "killed", save_every=5, quiet=True)
    resumed = train.resume(make_model(), data, tmp_path / "killed", quiet=True)
    assert resumed["verdict"] == uninterrupted["verdict"] is not None
    assert train.fit(make_model(), data, epochs=6, quiet=True)["verdict"] == uninterrupted["verdict"]
