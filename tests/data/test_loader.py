"""The loader: epochs, determinism, and exact resume."""

import itertools
import json

import numpy as np
import pytest

from tinygen.data import Dataset, Image, Labels, Loader, Split
from tinygen.errors import UsageError


def numbered_split(n):
    return Split(
        {"x": Image(1, 1, 1, "grey"), "y": Labels(n)}, {"x": np.zeros((n, 1, 1, 1), np.uint8), "y": np.arange(n)}
    )


def labels(loader, batches):
    return [batch.y.tolist() for batch in itertools.islice(loader, batches)]


def test_an_epoch_has_no_example_twice_and_drops_the_incomplete_batch():
    loader = Loader(numbered_split(11), 3, seed=0)
    assert loader.steps_per_epoch == 3
    first, second = labels(loader, 3), labels(loader, 3)
    for epoch in (first, second):
        assert [len(batch) for batch in epoch] == [3, 3, 3]
        assert len(set(itertools.chain(*epoch))) == 9
    assert first != second


def test_the_order_depends_on_the_seed_alone():
    assert labels(Loader(numbered_split(50), 8, seed=1), 20) == labels(Loader(numbered_split(50), 8, seed=1), 20)
    assert labels(Loader(numbered_split(50), 8, seed=1), 20) != labels(Loader(numbered_split(50), 8, seed=2), 20)


@pytest.mark.parametrize("batches_before", [0, 1, 4, 5, 6, 13])
def test_a_restored_loader_gives_the_same_batches_to_the_bit(batches_before):
    images = np.full((50, 4, 3), 128, np.uint8)
    train = Dataset.from_arrays("half", images, np.arange(50)).binarised("dynamic").train
    loader = Loader(train, 8, seed=3)
    labels(loader, batches_before)
    other = Loader(train, 8, seed=99)
    other.restore(json.loads(json.dumps(loader.state())))
    for expected, batch in zip(itertools.islice(loader, 12), other, strict=False):
        np.testing.assert_array_equal(batch.x, expected.x)
        np.testing.assert_array_equal(batch.y, expected.y)


def test_dynamic_binarisation_is_sampled_again_for_every_batch():
    images = np.full((12, 8, 8), 128, np.uint8)
    loader = Loader(Dataset.from_arrays("half", images).binarised("dynamic").train, 1, seed=0)
    assert loader.steps_per_epoch == 10
    samples = {batch.x.tobytes() for batch in itertools.islice(loader, 40)}
    assert len(samples) == 40


@pytest.mark.parametrize("batch_size", [0, -1, 12])
def test_a_batch_must_fit_the_split(batch_size):
    with pytest.raises(UsageError, match=f"batch size {batch_size} does not fit 11 "):
        Loader(numbered_split(11), batch_size, seed=0)


@pytest.mark.parametrize(("n", "batch_size", "name"), [(12, 3, "examples 11"), (11, 4, "batch_size 3")])
def test_a_state_of_other_data_or_batch_size_is_refused(n, batch_size, name):
    state = Loader(numbered_split(11), 3, seed=0).state()
    with pytest.raises(UsageError, match=name):
        Loader(numbered_split(n), batch_size, seed=0).restore(state)
