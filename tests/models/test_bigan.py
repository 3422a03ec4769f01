"""The bidirectional GAN: pairs of images and codes, costs by their formulas, which update changes what, evaluation."""

import numpy as np
import pytest

import tinygen as tg
from tinygen import random
from tinygen.data import Batch, Dataset, Image, Labels, Spec, Split
from tinygen.errors import NonFiniteError
from tinygen.metrics import probe
from tinygen.models import BiGAN
from tinygen.models.adversarial import bigan
from tinygen.nn import BatchNorm
from tinygen.random import Stream

SPEC = Spec("noise", {"x": Image(8, 8, 1, "grey"), "y": Labels(3)})


def images(n=16):
    return Stream(0, "images").uniform((n, *SPEC.x.shape))


def small_model(steps=0, device="cpu", **config):
    random.seed(0)
    model = BiGAN(BiGAN.Config(**{"latent": 4, "hidden": 6} | config), SPEC, device)
    for _ in range(steps):
        model.training_step(Batch(x=images()).to(device))
    return model


class KnownLogits(tg.nn.Module):
    """A discriminator that keeps the pairs that it is given, and tells real images (the known ones) from fakes."""

    def __init__(self, real, real_logit, fake_logit):
        self.logits = tg.nn.Parameter(np.float32([real_logit, fake_logit]))
        self.known, self.seen = real, []

    def forward(self, x, codes):
        values = tg.tensor(x).numpy()
        is_fake = int(values.shape != self.known.shape or (values != self.known).any())
        self.seen.append((values, tg.tensor(codes).numpy()))
        return self.logits[is_fake] + 0 * tg.tensor(x)[:, 0, 0, 0] + 0 * tg.tensor(codes)[:, 0]


def with_known_logits(model, real_logit=0.5, fake_logit=-1.25):
    model.discriminator = KnownLogits(images(), real_logit, fake_logit)
    model.discriminator_optimizer = tg.optim.SGD(model.discriminator, 0.0)
    return model.discriminator.seen


def test_costs_match_their_formulas():
    """-log D - log(1 - D) of the pairs, and the same with swapped labels for generator and encoder."""
    model = small_model(steps=2)
    with_known_logits(model)
    scalars = model.training_step(Batch(x=images()))
    p, q = (1 / (1 + np.exp(-logit)) for logit in (0.5, -1.25))
    expected = {
        "discriminator_nats": -np.log(p) - np.log(1 - q),
        "generator_nats": -np.log(q),
        "encoder_nats": -np.log(1 - p),
    }
    assert {name: float(value) for name, value in scalars.items()} == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("stochastic", [False, True])
