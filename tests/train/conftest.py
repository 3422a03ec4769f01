"""A data set and a model that train in milliseconds."""

import numpy as np
import pytest

from tinygen import random
from tinygen.data import Dataset, Points
from tinygen.models import VAE, check_data
from tinygen.random import Stream


@pytest.fixture(scope="session")
def data() -> Dataset:
    """63 training, 7 validation and 10 test images of 4x4 in two classes, dynamically binarised."""
    stream = Stream(0, "tests")
    labels = stream.integers(2, 80)
    images = (255 * stream.uniform((80, 4, 4)) * np.where(labels, 1.0, 0.3)[:, None, None]).astype(np.uint8)
    dataset = Dataset.from_arrays("tiny", images[:70], labels[:70], images[70:], labels[70:], ("dark", "bright"))
    return check_data(VAE, dataset)


@pytest.fixture(scope="session")
def points() -> Dataset:
    """72 training, 8 validation and 10 test points in the plane."""
    drawn = Stream(0, "points").normal((90, 2))
    return Dataset.from_fields("cloud", {"x": Points()}, train={"x": drawn[:80]}, test={"x": drawn[80:]})


@pytest.fixture
def make_model(data):
    """A function that builds the model from seed 0: 7 steps an epoch on `data`, and a constant learning rate."""

    def make(**config) -> VAE:
        random.seed(0)
        small = {"hidden": 5, "latent": 2, "batch_size": 9, "importance_samples": 2}
        small |= {"learning_rate": 1e-3, "warmup_steps": 0, "cosine_steps": 0}
        return VAE(VAE.Config(**(small | config)), data.spec)

    return make
