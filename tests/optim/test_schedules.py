"""Hyper-parameters that change from step to step."""

import pytest

import tinygen as tg
from tests.optim.trajectories import parameter
from tinygen import optim
from tinygen.errors import UsageError


@pytest.mark.parametrize(
    ("schedule", "values"),
    [
        (optim.constant(0.3), {0: 0.3, 99: 0.3}),
        (optim.linear(1.0, 0.0, 4), {0: 1, 1: 0.75, 4: 0, 9: 0}),
        (optim.linear(0.0, 2.0, 0), {0: 2, 5: 2}),
        (optim.cosine(1.0, 0.2, 6), {0: 1, 2: 0.8, 3: 0.6, 4: 0.4, 6: 0.2, 60: 0.2}),
        # At a quarter, with the logistic function s: (s(-3) - s(-6)) / (s(6) - s(-6)) = 0.0449533 / 0.9950548.
        (optim.logistic(0.0, 1.0, 4), {0: 0, 1: 0.0451767, 2: 0.5, 3: 1 - 0.0451767, 4: 1, 9: 1}),
        (optim.logistic(0.0, 2.0, 0), {0: 2, 5: 2}),
        (optim.exponential(8.0, 0.5), {0: 8, 3: 1, 5: 0.25}),
        (optim.piecewise((2, 1.0), (5, 0.1), (7, 0.01)), {0: 1, 2: 1, 4: 1, 5: 0.1, 6: 0.1, 7: 0.01, 99: 0.01}),
        (optim.warmup(4, 0.8), {0: 0.2, 1: 0.4, 3: 0.8, 4: 0.8, 50: 0.8}),
        (optim.warmup(2, optim.linear(1.0, 0.0, 4)), {0: 0.5, 1: 1, 2: 1, 3: 0.75, 6: 0}),
    ],
)
def test_schedules_have_their_values(schedule, values):
    assert {step: schedule(step) for step in values} == pytest.approx(values)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: optim.Adam(p), r"write \[parameter\]"),
        (lambda p: optim.Adam([]), "no parameters"),
        (lambda p: optim.Adam([p, p]), "given twice"),
        (lambda p: optim.Adam([p * 2]), "'0' is not a leaf"),
        (lambda p: optim.Adam([tg.tensor([1.0])]), "none of the parameters requires a gradient"),
        (lambda p: optim.Adam([p], -1.0), "lr is -1.0"),
        (lambda p: optim.Adam([p], "fast"), "lr is 'fast'"),
        (lambda p: optim.Adam([p], betas=(1.0, 0.9)), "beta1 is 1.0; .* below 1"),
        (lambda p: optim.SGD([p], 0.1, clip_norm=-1.0), "clip_norm is -1.0"),
    ],
)
def test_impossible_parameters_and_options_are_refused(make, message):
    with pytest.raises(UsageError, match=message):
        make(parameter([1.0, 2.0]))


def test_unknown_options_are_refused():
    with pytest.raises(TypeError, match="learning_rate"):
        optim.Adam([parameter([1.0])], learning_rate=0.1)
