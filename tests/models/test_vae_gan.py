"""VAE/GAN: which loss changes which network, when a network waits, and the evaluation."""

import numpy as np
import pytest

import tinygen as tg
from tinygen import random
from tinygen.data import Batch, Image, Labels, Spec, Split
from tinygen.errors import NonFiniteError, UsageError
from tinygen.models import VAEGAN
from tinygen.nn import BatchNorm
from tinygen.random import Stream

SPEC = Spec("noise", {"x": Image(8, 8, 1, "grey"), "y": Labels(3)})
NETWORKS = "encoder", "decoder", "discriminator"


def images(n=8):
    return Stream(0, "images").uniform((n, *SPEC.x.shape))


def small_model(**config):
    random.seed(0)
    return VAEGAN(VAEGAN.Config(**{"latent": 4, "channels": 3, "margin": 50.0} | config), SPEC)


def weights(model):
    return {name: p.numpy().copy() for name, p in model.named_parameters().items()}


def changed(model, before):
    """The networks whose weights have changed."""
    return {name.split(".")[0] for name, p in model.named_parameters().items() if (p.numpy() != before[name]).any()}


def after_a_step(**config):
    model = small_model(**config)
    model.training_step(Batch(x=images()))
    return weights(model)


def test_the_weight_of_the_reconstruction_error_changes_the_decoder_alone():
    """The encoder gets no gradient of the GAN's loss, and the discriminator none of the reconstruction error."""
    few, many = (after_a_step(reconstruction_weight=weight) for weight in (0.01, 0.9))
    differs = {name.split(".")[0] for name in few if (few[name] != many[name]).any()}
    assert differs == {"decoder"}


@pytest.mark.parametrize(
    ("costs", "expected"),
    [
        ((0.69, 0.69), (True, True)),
        ((0.69, 0.27), (True, False)),  # it is far ahead on fakes
        ((0.27, 0.69), (True, False)),
        ((0.69, 1.09), (False, True)),  # it is far behind on fakes
        ((1.09, 0.69), (False, True)),
        ((0.27, 1.09), (True, True)),  # both would wait
        ((0.281, 1.079), (True, True)),
    ],
)
def test_a_network_that_is_far_ahead_waits(costs, expected):
    assert small_model(margin=0.4).turns(*costs) == expected


@pytest.mark.parametrize(("turns", "learning"), [((True, False), "decoder"), ((False, True), "discriminator")])
def test_a_network_that_waits_is_unchanged_and_the_encoder_never_waits(turns, learning, monkeypatch):
    model = small_model()
    before = weights(model)
    monkeypatch.setattr(model, "turns", lambda real, fake: turns)
    model.training_step(Batch(x=images()))
    assert changed(model, before) == {"encoder", learning}


def test_the_gate_sees_the_costs_of_reconstructions_and_samples_together(monkeypatch):
    model, seen = small_model(), []
    monkeypatch.setattr(model, "turns", lambda real, fake: seen.append((real, fake)) or (True, True))
    logits = iter([np.repeat(2.0, 8), np.repeat([1.0, -3.0], 8)])
    monkeypatch.setattr(model, "discriminate", lambda x: (x, tg.tensor(next(logits))))
    for optimizer in (model.encoder_optimizer, model.decoder_optimizer, model.discriminator_optimizer):
        monkeypatch.setattr(optimizer, "step", lambda *args, **options: None)
    model.training_step(Batch(x=images()))
    real, rebuilt, sample = np.log1p(np.exp(-2.0)), np.log1p(np.exp(1.0)), np.log1p(np.exp(-3.0))
    assert seen == [pytest.approx((real, (rebuilt + sample) / 2), rel=1e-5)]


def test_the_discriminator_sees_real_and_fake_images_in_separate_batches(monkeypatch):
    model, seen = small_model(), []
    forward = model.discriminator[0].forward
    monkeypatch.setattr(model.discriminator[0], "forward", lambda x: seen.append(tg.tensor(x).numpy()) or forward(x))
    model.training_step(Batch(x=images()))
    real, fakes = seen
    np.testing.assert_array_equal(real, images())
    assert len(fakes) == 16


def test_samples_and_reconstructions_use_different_noise(monkeypatch):
    model, seen = small_model(), []
    forward = model.decoder.forward
    monkeypatch.setattr(model.decoder, "forward", lambda z: seen.append(z.numpy()) or forward(z))
    with tg.no_grad():
        q = model.posterior(images())
    random.seed(0)
    model.training_step(Batch(x=images()))
    codes, drawn = np.split(seen[0], 2)
    noise = (codes - q.mean.numpy()) / np.exp(0.5 * q.log_var.numpy())
    first, second = (random.Stream(0, "train").normal((16, 4))[start : start + 8] for start in (0, 8))
    np.testing.assert_allclose(noise, first, atol=1e-3)
    np.testing.assert_array_equal(drawn, second)


@pytest.mark.parametrize("name", NETWORKS)
def test_running_statistics_are_restored_when_a_step_is_refused(name, monkeypatch):
    model = small_model()
    layers = [layer for layer in model.modules() if isinstance(layer, BatchNorm)]
    before = [(layer.running_mean.copy(), layer.running_var.copy()) for layer in layers]

    def refuse(loss, **options):
        raise NonFiniteError("the loss is nan")

    monkeypatch.setattr(getattr(model, f"{name}_optimizer"), "step", refuse)
    with pytest.raises(NonFiniteError):
        model.training_step(Batch(x=images()))
    for layer, (mean, var) in zip(layers, before, strict=True):
        np.testing.assert_array_equal(layer.running_mean, mean)
        np.testing.assert_array_equal(layer.running_var, var)


def test_evaluation_matches_its_formulas():
    model, x = small_model(), images(300)
    for _ in range(3):
        model.training_step(Batch(x=x[:8]))
    metrics = model.evaluate(Split(SPEC.fields, {"x": x, "y": np.arange(300) % 3}), seed=5)
    with tg.no_grad(), model.evaluating():
        q = model.posterior(x)
        rebuilt = model.decoder(q.mean + (0.5 * q.log_var).exp() * Stream(5, "eval").normal((300, 4)))
        (of_x, real), (of_rebuilt, _), (_, fake) = map(
            model.discriminate, (x, rebuilt, model.decoder(Stream(5, "eval samples").normal((300, 4))))
        )
        kl = q.kl().sum(axis=1).numpy().mean()
    error = 0.5 * ((of_x.numpy() - of_rebuilt.numpy()) ** 2).sum(axis=(1, 2, 3)).mean()
    real, fake = real.numpy().astype("float64"), fake.numpy().astype("float64")
    expected = {
        "kl_nats": kl,
        "feature_error_nats": error,
        "discriminator_nats": (np.logaddexp(0, -real) + np.logaddexp(0, fake)).mean(),
        "real_accuracy_rate": (real > 0).mean(),
        "made_accuracy_rate": (fake < 0).mean(),
    }
    assert 0 <= metrics.pop("probe_error_rate") <= 1
    assert metrics == pytest.approx(expected, rel=1e-3)


def test_images_that_cannot_be_halved_are_refused():
    with pytest.raises(UsageError, match=r"^convolutions of stride 2 need sides of at least 2, not 1x9; use"):
        VAEGAN(VAEGAN.Config(), Spec("strips", {"x": Image(1, 9, 1, "grey")}))
