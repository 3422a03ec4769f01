"""The layered conditional VAE: its composition, its bound against the integral over both codes, and its masks."""

import math

import numpy as np
import pytest

from tinygen import models, random
from tinygen.data import Attributes, Dataset, Image, SegmentMap, Spec, Split
from tinygen.errors import DataError, UsageError
from tinygen.metrics.segmentation import foreground_iou
from tinygen.models import AttributeVAE
from tinygen.random import Stream

FIELDS = {"x": Image(4, 4, 3, "rgb"), "attributes": Attributes(("red", "large"), binary=True)}
SPEC = Spec("noise", FIELDS)
GRID = np.linspace(-5, 5, 101)


def examples(n):
    stream = Stream(0, "test images")
    return stream.uniform((n, 4, 4, 3)), stream.integers(2, (n, 2)).astype(np.float32)


def small_model(spec=SPEC, **config):
    random.seed(0)
    sizes = {"architecture": "mlp", "foreground_latent": 1, "background_latent": 1, "hidden": 6}
    return AttributeVAE(AttributeVAE.Config(**sizes | config), spec)


def test_a_picture_is_the_foreground_where_the_gate_is_open_and_else_the_background():
    model, (_, y) = small_model(), examples(6)
    codes = Stream(0, "codes").normal((6, 2))
    layers = model.layers(codes[:, :1], codes[:, 1:], y).numpy()
    front, gate, back = model.pixels.split(layers)
    np.testing.assert_allclose(model.decode_given(codes, y), gate * front + (1 - gate) * back, rtol=1e-5)
    for logit, expected in ((50.0, front), (-50.0, back)):
        layers[..., 3] = logit
        np.testing.assert_allclose(model.pixels.mean(layers), expected, atol=1e-6)


def test_attributes_change_the_foreground_and_the_gate_but_not_the_background():
    model, (x, y) = small_model(), examples(6)
    codes = model.encode_given(x, y)
    layers = [model.pixels.split(model._decoded(codes, each)) for each in (y, 1 - y)]
    for name, before, after in zip(("foreground", "gate", "background"), *layers, strict=True):
        assert np.array_equal(before, after) == (name == "background"), name


def test_the_bound_approaches_the_integral_over_both_codes():
    model, (x, y) = small_model(importance_samples=300), examples(4)
    for p in (*model.foreground_decoder.parameters(), *model.background_decoder.parameters()):
        p.assign(1.5 * p.numpy())
    z = np.stack(np.meshgrid(GRID, GRID), axis=-1).reshape(-1, 2).astype(np.float32)
    weight = np.exp(-0.5 * (z.astype(np.float64) ** 2).sum(axis=1)) / (2 * math.pi) * (GRID[1] - GRID[0]) ** 2
    exact = []
    for image, attributes in zip(x, y, strict=True):
        hooks = model.hooks_for(Split(FIELDS, {"x": image[None], "attributes": attributes[None]}).batch(slice(None)))
        log_p = hooks.likelihood(z).log_prob(image[None].repeat(len(z), axis=0)).numpy().astype(np.float64)
        exact.append(-np.log((np.exp(log_p - log_p.max()) * weight).sum()) - log_p.max())
    columns = {"x": x.repeat(60, axis=0), "attributes": y.repeat(60, axis=0)}
    metrics = model.evaluate(Split(FIELDS, columns), seed=0)
    gap = metrics["neg_elbo_density_nats"] - np.mean(exact)
    assert gap > 0.05
    assert abs(metrics["neg_is300_density_nats"] - np.mean(exact)) < 0.1 * gap


def test_evaluation_estimates_the_bound_that_a_step_computes_with_formulas():
    model, (x, y) = small_model(), examples(5)
    columns = {"x": x.repeat(400, axis=0), "attributes": y.repeat(400, axis=0)}
    estimate = model.evaluate(Split(FIELDS, columns), seed=0, thorough=False)
    step = model.training_step(Split(FIELDS, columns).batch(slice(None)))
    assert estimate["kl_nats"] == pytest.approx(float(step["kl_nats"]), rel=0.1)
    assert estimate["neg_elbo_density_nats"] == pytest.approx(float(step["neg_elbo_density_nats"]), rel=0.03)


def test_the_gate_is_compared_with_the_mask_and_learns_it_if_asked():
    fields = {**FIELDS, "mask": SegmentMap(4, 4, 2)}
    x, y = examples(32)
    mask = np.zeros((32, 4, 4), np.int64)
    mask[:, 1:3, 1:3] = 1
    split = Split(fields, {"x": x, "attributes": y, "mask": mask})
    found = {}
    for weight in (0.0, 20.0):
        model = small_model(Spec("noise", fields), mask_weight=weight, learning_rate=0.02, warmup_steps=0)
        gates = model.decompose(x, y)[1][..., 0]
        metrics = model.evaluate(split, seed=0, thorough=False)
        assert metrics["foreground_iou"] == pytest.approx(foreground_iou(gates >= 0.5, mask > 0).mean())
        for _ in range(60):
            model.training_step(split.batch(slice(None)))
        found[weight] = model.evaluate(split, seed=0, thorough=False)["foreground_iou"]
    assert found[20.0] > 0.95 > found[0.0]


def test_intersection_over_union_by_hand():
    masks = np.array([[[1, 1], [0, 0]], [[0, 0], [0, 0]], [[1, 0], [0, 0]]], bool)
    others = np.array([[[1, 0], [1, 0]], [[0, 0], [0, 0]], [[0, 1], [0, 0]]], bool)
    np.testing.assert_allclose(foreground_iou(masks, others), [1 / 3, 1, 0])


def test_samples_have_the_attributes_of_training_examples_unless_others_are_given():
    model, (x, y) = small_model(), examples(7)
    model.training_step(Split(FIELDS, {"x": x, "attributes": y}).batch(slice(None)))
    in_turn = y[np.arange(64) % 7][np.arange(80) % 64]
    np.testing.assert_array_equal(model.sample(80, seed=1), model.sample(80, seed=1, given={"attributes": in_turn}))
    for given, message in (
        ({"y": y}, "given has y; samples can be given attributes"),
        ({"attributes": y[:3]}, r"attributes have shape \(3, 2\); give one row of 2 for each of 7 samples: red, large"),
    ):
        with pytest.raises(UsageError, match=message):
            model.sample(7, seed=0, given=given)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (0, "no example has the attribute 'large': leave it out of attributes_train, or add others"),
        (1, "all examples have the same value of the attribute 'large'"),
    ],
)
def test_attributes_that_do_not_vary_are_refused_before_training(value, message):
    x, y = examples(20)
    y[:, 1] = value
    data = Dataset.from_fields(
        "still", {"x": Image(kind="rgb"), "attributes": FIELDS["attributes"]}, {"x": x, "attributes": y}
    )
    with pytest.raises(DataError, match=message):
        models.check_data(AttributeVAE, data)


def test_data_without_attributes_or_without_the_mask_that_is_learnt_are_refused():
    x, y = examples(20)
    plain = Dataset.from_fields("plain", {"x": Image(kind="rgb")}, {"x": x})
    with pytest.raises(DataError, match="needs attributes as attributes, and 'plain' has only x: add attributes_train"):
        models.check_data(AttributeVAE, plain)
    maskless = Dataset.from_fields("maskless", FIELDS, {"x": x, "attributes": y})
    assert models.check_data(AttributeVAE, maskless) is maskless
    with pytest.raises(DataError, match="needs segment maps as mask, and 'maskless' has only x, attributes"):
        models.check_data(AttributeVAE, maskless, AttributeVAE.Config(mask_weight=1.0))
