"""The sparse auto-encoder: the terms of its loss, its metrics and its figures."""

import numpy as np
import pytest

from tests.models.cases import batch_for, make
from tests.models.equations.sparse import sparse_ae
from tests.models.test_equations import run_steps
from tinygen.data import Dataset, Image, Labels, Spec
from tinygen.errors import UsageError
from tinygen.models import SparseAutoencoder
from tinygen.models.autoencoders.sparse import sparsity
from tinygen.random import Stream

LABELLED = Spec("noise", {"x": Image(4, 5, 1, "grey"), "y": Labels(3)})


def test_the_class_loss_is_part_of_the_minimised_loss(monkeypatch):
    model = make("sparse-ae", {"latent": 6, "class_weight": 20.0}, LABELLED)
    run_steps(model, sparse_ae, monkeypatch)


def test_the_sparsity_term_is_the_bernoulli_divergence_from_the_wanted_activity():
    code = Stream(0, "codes").uniform((50, 3)).astype("float64")
    code += 0.2 - code.mean(axis=0)
    assert float(sparsity(code, 0.2)) == pytest.approx(0, abs=1e-12)
    assert float(sparsity(code, 0.05)) == pytest.approx(3 * (0.05 * np.log(1 / 4) + 0.95 * np.log(0.95 / 0.8)))
    assert np.isfinite(float(sparsity(np.zeros((4, 3), np.float32), 0.05)))


def test_terms_of_weight_zero_are_left_out():
    model = make("sparse-ae", {"latent": 6, "sparsity": 0.0}, LABELLED)
    assert set(model.training_step(batch_for(model))) == {"cross_entropy_nats", "mean_activity"}
    assert not hasattr(model, "classifier")


def test_training_brings_the_mean_activity_near_the_wanted_one():
    model = make("sparse-ae", {"latent": 12, "sparsity": 30.0, "learning_rate": 0.03}, LABELLED)
    batch = batch_for(model, 40)
    for _ in range(150):
        numbers = model.training_step(batch)
    assert float(numbers["mean_activity"]) == pytest.approx(0.05, rel=0.2)


def test_evaluation_reports_activity_and_error_and_figures_show_filters():
    x = (255 * Stream(0, "images").uniform((60, 4, 5))).astype(np.uint8)
    data = Dataset.from_arrays("noise", x, np.arange(60) % 3)
    model = make("sparse-ae", {"latent": 6, "class_weight": 1.0}, data.spec)
    numbers = model.evaluate(data.train, seed=0, thorough=False)
    batch = data.train.batch(slice(None))
    codes = model.encode(batch.x)
    assert numbers["mean_activity"] == pytest.approx(codes.mean(), rel=1e-5)
    logits = codes @ model.classifier.weight.data + model.classifier.bias.data
    assert numbers["error_rate"] == pytest.approx((logits.argmax(axis=1) != batch.y).mean())
    filters, activity = model.figures(data, seed=0)
    assert filters.images.shape == (6, 4, 5, 1)
    np.testing.assert_allclose(np.abs(filters.images - 0.5).max(axis=(1, 2, 3)), 0.5, rtol=1e-6)
    assert "<svg" in activity.svg


def test_impossible_configurations_are_refused():
    unlabelled = Spec("noise", {"x": Image(4, 5, 1, "grey")})
    with pytest.raises(UsageError, match=r"^class_weight is 1\.0, but 'noise' has no labels: use --class-weight 0$"):
        make("sparse-ae", {"class_weight": 1.0}, unlabelled)
    for activity in (0.0, 1.0):
        with pytest.raises(UsageError, match="a mean of sigmoid units lies between 0 and 1"):
            SparseAutoencoder.Config(activity=activity)
