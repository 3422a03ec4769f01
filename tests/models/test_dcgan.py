"""DCGAN: networks by the paper's guidelines, costs against their formulas, and the contents of the figures."""

import numpy as np
import pytest

import tinygen as tg
from tinygen import random
from tinygen.data import Batch, Dataset, Image, Labels, Spec, Split
from tinygen.errors import NonFiniteError, UsageError
from tinygen.models import DCGAN, ConditionalDCGAN
from tinygen.models.adversarial import base, dcgan
from tinygen.nn import BatchNorm, Conv2d, ConvTranspose2d, Linear, Reshape, SpectralNorm, VirtualBatchNorm
from tinygen.random import Stream

SPEC = Spec("noise", {"x": Image(8, 8, 1, "grey"), "y": Labels(3)})


def images(n):
    return Stream(0, "images").uniform((n, *SPEC.x.shape))


def labels(n):
    return Stream(0, "labels").integers(3, n)


def small_model(model_class=DCGAN, spec=SPEC, steps=0, **config):
    random.seed(0)
    model = model_class(model_class.Config(**{"latent": 4, "channels": 3} | config), spec)
    for _ in range(steps):
        model.training_step(Batch(x=images(16), y=labels(16)))
    return model


def test_networks_for_64_pixels_have_the_shapes_of_figure_1():
    model = small_model(spec=Spec("scenes", {"x": Image(64, 64, 3, "rgb")}), latent=100, channels=8)
    assert dcgan._pyramid((64, 64, 3), 128) == [
        (64, 64, 3), (32, 32, 128), (16, 16, 256), (8, 8, 512), (4, 4, 1024)
    ]  # fmt: skip
    up = [layer for layer in model.generator.modules() if isinstance(layer, ConvTranspose2d)]
    down = [layer for layer in model.discriminator.modules() if isinstance(layer, Conv2d)]
    assert (len(up), len(down)) == (4, 4)
    with tg.no_grad():
        assert model.generator(np.zeros((2, 100), np.float32)).shape == (2, 64, 64, 3)


def test_batch_norm_is_not_beside_the_image_and_weights_are_initialised_as_in_section_4():
    model = small_model(spec=Spec("scenes", {"x": Image(32, 32, 1, "grey")}), latent=64, channels=32)
    for network, batch_norms in ((model.generator, 3), (model.discriminator, 2)):
        layers = [layer for layer in network.modules() if isinstance(layer, (Conv2d, ConvTranspose2d, Linear))]
        assert sum(isinstance(layer, BatchNorm) for layer in network.modules()) == batch_norms
        for layer in layers:
            assert layer.weight.numpy().std() == pytest.approx(0.02, rel=0.1)
            assert layer.bias is None or not layer.bias.numpy().any()


@pytest.mark.parametrize(("norm", "spectral", "batch"), [("batch", 0, 2), ("spectral", 4, 0), ("none", 0, 0)])
def test_the_discriminator_is_normalised_as_asked(norm, spectral, batch):
    model = small_model(spec=Spec("scenes", {"x": Image(32, 32, 1, "grey")}), discriminator_norm=norm)
    parts = [type(part) for part in model.discriminator.modules()]
    assert (parts.count(SpectralNorm), parts.count(BatchNorm)) == (spectral, batch)
    biases = [layer.bias is not None for layer in model.discriminator.modules() if isinstance(layer, Conv2d)]
    assert biases == [True, batch == 0, batch == 0]


@pytest.mark.parametrize("model_class", [DCGAN, ConditionalDCGAN])
def test_virtual_batch_norm_has_a_reference_batch_of_noise_and_of_classes_in_turn(model_class):
    model = small_model(model_class, generator_norm="virtual", batch_size=6)
    parts = [type(part) for part in model.generator.modules()]
    assert (parts.count(VirtualBatchNorm), parts.count(BatchNorm)) == (1, 0)
    noise, classes = np.split(model.generator.reference, [4], axis=1)
    assert noise.std() == pytest.approx(1, abs=0.3)
    np.testing.assert_array_equal(classes, np.eye(3)[[0, 1, 2, 0, 1, 2]][:, : 3 * bool(model.conditions)])


