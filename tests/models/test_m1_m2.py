"""M1+M2: the two stages of training, M1's dimensions that M2 uses, and the bound."""

import numpy as np
import pytest

import tinygen as tg
from tests.models.test_cvae import labelled_images
from tinygen import random
from tinygen.data import Batch, Split
from tinygen.models import M1M2
from tinygen.random import Stream

SMALL = {"latent": 2, "hidden": 6, "m1_latent": 5, "m1_steps": 2, "labelled": 3, "batch_size": 3}


def small_model(**config):
    random.seed(0)
    return M1M2(M1M2.Config(**SMALL | config), labelled_images()[0])


def test_m1_is_trained_first_and_then_m2_alone():
    model, (_, x, y) = small_model(), labelled_images()
    batch = Batch(x=x[:3], y=y[:3], unlabelled_x=x[3:])
    for _ in range(2):
        assert "neg_elbo_nats" in model.training_step(batch)
    first, second = ({n: p.numpy().copy() for n, p in m.named_parameters().items()} for m in (model.m1, model.m2))
    assert "class_cross_entropy_nats" in model.training_step(batch)
    assert all((p.numpy() == first[name]).all() for name, p in model.m1.named_parameters().items())
    assert any((p.numpy() != second[name]).any() for name, p in model.m2.named_parameters().items())


def test_m2_ignores_dimensions_of_m1_whose_means_do_not_vary():
    model = small_model()
    means = np.array([1.0, 0.05, 0.0, 2.0, 0.2], np.float32) * Stream(0, "means").normal((400, 5)) + 3
    model.m2.update_active(means, 1.0)
    active = np.array([1, 0, 0, 1, 1], bool)
    np.testing.assert_array_equal(model.m2.active, active)
    codes, outputs = Stream(0, "codes").normal((4, 1, 1, 5)), Stream(0, "outputs").normal((4, 1, 1, 10))
    learned = -0.5 * ((codes - outputs[..., :5]) ** 2 / np.exp(outputs[..., 5:]) + outputs[..., 5:])
    log_p = np.where(active, learned, -0.5 * codes**2) - 0.5 * np.log(2 * np.pi)
    actual = model.m2.pixels.log_prob(tg.tensor(outputs), codes).numpy()
    np.testing.assert_allclose(actual, log_p.reshape(4, -1).sum(axis=1), rtol=1e-5)
    others = codes.copy()
    others[..., ~active] += 1
    np.testing.assert_array_equal(model.m2.classify(codes), model.m2.classify(others))


def test_evaluation_reports_the_sum_of_the_terms_and_the_error_of_the_classifier():
    model, (spec, x, y) = small_model(), labelled_images()
    metrics = model.evaluate(Split(spec.fields, {"x": x.repeat(50, axis=0), "y": y.repeat(50)}), seed=0)
    assert metrics["neg_elbo_nats"] == pytest.approx(metrics["reconstruction_nats"] + metrics["kl_nats"], rel=1e-5)
    assert metrics["error_rate"] == pytest.approx((model.classify(x).argmax(axis=1) != y).mean())
