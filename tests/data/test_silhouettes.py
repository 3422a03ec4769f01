"""Textured silhouettes and stick figures: masks, patterns and poses that match the pictures."""

import numpy as np
import pytest

from tinygen.data import Image, SegmentMap, load, names, silhouettes, stick_figures
from tinygen.random import Stream


@pytest.mark.parametrize("module", [silhouettes, stick_figures])
def test_examples_are_the_same_for_a_stream_and_differ_from_one_another(module):
    first, again = (module.columns(40, Stream(0, "test shapes")) for _ in range(2))
    for name, column in first.items():
        np.testing.assert_array_equal(column, again[name])
        assert len(np.unique(column, axis=0)) == 40


def test_the_sets_have_their_fields(monkeypatch):
    few = {"train": 5, "valid": 3, "test": 2}
    for module, field in ((silhouettes, "mask"), (stick_figures, "pose")):
        monkeypatch.setattr(module, "SIZES", few)
        assert dict(names())[module.NAME] == f"generated: x image, {field} map"
        data = load(module.NAME)
        assert {part: len(getattr(data, part)) for part in few} == few
        assert data.spec.x == Image(32, 32, 3, "rgb")
        assert data.spec[field].names[0] == "ground"
    assert data.spec["pose"] == SegmentMap(32, 32, names=("ground", *stick_figures.LIMBS))


def test_a_mask_has_what_is_not_black_and_no_shape_is_cut_off():
    made = silhouettes.columns(50, Stream(0, "test shapes"))
    brightness, mask = made["x"].max(axis=3), made["mask"] == 1
    full = round(255 * silhouettes.BRIGHTEST)
    assert (brightness[~mask] <= full // 2 + 1).all()
    assert (brightness[mask] >= full // 2).all()
    assert (brightness[mask] == full).mean() > 0.7
    assert not mask[:, [0, -1]].any()
    assert not mask[:, :, [0, -1]].any()


def test_textures_are_plain_stripes_or_checks_of_two_colours():
    colours = np.array([[[1, 0, 0], [0, 0, 1]]] * 4)
    plain, rows, columns, checks = silhouettes.textures(np.arange(4), colours)[..., 0]
    assert (plain == 1).all()
    stripes = np.repeat([1, 0] * 4, 4)
    np.testing.assert_array_equal(rows, np.tile(stripes[:, None], 32))
    np.testing.assert_array_equal(columns, rows.T)
    np.testing.assert_array_equal(checks, rows == columns)


def test_the_lines_of_a_pose_lie_in_the_limbs_of_the_picture():
    """Of limbs that no other one hides: the head, and the right arm where it is not behind the head."""
    made = stick_figures.columns(30, Stream(0, "test shapes"))
    limbs = stick_figures.key_points(30, Stream(0, "test shapes"))
    parts = {name: made["pose"] == part for part, name in enumerate(stick_figures.LIMBS, start=1)}
    from_head = stick_figures.distance(limbs["head"][-1:])
    for picture, arm, away in zip(made["x"], parts["right arm"], from_head, strict=True):
        for inside in (arm & (away > 3.5), away < 2.5):
            pixels = picture[inside]
            assert len(pixels) > 3
            assert abs(pixels.max() - 255 * silhouettes.BRIGHTEST) < 1
            assert (pixels == pixels[0]).all()
    assert all(part.any(axis=(1, 2)).mean() > 0.9 for part in parts.values())
    assert (from_head[parts["head"]] <= stick_figures.NECK + stick_figures.LINE).all()


def test_distances_from_a_line_are_those_from_its_nearest_point():
    corner, end = np.array([[4.5, 8.5]]), np.array([[4.5, 20.5]])
    (found,) = stick_figures.distance([corner, end])
    assert found[12, 7] == pytest.approx(3)
    assert found[4, 1] == pytest.approx(5)
    assert found[24, 7] == pytest.approx(5)
    assert stick_figures.distance([corner])[0, 20, 4] == pytest.approx(12)