def test_the_generator_waits_for_as_many_steps_of_the_discriminator_as_asked():
    model = small_model(discriminator_steps=3)
    due = ["generator_nats" in model.training_step(Batch(x=images(8))) for _ in range(7)]
    assert due == [False, False, True, False, False, True, False]
    assert (int(model.discriminator_optimizer.count), int(model.generator_optimizer.count)) == (7, 2)


def test_images_that_cannot_be_halved_are_refused():
    with pytest.raises(UsageError, match=r"^convolutions of stride 2 need sides of at least 2, not 1x9; use"):
        small_model(spec=Spec("strips", {"x": Image(1, 9, 1, "grey")}))


@pytest.mark.parametrize("model_class", [DCGAN, ConditionalDCGAN])
def test_costs_match_their_formulas(model_class):
    """-log D(x) - log(1 - D(G(z))) and -log D(G(z)), for a discriminator whose logits are known."""
    model = small_model(model_class, steps=3)
    scores = np.float32([[0.5, 1.0, -2.0, 0.25][: 1 + 3 * bool(model.conditions)]])
    real, bias = images(16), tg.nn.Linear(1, scores.shape[1])
    bias.weight.assign(0.0)
    bias.bias.assign(scores[0])
    model.discriminator = tg.nn.Sequential(lambda x: tg.tensor(x)[:, 0, 0, :1], bias)
    model.discriminator_optimizer = tg.optim.SGD(bias, 0.0)
    scalars = model.training_step(Batch(x=real, y=labels(16)))
    logit = scores[0, 0] + (scores[0, 1:][labels(16)] if bool(model.conditions) else 0)
    p = 1 / (1 + np.exp(-np.broadcast_to(logit, 16).astype("float64")))
    assert float(scalars["discriminator_nats"]) == pytest.approx(-np.log(p).mean() - np.log(1 - p).mean(), rel=1e-5)
    assert float(scalars["generator_nats"]) == pytest.approx(-np.log(p).mean(), rel=1e-5)


def test_the_discriminator_sees_real_and_fake_images_in_separate_batches():
    shape = (16, 16, 1)
    model = small_model(spec=Spec("noise", {"x": Image(*shape, "grey")}), learning_rate=0.0)
    norm = next(layer for layer in model.discriminator.modules() if isinstance(layer, BatchNorm))
    inputs = []
    forward = norm.forward
    norm.forward = lambda x, *rest: inputs.append(x.numpy()) or forward(x, *rest)
    model.training_step(Batch(x=np.ones((16, *shape), np.float32)))
    assert [len(x) for x in inputs] == [16, 16, 16]
    assert np.ptp(inputs[0], axis=0).max() == 0  # the real batch, whose images are equal
    np.testing.assert_array_equal(inputs[1], inputs[2])  # the same fakes in both halves of the step


def test_the_generator_input_is_noise_and_a_one_hot_class():
    model = small_model(ConditionalDCGAN, steps=2)
    z, y = Stream(0, "z").normal((3, 4)), np.array([2, 0, 1])
    x = tg.tensor(model.generator_input(z, y)).numpy()
    np.testing.assert_array_equal(x, np.concatenate([z, np.eye(3)[y]], axis=1).astype(np.float32))


@pytest.mark.parametrize("half", ["discriminator", "generator"])
def test_running_statistics_are_restored_when_either_half_of_a_step_is_refused(half, monkeypatch):
    model = small_model(steps=1)
    layers = [layer for layer in model.modules() if isinstance(layer, BatchNorm)]
    before = [(layer.running_mean.copy(), layer.running_var.copy()) for layer in layers]

    def refuse(loss):
        raise NonFiniteError("the loss is nan")

    monkeypatch.setattr(getattr(model, f"{half}_optimizer"), "step", refuse)
    with pytest.raises(NonFiniteError):
        model.training_step(Batch(x=images(16), y=labels(16)))
    for layer, (mean, var) in zip(layers, before, strict=True):
        np.testing.assert_array_equal(layer.running_mean, mean)
        np.testing.assert_array_equal(layer.running_var, var)


