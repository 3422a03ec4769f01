"""Improved techniques for training GANs: D(x) from K logits, first and fixed scales, averages, classes of samples."""

import numpy as np
import pytest

import tinygen as tg
from tests.models.cases import split_for
from tinygen import random
from tinygen.data import Batch, Dataset, Image, Labels, Spec, load
from tinygen.errors import UsageError
from tinygen.models import ImprovedGAN
from tinygen.models.adversarial.improved_gan import ROWS, GaussianNoise
from tinygen.nn import Linear, MinibatchDiscrimination, VirtualBatchNorm, WeightNorm
from tinygen.random import Stream

SPEC = Spec("noise", {"x": Image(6, 6, 1, "grey"), "y": Labels(3)})
SMALL = {"latent": 3, "hidden": 16, "generator_hidden": 8, "labelled": 6, "batch_size": 8}


@pytest.fixture(autouse=True)
def own_streams():
    before = random.get_state()
    yield
    random.set_state(before)


def make(n=40, **config):
    random.seed(0)
    model = ImprovedGAN(ImprovedGAN.Config(**SMALL | config), SPEC)
    split = split_for(model, n)
    model.prepare(Dataset(SPEC, split, split, split), seed=0)
    return model, split


def images(n):
    return Stream(0, "images").uniform((n, *SPEC.x.shape))


def trained(steps=3, **config):
    model, split = make(**config)
    source = model.source(split, seed=0)
    for _ in range(steps):
        model.training_step(next(source))
    return model


def test_d_is_one_minus_the_probability_of_the_additional_class():
    """A softmax of K + 1 logits, of which the last is 0 (section 5)."""
    model, x = trained(), images(7)
    with model.evaluating():
        logits = model.discriminator(x).numpy().astype("float64")
    exponentials = np.exp(np.concatenate([logits, np.zeros((7, 1))], axis=1))
    p = exponentials / exponentials.sum(axis=1, keepdims=True)
    d = 1 / (1 + np.exp(-model.discriminate(x).astype("float64")))
    np.testing.assert_allclose(d, 1 - p[:, -1], rtol=1e-5)
    np.testing.assert_allclose(model.classify(x), p[:, :-1] / (1 - p[:, -1:]), rtol=1e-4)


def test_first_outputs_of_normed_layers_have_mean_0_and_variance_1():
    model, split = make(input_noise=0.0, hidden_noise=0.0)
    x, seen = split.values("x"), 0
    with model.evaluating():
        for layer in (part for network in model.discriminator.layers for part in network.layers):
            x = layer(x)
            if isinstance(layer, WeightNorm):
                y, seen = x.numpy(), seen + 1
                np.testing.assert_allclose(y.mean(axis=0), 0, atol=1e-4)
                # A unit that is 0 for all images, since the ReLUs before it are, has no variance.
                np.testing.assert_allclose(y.std(axis=0)[y.std(axis=0) > 0], 1, atol=1e-2)
    assert seen == 6


def test_preparing_moves_no_stream_and_begins_the_averages_at_the_first_weights():
    model, split = make()
    streams = random.get_state()
    model.prepare(Dataset(SPEC, split, split, split), seed=0)
    assert random.get_state() == streams
    for name, average in model.discriminator_average.averages.items():
        np.testing.assert_array_equal(average, model.discriminator_average.parameters[name].data)


def test_scales_of_hidden_layers_of_the_discriminator_stay():
    model, split = make(learning_rate=0.05)
    normed = [layer for layer in model.discriminator.modules() if isinstance(layer, WeightNorm)]
    before = [(layer.gain.numpy().copy(), layer.layer.weight.numpy().copy()) for layer in normed]
    source = model.source(split, seed=0)
    for _ in range(3):
        model.training_step(next(source))
    stayed = [np.array_equal(layer.gain.numpy(), gain) for layer, (gain, _) in zip(normed, before, strict=True)]
    assert stayed == [True] * 5 + [False]
    assert all((layer.layer.weight.numpy() != w).any() for layer, (_, w) in zip(normed, before, strict=True))


