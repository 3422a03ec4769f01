"""The judge: its accuracy, its cache, and that training one moves no random stream of the process."""

import numpy as np
import pytest

from tinygen import random
from tinygen.data import Dataset, Image, Labels, Points, Spec, load
from tinygen.errors import DataError
from tinygen.metrics.judge import Judge, JudgeConfig


def test_judges_classify_the_digits(digits, judges):
    test = digits.test.batch(slice(None))
    for judge in judges:
        features = judge.features(test.x)
        assert features.shape == (800, 128)
        assert (judge.classes(features) == test.y).mean() > 0.93


def test_two_seeds_give_two_judges(judges):
    assert judges[0].digest != judges[1].digest


def test_a_judge_is_cached_and_trained_again_if_its_file_is_damaged(digits, cache, judges, capsys):
    training = JudgeConfig(seed=5, steps=3)
    first = Judge.of(digits, training).digest
    assert "training a judge of digits (seed 5)" in capsys.readouterr().err
    assert Judge.of(digits, training).digest == first
    assert capsys.readouterr().err == ""
    newest = max((cache / "tinygen/judges").iterdir(), key=lambda file: file.stat().st_mtime_ns)
    newest.write_bytes(b"nothing of use")
    assert Judge.of(digits, training).digest == first
    assert "training" in capsys.readouterr().err


def test_another_training_or_data_set_has_another_judge(digits, cache):
    shorter = Dataset(digits.spec, digits.train.take(500), digits.valid, digits.test)
    cases = (digits, 1), (digits, 2), (shorter, 1)
    assert len({Judge.of(data, JudgeConfig(steps=steps)).digest for data, steps in cases}) == 3


def test_training_a_judge_moves_no_random_stream(digits, cache):
    before = random.get_state()
    Judge.of(digits, JudgeConfig(seed=9, steps=1))
    assert random.get_state() == before


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"x": Image(8, 8, 1, "grey")}, "a judge needs labels as y, and 'digits' has only x: add y_train"),
        ({"x": Points(2), "y": Labels(10)}, "a judge needs binary, grey or rgb images as x, and 'digits' has 2-dim"),
        ({"x": Image(3, 8, 1, "grey"), "y": Labels(10)}, "digits has images of 8x3 pixels: a judge needs 4x4 or more"),
    ],
)
def test_data_that_a_judge_cannot_classify_are_refused(digits, fields, message):
    spec = Spec("digits", fields)
    with pytest.raises(DataError, match=message):
        Judge.of(Dataset(spec, digits.train, digits.valid, digits.test))


def test_dynamically_binarised_images_can_be_judged(cache):
    data = load("digits8x8").binarised("dynamic")
    judge = Judge.of(data, JudgeConfig(steps=30))
    assert np.isfinite(judge.features(data.test.batch(slice(None)).x)).all()
