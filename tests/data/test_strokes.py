"""Digits of several stroke widths: thinning and dilation against plain loops, and the sets made by them."""

import numpy as np
import pytest

from tinygen.data import Image, Labels, load, names, strokes
from tinygen.random import Stream


def thinned(x):
    """Zhang & Suen 1984, pixel by pixel, for one image (H, W)."""
    x, removed = np.pad(x, 1), True
    while removed:
        removed = False
        for first in (True, False):
            found = []
            for i, j in np.argwhere(x):
                p = [x[i + a, j + b] for a, b in ((-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1))]
                rises = sum(not a and b for a, b in zip(p, p[1:] + p[:1], strict=True))
                p2, p4, p6, p8 = p[::2]
                corners = (p2 and p4 and p6, p4 and p6 and p8) if first else (p2 and p4 and p8, p2 and p6 and p8)
                if 2 <= sum(p) <= 6 and rises == 1 and not any(corners):
                    found.append((i, j))
            for place in found:
                x[place] = False
            removed = removed or bool(found)
    return x[1:-1, 1:-1]


def test_strokes_are_thinned_as_by_the_algorithm_pixel_by_pixel():
    x = Stream(0, "blobs").uniform((6, 12, 10)) < 0.7
    expected = np.stack([thinned(each) for each in x])
    assert expected.sum() < 0.7 * x.sum()
    np.testing.assert_array_equal(strokes.skeleton(x), expected)


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_a_point_becomes_a_square_of_the_width(width):
    lines = np.zeros((1, 9, 9), bool)
    lines[0, 4, 4] = True
    rows, columns = np.nonzero(strokes.thick(lines, width)[0])
    assert len(rows) == width**2
    assert np.ptp(rows) == np.ptp(columns) == width - 1
    assert abs(rows.mean() - 4) <= 0.5


def test_the_window_is_binomial():
    x = Stream(0, "x").uniform((2, 5, 6))
    window = np.outer([1, 2, 1], [1, 2, 1]) / 16
    padded = np.pad(x, [(0, 0), (1, 1), (1, 1)])
    expected = sum(window[i, j] * padded[:, i : i + 5, j : j + 6] for i in range(3) for j in range(3))
    np.testing.assert_allclose(strokes.blurred(x), expected, rtol=1e-5)


def test_the_set_has_each_digit_in_every_width_and_is_the_same_each_time():
    assert dict(names())["ageing-digits"] == "generated: x image, y labels, identity labels"
    data, again, digits = load("ageing-digits"), load("ageing-digits"), load("digits8x8")
    ages = Labels(names=("width 1", "width 2", "width 3"))
    assert data.spec.fields == {"x": Image(16, 16, 1, "grey"), "y": ages, "identity": Labels(10)}
    for part in ("train", "valid", "test"):
        batch, digit = getattr(data, part).batch(slice(None)), getattr(digits, part).values("y")
        np.testing.assert_array_equal(batch.x, getattr(again, part).values("x"))
        np.testing.assert_array_equal(batch.identity.reshape(-1, 3), digit[:, None].repeat(3, axis=1))
        np.testing.assert_array_equal(batch.y.reshape(-1, 3), np.tile([0, 1, 2], (len(digit), 1)))
    ink = data.test.values("x").sum(axis=(1, 2, 3)).reshape(-1, 3)
    assert (np.diff(ink, axis=1) > 0).all()


def test_digits_of_mnist_keep_their_size(monkeypatch):
    digits = load("digits8x8")
    data = strokes.make("ageing-mnist", digits)
    assert data.spec.x == Image(8, 8, 1, "grey")
    assert data.spec.y.classes == 4
    assert len(data.train) == 4 * len(digits.train)
