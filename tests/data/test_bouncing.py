"""Clips of bouncing digits: the digits of their part alone, whole in every frame, at speeds up to the highest one."""

import numpy as np
import pytest

from tinygen.data import Clip, bouncing, load, names
from tinygen.random import Stream

RULES = bouncing.SETS["bouncing-digits"]


@pytest.fixture(scope="module")
def paths():
    return bouncing.paths(RULES, 3000, 8, Stream(0, "paths"))


@pytest.mark.parametrize(("name", "field"), [("bouncing-digits", (10, 24, 24)), ("bouncing-digit", (5, 12, 12))])
def test_the_sets_have_their_field_and_are_the_same_in_every_run(name, field):
    data = load(name)
    assert dict(names())[name] == "generated: x clip"
    assert data.spec.fields == {"x": Clip(*field, 1, "binary")}
    assert tuple(len(part) for part in (data.train, data.valid, data.test)) == bouncing.SETS[name].sizes
    assert set(np.unique(data.test.columns["x"])) == {0, 255}
    np.testing.assert_array_equal(load(name).test.columns["x"], data.test.columns["x"])


def test_each_frame_of_one_digit_is_a_whole_digit_of_the_same_part():
    clips, digits = load("bouncing-digit"), load("digits8x8")
    for part in ("train", "valid", "test"):
        x = getattr(clips, part).take(20).batch(slice(None)).x[..., 0]
        known = getattr(digits, part).values("x")[..., 0] >= 0.5
        for clip in x:
            windows = [np.lib.stride_tricks.sliding_window_view(frame, (8, 8)).reshape(-1, 64) for frame in clip]
            shown = [
                set(np.flatnonzero((known.reshape(-1, 64)[:, None] == w).all(axis=2).any(axis=1)))
                for w in (window[window.sum(axis=1) == clip[0].sum()] for window in windows)
            ]
            assert set.intersection(*shown), "one digit of this part is in all frames"


def test_digits_stay_inside_and_keep_their_velocity_between_walls(paths):
    free = RULES.side - 8
    assert paths.min() == 0
    assert paths.max() == free
    velocity = np.diff(paths, axis=0)
    assert np.abs(velocity).max() == RULES.speed
    assert (velocity != 0).any(axis=2).all()
    through = paths[1:-1] + velocity[:-1]
    bounces = ((through < 0) | (through > free)).any(axis=2)
    assert 0.02 < bounces.mean() < 0.5
    np.testing.assert_array_equal(velocity[1:][~bounces], velocity[:-1][~bounces])
    after = velocity[1:][bounces]
    assert len(np.unique(after, axis=0)) == (2 * RULES.speed + 1) ** 2 - 1


def test_two_digits_are_in_each_frame():
    """As many white pixels as both have, except where one covers the other."""
    white = load("bouncing-digits").test.batch(slice(None)).x.sum(axis=(2, 3, 4))
    most = white.max(axis=1, keepdims=True)
    assert (white == most).mean() > 0.5
    assert (white >= 0.4 * most).all()
