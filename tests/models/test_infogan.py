"""InfoGAN: its codes, the information on them by its formula, what each loss changes, and its figures."""

import math

import numpy as np
import pytest

import tinygen as tg
from tinygen import random
from tinygen.data import Batch, Dataset, Image, Labels, Spec, Split
from tinygen.errors import UsageError
from tinygen.models import InfoGAN
from tinygen.models.adversarial import infogan
from tinygen.nn import Reshape
from tinygen.random import Stream

SPEC = Spec("noise", {"x": Image(8, 8, 1, "grey"), "y": Labels(3)})
SIZES = {"latent": 4, "channels": 3, "hidden": 5, "categorical": 2, "categories": 3, "continuous": 2}
CODES = 2 * 3 + 2


def images(n):
    return Stream(0, "images").uniform((n, *SPEC.x.shape))


def labels(n):
    return Stream(0, "labels").integers(3, n)


def split(n=60):
    return Split(SPEC.fields, {"x": images(n), "y": labels(n)})


def small_model(steps=0, device="cpu", **config):
    random.seed(0)
    model = InfoGAN(InfoGAN.Config(**SIZES | config), SPEC, device)
    for _ in range(steps):
        model.training_step(Batch(x=images(16)).to(device))
    return model


def weights(module):
    return [p.numpy().copy() for p in module.parameters()]


def test_the_generator_is_given_noise_one_hot_categories_and_continuous_codes():
    z, c, v = Stream(0, "z").normal((5, 4)), Stream(0, "c").integers(3, (5, 2)), Stream(0, "v").normal((5, 2))
    given = tg.tensor(small_model().generator_input(z, c, v)).numpy()
    expected = np.concatenate([z, np.eye(3)[c[:, 0]], np.eye(3)[c[:, 1]], v], axis=1)
    np.testing.assert_array_equal(given, expected.astype(np.float32))


def test_codes_are_drawn_uniformly():
    noise, categories, continuous = small_model(categories=5).drawn(20_000, 3, "test")
    assert abs(noise.mean()) < 0.02 and noise.std() == pytest.approx(1, abs=0.02)
    for code in categories.T:
        np.testing.assert_allclose(np.bincount(code) / 20_000, 1 / 5, atol=0.015)
    assert abs(np.corrcoef(categories.T)[0, 1]) < 0.03
    assert (continuous.min(), continuous.max()) == pytest.approx((-1, 1), abs=1e-3)
    np.testing.assert_allclose(continuous.var(axis=0), 1 / 3, atol=0.01)


class KnownOutputs(tg.nn.Module):
    """A discriminator whose outputs are its only parameter, the same for all images."""

    def __init__(self, outputs):
        self.outputs = tg.nn.Parameter(np.float32(outputs))

    def forward(self, x):
        return tg.tensor(x)[:, 0, 0, :1] * 0 + self.outputs


def test_the_information_is_the_entropy_of_the_codes_minus_their_cross_entropy():
    """Both scalars of a step and the evaluation, for a Q that ignores the image."""
    model, outputs = small_model(steps=1), np.linspace(-1, 1, 1 + CODES)
    model.discriminator = KnownOutputs(outputs)
    model.discriminator_optimizer = tg.optim.SGD(model.discriminator, 0.0)
    log_q = [part - np.log(np.exp(part).sum()) for part in (outputs[1:4], outputs[4:7])]

    def expected(categories, continuous):
        cross_entropy = -(log_q[0][categories[:, 0]] + log_q[1][categories[:, 1]]).mean()
        return 2 * math.log(3) - cross_entropy, ((continuous - outputs[7:]) ** 2).mean()

    random.seed(7)
    _, *codes = model.draw(16, [Stream(7, "train")] * 3)
    scalars = model.training_step(Batch(x=images(16)))
    measured = scalars["code_information_nats"], scalars["code_squared_error"]
    assert tuple(map(float, measured)) == pytest.approx(expected(*codes), rel=1e-5, abs=1e-6)  # of entropies near 2

    metrics = model.evaluate(split(), seed=5)
    _, *codes = model.drawn(60, 5, "eval")
    assert (metrics["code_information_nats"], metrics["code_squared_error"]) == pytest.approx(
        expected(*codes), rel=1e-5, abs=1e-6
    )
    assert metrics["discriminator_nats"] == pytest.approx(np.logaddexp(0, 1) + np.logaddexp(0, -1))  # its logit is -1
    assert metrics["purity"] == pytest.approx(np.bincount(labels(60)).max() / 60)  # all images in one category


def test_the_information_changes_both_heads_and_the_generator():
    """Without its weight only the head of "real" is trained; both share the body."""
    after = {weight: small_model(steps=2, information_weight=weight) for weight in (0.0, 2.0)}
    start = small_model()
    for before, now in zip(weights(start.discriminator.codes), weights(after[0.0].discriminator.codes), strict=True):
        np.testing.assert_array_equal(before, now)
    for part in ("discriminator.codes", "discriminator.real", "discriminator.body", "generator"):
        one, other = after[0.0], after[2.0]
        for name in part.split("."):
            one, other = getattr(one, name), getattr(other, name)
        assert any((a != b).any() for a, b in zip(weights(one), weights(other), strict=True)), part


