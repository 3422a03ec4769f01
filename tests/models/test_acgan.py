"""The auxiliary classifier GAN: its costs by their formulas, classification, evaluation, and its figures."""

import numpy as np
import pytest

import tinygen as tg
from tinygen import random
from tinygen.data import Batch, Dataset, Image, Labels, Spec, Split
from tinygen.models import ACGAN
from tinygen.models.adversarial import base
from tinygen.nn import Reshape
from tinygen.random import Stream

SPEC = Spec("noise", {"x": Image(8, 8, 1, "grey"), "y": Labels(3)})


def images(n):
    return Stream(0, "images").uniform((n, *SPEC.x.shape))


def labels(n):
    return Stream(0, "labels").integers(3, n)


def split(n=60):
    return Split(SPEC.fields, {"x": images(n), "y": labels(n)})


def small_model(steps=0, device="cpu", **config):
    random.seed(0)
    model = ACGAN(ACGAN.Config(**{"latent": 4, "channels": 3} | config), SPEC, device)
    for _ in range(steps):
        model.training_step(Batch(x=images(16), y=labels(16)).to(device))
    return model


def test_costs_match_their_formulas():
    """For a discriminator whose outputs are known: a logit of "real", and logits of three classes."""
    model, outputs = small_model(steps=2), np.float32([0.5, 1.0, -2.0, 0.25])
    constant = tg.nn.Linear(1, 4)
    constant.weight.assign(0.0)
    constant.bias.assign(outputs)
    model.discriminator = tg.nn.Sequential(lambda x: tg.tensor(x)[:, 0, 0, :1], constant)
    model.discriminator_optimizer = tg.optim.SGD(constant, 0.0)
    scalars = model.training_step(Batch(x=images(16), y=labels(16)))
    p = 1 / (1 + np.exp(-0.5))
    of_class = np.log(np.exp(outputs[1:].astype(np.float64)).sum()) - outputs[1:][labels(16)].mean()
    expected = {
        "discriminator_nats": -np.log(p) - np.log(1 - p),
        "generator_nats": -np.log(p),
        "class_cross_entropy_nats": of_class,
        "made_class_nats": of_class,
    }
    assert {name: float(value) for name, value in scalars.items()} == pytest.approx(expected, rel=1e-5)


def test_without_its_weight_the_logits_of_classes_are_not_trained():
    start, after = small_model(), small_model(steps=2, class_weight=0.0)
    last = [model.discriminator.layers[-1].weight.numpy() for model in (start, after)]
    np.testing.assert_array_equal(last[0][:, 1:], last[1][:, 1:])
    assert (last[0][:, 0] != last[1][:, 0]).all()


def test_the_discriminator_is_not_told_the_class():
    """Its first output, for real images, is the same whatever their labels are."""
    model, seen = small_model(steps=1), []
    judge = model.source_and_class
    model.source_and_class = lambda x: seen.append(judge(x)) or seen[-1]
    state = {name: array.copy() for name, array in model.state_dict().items()}
    for y in (labels(16), (labels(16) + 1) % 3):
        model.load_state_dict(state)
        model.training_step(Batch(x=images(16), y=y))
    np.testing.assert_array_equal(seen[0][0].numpy(), seen[3][0].numpy())


def test_classes_are_the_softmax_of_the_class_logits():
    model, x = small_model(steps=3), images(7)
    with model.evaluating():
        logits = model.discriminator(x).numpy()[:, 1:].astype(np.float64)
    np.testing.assert_allclose(model.classify(x), np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True), atol=1e-6)


def test_evaluation_matches_its_formulas():
    model, x, y = small_model(steps=3), images(300), labels(300)
    metrics = model.evaluate(Split(SPEC.fields, {"x": x, "y": y}), seed=5)
    noise = Stream(5, "eval").normal((300, 4))
    fake = model.generate(np.concatenate([noise, np.eye(3, dtype=np.float32)[y]], axis=1))
    p, q = (1 / (1 + np.exp(-model.discriminate(each).astype("float64"))) for each in (x, fake))
    expected = {
        "discriminator_nats": -(np.log(p).mean() + np.log(1 - q).mean()),
        "real_accuracy_rate": (p > 0.5).mean(),
        "made_accuracy_rate": (q < 0.5).mean(),
        "error_rate": (model.classify(x).argmax(axis=1) != y).mean(),
    }
    assert metrics == pytest.approx(expected, rel=1e-5)


def test_figures_show_every_class_of_one_noise_and_walks_within_a_class():
    model = small_model()
    matrix = np.linalg.qr(Stream(0, "matrix").normal((64, 7)))[0].T.astype(np.float32)
    model.generator = tg.nn.Sequential(lambda z: tg.tensor(z) @ matrix, Reshape(8, 8, 1))
    table, walk = model.figures(Dataset(SPEC, split(), split(), split()), seed=1)
    inputs = (table.images.reshape(-1, 64) @ matrix.T).reshape(base.ROWS, 3, 7)
    np.testing.assert_allclose(inputs[:, :, 4:], np.tile(np.eye(3), (base.ROWS, 1, 1)), atol=1e-5)
    np.testing.assert_allclose(inputs[:, :, :4], inputs[:, :1, :4].repeat(3, axis=1), atol=1e-5)
    inputs = (walk.images.reshape(-1, 64) @ matrix.T).reshape(base.ROWS, base.TILES, 7)
    np.testing.assert_allclose(np.diff(inputs, n=2, axis=1), 0, atol=1e-5)
    assert (abs(np.diff(inputs[:, :, :4], axis=1)).max(axis=(1, 2)) > 1e-3).all()
    np.testing.assert_allclose(inputs[:, 0, 4:], np.eye(3)[np.arange(base.ROWS) % 3], atol=1e-5)


def test_a_step_gives_the_same_result_on_every_device(device):
    scalars = {}
    for where in ("cpu", device):
        model = small_model(steps=1, device=where)
        step = model.training_step(Batch(x=images(16), y=labels(16)).to(where))
        scalars[where] = [float(value) for value in step.values()] + [float(model.classify(images(2))[0, 0])]
    assert scalars[device] == pytest.approx(scalars["cpu"], rel=2e-4)
