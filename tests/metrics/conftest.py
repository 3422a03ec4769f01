"""Real digits, judges trained on them, and the reference that samples of digits are compared with."""

import numpy as np
import pooch
import pytest

from tinygen.data import Dataset, load
from tinygen.metrics.judge import Judge, JudgeConfig
from tinygen.metrics.reference import Reference


@pytest.fixture(scope="session")
def digits() -> Dataset:
    """Digits of twice their size: a blur over 3x3 of 8x8 pixels would leave nothing of them.

    The last 800 of the shuffled 1797 are the test images, the last tenth of the others is valid.
    """
    splits = [getattr(load("digits8x8"), name) for name in ("train", "valid", "test")]
    x, y = (np.concatenate([split.values(key) for split in splits]) for key in ("x", "y"))
    x = np.kron(x, np.ones((1, 2, 2, 1), x.dtype))
    order = np.random.default_rng(0).permutation(len(x))
    train, test = order[:-800], order[-800:]
    return Dataset.from_arrays("digits", x[train], y[train], x[test], y[test])


@pytest.fixture(scope="session")
def cache_folder(tmp_path_factory):
    """A folder that serves these tests as the user's cache."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def cache(cache_folder, monkeypatch):
    """Make `cache_folder` the user's cache during a test."""
    monkeypatch.setattr(pooch, "os_cache", lambda name: cache_folder / name)
    return cache_folder


@pytest.fixture(scope="session")
def judges(digits, cache_folder):
    """Two judges of the digits with different seeds, each trained for about a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pooch, "os_cache", lambda name: cache_folder / name)
        return tuple(Judge.of(digits, JudgeConfig(seed=seed, steps=120)) for seed in (0, 1))


@pytest.fixture(scope="session")
def reference(digits, judges):
    return Reference(digits, judges)