def test_evaluation_matches_its_formulas():
    model = small_model(ConditionalDCGAN, steps=3)
    x, y = images(300), labels(300)
    metrics = model.evaluate(Split(SPEC.fields, {"x": x, "y": y}), seed=5)
    fakes = model.generate(model.generator_input(Stream(5, "eval").normal((300, 4)), y))
    p, q = (1 / (1 + np.exp(-model.discriminate(each, y).astype("float64"))) for each in (x, fakes))
    expected = {
        "discriminator_nats": -(np.log(p).mean() + np.log(1 - q).mean()),
        "real_accuracy_rate": (p > 0.5).mean(),
        "made_accuracy_rate": (q < 0.5).mean(),
    }
    assert metrics == pytest.approx(expected, rel=1e-5)


def with_linear_generator(model):
    """Replace the generator by a linear map, so that sums of noise vectors give sums of images."""
    matrix = Stream(0, "matrix").uniform((4, 64)) / 100
    model.generator = tg.nn.Sequential(lambda z: tg.tensor(z) @ matrix, Reshape(8, 8, 1))
    return model


def labelled_dataset(n=90):
    return Dataset(SPEC, *[Split(SPEC.fields, {"x": images(n), "y": labels(n)})] * 3)


def test_the_walk_is_linear_in_a_row_and_each_row_begins_where_the_last_one_ended():
    walk, _ = with_linear_generator(small_model()).figures(labelled_dataset(), seed=1)
    rows = walk.images.reshape(base.ROWS, base.TILES, 64)
    corners = Stream(1, "walk").normal((base.ROWS + 1, 4))
    matrix = Stream(0, "matrix").uniform((4, 64)) / 100
    np.testing.assert_allclose(rows[:, 0], corners[:-1] @ matrix, atol=1e-5)
    np.testing.assert_allclose(rows[:-1, -1], rows[1:, 0], atol=1e-5)
    np.testing.assert_allclose(np.diff(rows, n=2, axis=1), 0, atol=1e-5)
    assert walk.columns == base.TILES


def test_arithmetic_is_a_minus_b_plus_c_of_the_exemplars_of_three_classes():
    _, sums = with_linear_generator(small_model()).figures(labelled_dataset(), seed=1)
    a, b, c, by_noise, by_pixels = sums.images.reshape(3, 5, 64).transpose(1, 0, 2)
    np.testing.assert_allclose(by_noise, a - b + c, atol=1e-5)
    np.testing.assert_allclose(by_pixels, (a - b + c).clip(0, 1), atol=1e-5)
    np.testing.assert_allclose(b, np.roll(a, -1, axis=0), atol=1e-5)  # the next class
    # The exemplars by their definition.
    matrix, noise = Stream(0, "matrix").uniform((4, 64)) / 100, Stream(1, "arithmetic").normal((1000, 4))
    mean = images(90)[labels(90) == 0].mean(axis=0).reshape(64)
    nearest = ((noise @ matrix - mean) ** 2).sum(axis=1).argsort()[:3]
    np.testing.assert_allclose(a[0], noise[nearest].mean(axis=0) @ matrix, atol=1e-5)


def test_figures_are_the_walk_without_labels_and_also_a_table_of_classes_with_them():
    bare = Dataset(Spec("noise", {"x": Image(8, 8, 1, "grey")}), *[Split(SPEC.fields, {"x": images(9)})] * 3)
    assert len(list(small_model().figures(bare, seed=0))) == 1
    model = small_model(ConditionalDCGAN, steps=2)
    streams = random.get_state()
    table, _ = model.figures(labelled_dataset(), seed=1)
    assert random.get_state() == streams
    assert (table.columns, len(table.images)) == (3, 3 * base.ROWS)
    noise = Stream(1, "classes").normal((base.ROWS, 4))
    column = model.generate(model.generator_input(noise, np.full(base.ROWS, 2)))
    np.testing.assert_array_equal(table.images[2::3], column)