def test_noise_is_added_in_training_only_with_its_standard_deviation():
    random.seed(0)
    layer, x = GaussianNoise(0.5), np.ones((200, 100), np.float32)
    noise = layer(x) - x
    assert (noise.mean(), noise.std()) == pytest.approx((0, 0.5), abs=0.01)
    np.testing.assert_array_equal(layer.eval()(x), x)
    np.testing.assert_array_equal(GaussianNoise(0.0)(x), x)
    model, _ = make(input_noise=0.1, hidden_noise=0.2)
    stds = [part.std for part in model.discriminator.modules() if isinstance(part, GaussianNoise)]
    assert stds == [0.1] + [0.2] * 5


def test_images_are_classified_with_averaged_weights():
    model, x = trained(averaging=0.9, learning_rate=0.05), images(5)
    model.eval()
    with tg.no_grad():
        last = tg.functional.softmax(model.discriminator(x)).numpy()
        with model.discriminator_average.applied():
            averaged = tg.functional.softmax(model.discriminator(x)).numpy()
    assert np.abs(last - averaged).max() > 1e-3
    np.testing.assert_allclose(model.classify(x), averaged, rtol=1e-4, atol=1e-6)


def test_flags_choose_the_parts():
    model, _ = make(weight_norm=False, generator_norm="virtual", minibatch_discrimination=4)
    parts = [type(part) for part in model.modules()]
    assert (WeightNorm in parts, parts.count(VirtualBatchNorm), parts.count(MinibatchDiscrimination)) == (False, 2, 1)
    assert model.discriminator.layers[1].layers[-1].weight.shape == (4 + 4, 3)
    model, _ = make()
    parts = [type(part) for part in model.modules()]
    assert (parts.count(WeightNorm), VirtualBatchNorm in parts, MinibatchDiscrimination in parts) == (7, False, False)
    assert sum(isinstance(part, Linear) for part in model.generator.modules()) == 3


def test_matching_features_ignores_the_head_of_the_discriminator():
    """The loss is that of the last hidden layer: other logits change nothing."""
    model, _ = make(input_noise=0.0, hidden_noise=0.0)
    x, streams = images(8), random.get_state()
    loss, name = model.generator_loss(x)
    for parameter in model.discriminator.layers[1].parameters():
        parameter.assign(0.0)
    random.set_state(streams)
    assert model.generator_loss(x)[0].item() == loss.item() > 0
    assert name == "mean_feature_distance"
    model.generator = lambda noise: tg.tensor(x)
    assert model.generator_loss(x)[0].item() == 0


def test_the_source_gives_the_configured_number_of_labelled_examples():
    data = load("digits8x8")
    model = ImprovedGAN(ImprovedGAN.Config(**SMALL | {"labelled": 20}), data.spec)
    batch = next(model.source(data.train, seed=0))
    assert (len(batch.x), len(batch.unlabelled_x)) == (20, 8)
    assert "unlabelled_y" not in batch
    assert (np.bincount(batch.y) == 2).all()


def test_the_error_rate_is_that_of_the_classifier():
    model, split = make()
    metrics = model.evaluate(split, seed=0)
    wrong = model.classify(split.values("x")).argmax(axis=1) != split.values("y")
    assert metrics["error_rate"] == wrong.mean()


def test_the_figure_has_the_most_certain_samples_of_each_class_in_a_column():
    model, split = make()
    (figure,) = model.figures(Dataset(SPEC, split, split, split), seed=1)
    assert (figure.columns, len(figure.images)) == (3, 3 * ROWS)
    p = model.classify(model.sample(1000, seed=1))
    column = model.classify(figure.images[1::3])[:, 1]
    np.testing.assert_allclose(column, np.sort(p[:, 1])[::-1][:ROWS], rtol=1e-4)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"smoothing": 2.0}, "smoothing is 2; as a probability it must be at most 1"),
        ({"labelled": 0}, "labelled is 0; it must be at least 1"),
    ],
)
def test_impossible_configurations_are_refused(config, message):
    with pytest.raises(UsageError, match=f"^{message}$"):
        ImprovedGAN.Config(**config)


def test_a_step_refused_for_its_unlabelled_images_changes_nothing():
    model, split = make()
    batch = next(model.source(split, seed=0))
    bad = Batch({**batch, "unlabelled_x": np.full_like(batch.unlabelled_x, np.nan)})
    before = {name: array.tobytes() for name, array in model.state_dict().items()}
    with np.errstate(all="ignore"), pytest.raises(tg.errors.NonFiniteError):
        model.training_step(bad)
    assert {name: array.tobytes() for name, array in model.state_dict().items()} == before