def test_real_images_are_paired_with_their_codes_and_fakes_with_their_noise(stochastic):
    model = small_model(steps=2, stochastic=stochastic, latent=4)
    seen = with_known_logits(model)
    random.seed(3)
    z, noise = Stream(3, "train").normal((16, 4)), None
    with tg.no_grad():
        encoded = model.encoder(images()).numpy()
    if stochastic:
        stream = Stream(3, "train")
        _, noise = stream.normal((16, 4)), stream.normal((16, 4))
        encoded = encoded[:, :4] + np.exp(0.5 * encoded[:, 4:]) * noise
    model.training_step(Batch(x=images()))
    real, fake, *again = seen
    np.testing.assert_array_equal(real[0], images())
    np.testing.assert_allclose(real[1], encoded, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(fake[1], z)
    for pair, before in zip(again, (fake, real), strict=True):  # the same pairs in the other half of the step
        np.testing.assert_array_equal(pair[0], before[0])
        np.testing.assert_array_equal(pair[1], before[1])


def test_one_optimiser_updates_generator_and_encoder_and_the_other_the_discriminator(monkeypatch):
    for skipped, unchanged in (
        ("discriminator_optimizer", {"discriminator"}),
        ("generator_optimizer", {"generator", "encoder"}),
    ):
        model = small_model()
        before = {name: p.numpy().copy() for name, p in model.named_parameters().items()}
        monkeypatch.setattr(getattr(model, skipped), "step", lambda loss: None)
        model.training_step(Batch(x=images()))
        same = {name for name, p in model.named_parameters().items() if (p.numpy() == before[name]).all()}
        assert same == {name for name in before if name.split(".")[0] in unchanged}


def test_both_the_encoder_and_the_generator_are_averaged():
    model = small_model(steps=3, averaging=0.5)
    with_averages = model.encode(images()), model.decode(images(5)[:, 0, :4, 0])
    model.average = None
    for averaged, latest in zip(
        with_averages, (model.encode(images()), model.decode(images(5)[:, 0, :4, 0])), strict=True
    ):
        assert (averaged != latest).any()


@pytest.mark.parametrize("half", ["discriminator", "generator"])
def test_running_statistics_are_restored_when_either_half_of_a_step_is_refused(half, monkeypatch):
    model = small_model(steps=1)
    layers = [layer for layer in model.modules() if isinstance(layer, BatchNorm)]
    before = [(layer.running_mean.copy(), layer.running_var.copy()) for layer in layers]

    def refuse(loss):
        raise NonFiniteError("the loss is nan")

    monkeypatch.setattr(getattr(model, f"{half}_optimizer"), "step", refuse)
    with pytest.raises(NonFiniteError):
        model.training_step(Batch(x=images()))
    for layer, (mean, var) in zip(layers, before, strict=True):
        np.testing.assert_array_equal(layer.running_mean, mean)
        np.testing.assert_array_equal(layer.running_var, var)


@pytest.mark.parametrize("stochastic", [False, True])
def test_evaluation_matches_its_formulas(stochastic):
    model, x, y = small_model(steps=3, stochastic=stochastic), images(300), np.arange(300) % 3
    metrics = model.evaluate(Split(SPEC.fields, {"x": x, "y": y}), seed=5)
    z = Stream(5, "eval").normal((300, 4))
    with model.evaluating():
        codes, fake = model.encoder(x).numpy()[:, :4], model.generator(z).numpy()
        real_logits, fake_logits = (
            model.discriminator(*pair).numpy().astype(np.float64) for pair in ((x, codes), (fake, z))
        )
        recovered, rebuilt = model.encoder(fake).numpy()[:, :4], model.generator(codes).numpy()
    expected = {
        "discriminator_nats": (np.logaddexp(0, -real_logits) + np.logaddexp(0, fake_logits)).mean(),
        "real_accuracy_rate": (real_logits > 0).mean(),
        "made_accuracy_rate": (fake_logits < 0).mean(),
        "code_squared_error": ((recovered - z) ** 2).mean(),
        "squared_error_per_pixel": ((rebuilt - x) ** 2).mean(),
        "probe_error_rate": probe.error_rate(codes, y, 3),
    }
    assert metrics == pytest.approx(expected, rel=1e-3)


def test_the_figure_shows_samples_above_their_reconstructions():
    model = small_model(steps=2)
    split = Split(SPEC.fields, {"x": images(), "y": np.arange(16) % 3})
    (figure,) = model.figures(Dataset(SPEC, split, split, split), seed=4)
    rows = figure.images.reshape(4, bigan.COLUMNS, 8, 8, 1)
    samples = model.sample(2 * bigan.COLUMNS, seed=4)
    np.testing.assert_array_equal(np.concatenate(rows[::2]), samples)
    np.testing.assert_allclose(np.concatenate(rows[1::2]), model.decode(model.encode(samples)), atol=1e-6)


def test_a_step_gives_the_same_result_on_every_device(device):
    scalars = {}
    for where in ("cpu", device):
        model = small_model(steps=1, device=where, stochastic=True)
        step = model.training_step(Batch(x=images()).to(where))
        scalars[where] = [float(value) for value in step.values()] + [float(model.encode(images())[0, 0])]
    assert scalars[device] == pytest.approx(scalars["cpu"], rel=2e-3)