def test_images_are_encoded_by_q_and_decoded_with_one_noise():
    model, x = small_model(steps=3), images(7)
    with model.evaluating():
        outputs = model.discriminator(x).numpy().astype(np.float64)
    exponentials = np.exp(outputs[:, 1:7]).reshape(7, 2, 3)
    probabilities = exponentials / exponentials.sum(axis=2, keepdims=True)
    codes = model.encode(x)
    np.testing.assert_allclose(codes, np.c_[probabilities.reshape(7, 6), outputs[:, 7:]], atol=1e-5)
    np.testing.assert_array_equal(model.categories_of(x), probabilities.argmax(axis=2))
    decoded = model.decode(codes)
    noise = Stream(0, "decode").normal((1, 4)).repeat(7, axis=0)
    np.testing.assert_array_equal(decoded, model.generate(np.concatenate([noise, codes], axis=1)))
    assert len(np.unique(model.decode(np.eye(CODES, dtype=np.float32)), axis=0)) == CODES


def test_categories_that_follow_the_labels_are_pure(monkeypatch):
    """The second code gives each class another category, the first one none; the best of both counts."""
    model, of_x = small_model(), {}
    for image, label in zip(images(60), labels(60), strict=True):
        of_x[image.tobytes()] = [1, (label + 2) % 3]
    monkeypatch.setattr(InfoGAN, "categories_of", lambda self, x: np.array([of_x[image.tobytes()] for image in x]))
    assert model.evaluate(split(), seed=0)["purity"] == 1
    *_, found = model.figures(Dataset(SPEC, split(), split(), split()), seed=0)
    assert found.text.splitlines() == ["0: 1 100%", "1: 2 100%", "2: 0 100%"]
    assert "100.0% are of the first one" in found.caption


def test_no_purity_without_labels_and_disentanglement_with_factors():
    model = small_model(steps=1)
    assert "purity" not in model.evaluate(Split({"x": SPEC.x}, {"x": images(20)}), seed=0)
    factors = {"x": SPEC.x, "y": Labels(3), "size": Labels(2)}
    columns = {"x": images(90), "y": labels(90), "size": np.arange(90) % 2}
    metrics = model.evaluate(Split(factors, columns), seed=0)
    assert metrics.keys() >= {"purity", "higgins_score", "mutual_information_gap"}


def with_linear_generator(model):
    """Replace the generator by a linear map, so that images can be turned into its inputs."""
    matrix = np.linalg.qr(Stream(0, "matrix").normal((64, 4 + CODES)))[0].T.astype(np.float32)
    model.generator = tg.nn.Sequential(lambda z: tg.tensor(z) @ matrix, Reshape(8, 8, 1))
    return lambda pictures: pictures.reshape(len(pictures), 64) @ matrix.T


def test_each_figure_varies_one_code():
    model = small_model()
    inputs_of = with_linear_generator(model)
    streams = random.get_state()
    figures = list(model.figures(Dataset(SPEC, split(), split(), split()), seed=1))
    assert random.get_state() == streams
    *pictures, found = figures
    assert found.text
    for code, figure in enumerate(pictures[:2]):
        rows = inputs_of(figure.images).reshape(infogan.ROWS, 3, -1)
        own = slice(4 + 3 * code, 7 + 3 * code)
        np.testing.assert_allclose(rows[:, :, own], np.tile(np.eye(3), (infogan.ROWS, 1, 1)), atol=1e-5)
        others = np.delete(rows, own, axis=2)
        np.testing.assert_allclose(others, others[:, :1].repeat(3, axis=1), atol=1e-5)
        assert figure.columns == 3
    for code, figure in enumerate(pictures[2:]):
        rows = inputs_of(figure.images).reshape(3, infogan.COLUMNS, -1)
        own = 4 + 6 + code
        np.testing.assert_allclose(rows[:, :, own], np.tile(np.linspace(-2, 2, infogan.COLUMNS), (3, 1)), atol=1e-5)
        np.testing.assert_allclose(rows[:, 0, 4:7], np.eye(3), atol=1e-5)
        others = np.delete(rows, [4, 5, 6, own], axis=2)
        np.testing.assert_allclose(others, np.broadcast_to(others[0, 0], others.shape), atol=1e-5)
        assert figure.columns == infogan.COLUMNS


def test_images_that_cannot_be_halved_are_refused():
    with pytest.raises(UsageError, match=r"^convolutions of stride 2 need sides of at least 2, not 1x9; use"):
        InfoGAN(InfoGAN.Config(), Spec("strips", {"x": Image(1, 9, 1, "grey")}))


def test_a_step_gives_the_same_result_on_every_device(device):
    scalars = {}
    for where in ("cpu", device):
        model = small_model(steps=1, device=where)
        step = model.training_step(Batch(x=images(16)).to(where))
        scalars[where] = [float(value) for value in step.values()] + [float(model.sample(2, seed=0).sum())]
    assert scalars[device] == pytest.approx(scalars["cpu"], rel=2e-4)
