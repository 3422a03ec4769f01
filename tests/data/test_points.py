"""The mixtures of points against their published definitions."""

import numpy as np
import pytest

from tinygen.data import Points, load, names
from tinygen.data.points import DENSITIES, MIXTURES
from tinygen.random import Stream


def test_mixtures_are_found_by_name_and_always_the_same():
    listed = dict(names())
    for name, dimensions in (("ring8", 2), ("grid25", 2), ("mixture1d", 1)):
        assert listed[name] == f"generated: x points ({dimensions}), y labels"
        first, second = load(name), load(name)
        assert first.spec == second.spec
        assert (first.spec.name, type(first.spec.x)) == (name, Points)
        for a, b in ((first.train, second.train), (first.valid, second.valid), (first.test, second.test)):
            assert a.values("x").tobytes() == b.values("x").tobytes()
        assert not np.array_equal(first.valid.values("x"), first.train.values("x")[: len(first.valid)])
        assert [len(part) for part in (first.train, first.valid, first.test)] == [90_000, 10_000, 20_000]


@pytest.mark.parametrize(
    ("name", "centres", "std"),
    [
        ("ring8", {(np.cos(i * np.pi / 4), np.sin(i * np.pi / 4)) for i in range(8)}, 0.01),
        ("grid25", {(-4 + 2 * i, -4 + 2 * j) for i in range(5) for j in range(5)}, 0.05),
    ],
)
def test_ring_and_grid_have_their_centres_deviations_and_shares(name, centres, std):
    data = load(name)
    assert data.spec.classes == len(centres)
    x, mode = data.train.values("x"), data.train.values("y")
    assert x.dtype == np.float32
    means = np.array([x[mode == i].mean(axis=0) for i in range(len(centres))])
    distances = np.linalg.norm(means[:, None] - np.array(sorted(centres)), axis=2)
    assert (distances.min(axis=0) < 5 * std / 50).all()
    assert (distances.min(axis=1) < 5 * std / 50).all()
    np.testing.assert_allclose((x - means[mode]).std(axis=0), std, rtol=0.01)
    np.testing.assert_allclose(np.bincount(mode) / len(x), 1 / len(centres), rtol=0.1)


def test_the_density_integrates_to_one_and_is_that_of_the_samples():
    mixture = MIXTURES["mixture1d"]
    x = np.linspace(-6, 6, 4001)
    density = mixture.density(x[:, None])
    assert np.trapezoid(density, x) == pytest.approx(1, abs=1e-6)
    samples, _ = mixture.draw(100_000, Stream(0, "draws"))
    share = np.trapezoid(density[x < -1], x[x < -1])
    assert (samples < -1).mean() == pytest.approx(share, abs=0.006)
    low, high = mixture.limits
    assert ((samples > low) & (samples < high)).mean() > 0.999


def test_the_swiss_roll_has_the_density_that_is_known():
    data, roll = load("swiss-roll"), DENSITIES["swiss-roll"]
    side = np.linspace(-2.5, 2.5, 126)
    grid = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    density = roll.density(grid)
    assert density.sum() * 0.04**2 == pytest.approx(1, abs=1e-3)
    x = data.train.take(20_000).values("x")
    inner = (np.abs(grid) < 1).all(axis=1)
    assert (np.abs(x) < 1).all(axis=1).mean() == pytest.approx(density[inner].sum() * 0.04**2, abs=0.015)
    assert x.var(axis=0).mean() == pytest.approx(1, abs=0.15)
    low, high = roll.limits
    assert ((low < x) & (x < high)).all(axis=1).mean() > 0.999
    assert data.spec.fields.keys() == {"x"}
    assert dict(names())["swiss-roll"] == "generated: x points (2)"
    assert load("swiss-roll").test.values("x").tobytes() == data.test.values("x").tobytes()


def test_the_banana_has_its_density_and_moments():
    assert dict(names())["banana"] == "generated: x points (2)"
    banana, data = DENSITIES["banana"], load("banana")
    assert list(data.spec.fields) == ["x"]
    across, up = np.meshgrid(np.linspace(-6, 6, 601), np.linspace(-5, 37, 2101))
    places = np.stack([across.ravel(), up.ravel()], axis=1)
    density = banana.density(places)
    assert density.sum() * 0.02**2 == pytest.approx(1, rel=1e-4)
    x = data.train.values("x")
    assert x.shape == (90_000, 2)
    np.testing.assert_allclose(x.mean(axis=0), [0, 0], atol=0.02)
    np.testing.assert_allclose(np.cov(x.T), [[1, 0], [0, 2.25]], atol=0.05)  # the variance of x1^2 is 2
    np.testing.assert_allclose((x[:, 1] - x[:, 0] ** 2 + 1).std(), 0.5, rtol=0.01)
    low, high = data.spec.x.limits
    assert ((x > low) & (x < high)).all(axis=1).mean() > 0.99
