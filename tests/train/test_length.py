"""The length of training: epochs, steps or a budget of time."""

import pytest

from tinygen.errors import UsageError
from tinygen.train.length import Length, format_time, parse_time


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30), ("2m", 120), ("1h30m", 5400), ("1h", 3600), ("1h0m5s", 3605), (" 90S ", 90)]
)
def test_times_are_read(text, seconds):
    assert parse_time(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "90", "-5s", "1.5h", "0s", "30m1h", "2m2m", "2 m", "٣s", "1d"])
def test_text_that_is_no_time_is_refused(text):
    with pytest.raises(UsageError, match="write it like 30s, 2m or 1h30m"):
        parse_time(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0s"), (9.94, "9.9s"), (9.96, "10s"), (59.6, "1m00s"), (125, "2m05s"), (5400, "1h30m")],
)
def test_times_are_written(seconds, text):
    assert format_time(seconds) == text


def test_a_length_is_epochs_or_steps_or_a_budget():
    assert Length.of(None, None, None) is None
    assert Length.of(2, None, None) == Length(epochs=2)
    for arguments, why in (
        ((2, 3, None), "epochs and steps are given"),
        ((0, None, None), "epochs is 0"),
        ((None, -1, None), "steps is -1"),
        ((None, None, 0.0), "budget is 0"),
        ((None, None, float("nan")), "budget is nan"),
    ):
        with pytest.raises(UsageError, match=why):
            Length.of(*arguments)


def test_training_is_over_after_its_epochs_steps_or_budget():
    assert [Length(epochs=2).is_over(step, 1e9, per_epoch=5) for step in (9, 10)] == [False, True]
    assert [Length(steps=3).is_over(step, 1e9, per_epoch=5) for step in (2, 3)] == [False, True]
    assert [Length(budget=2.0).is_over(10**9, seconds, per_epoch=5) for seconds in (1.9, 2.0)] == [False, True]
