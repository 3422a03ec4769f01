"""Penalties on a gradient, packs, clipped weights, smoothed labels: against their formulas."""

from typing import get_args

import numpy as np
import pytest

import tinygen as tg
from tinygen import nn, random
from tinygen.data import Batch, Image, Points, Spec
from tinygen.errors import UsageError
from tinygen.models import DCGAN, GAN, ConditionalDCGAN
from tinygen.models.adversarial import game
from tinygen.models.adversarial.losses import COSTS, discriminator_metrics, smoothed
from tinygen.models.adversarial.regularisers import PENALTIES, clip_weights, gradient_norms, packed
from tinygen.random import Stream

PLANE = Spec("plane", {"x": Points(2)})


@pytest.fixture(autouse=True)
def own_streams():
    before = random.get_state()
    random.seed(0)
    yield
    random.set_state(before)


def points(n, d, name="points"):
    return Stream(0, name).normal((n, d))


def expected_points(penalty, real, fake):
    """The points of a penalty, and what it demands of norms, by the papers."""
    stream = random.stream("train")
    if penalty == "r1":
        return real, lambda norms: (norms**2).mean() / 2
    share = stream.uniform((len(real), 1))
    if penalty == "dragan":
        return real + share * (0.5 * real.std() * stream.uniform(real.shape)), lambda norms: ((norms - 1) ** 2).mean()
    side = (lambda d: np.maximum(d, 0)) if penalty == "one-sided" else (lambda d: d)
    return share * real + (1 - share) * fake, lambda norms: (side(norms - 1) ** 2).mean()


@pytest.mark.parametrize("penalty", PENALTIES)
def test_penalties_match_their_formulas(penalty):
    """For f(x) = |W' x|^2, whose gradient is 2 W W' x."""
    real, fake, w = points(6, 3), points(6, 3, "fake"), 0.4 * points(3, 3, "w").astype("float64")
    streams = random.get_state()
    x, demand = expected_points(penalty, real, fake)
    expected = demand(np.linalg.norm(2 * x @ w @ w.T, axis=1))
    random.set_state(streams)
    weight = tg.tensor(w, "float32")
    norms = gradient_norms(
        lambda x: squared(x @ weight).sum(axis=1, keepdims=True), PENALTIES[penalty].points(real, tg.tensor(fake))
    )
    assert PENALTIES[penalty].demand(norms).item() == pytest.approx(expected, rel=1e-5)
    assert expected > 0.01


def squared(x):
    return x * x


def test_names_in_the_configuration_are_those_of_the_tables():
    assert set(get_args(game.CostName)) == COSTS.keys()
    assert set(get_args(game.PenaltyName)) == {"none", *PENALTIES}


@pytest.mark.parametrize("penalty", PENALTIES)
def test_a_game_adds_the_weighted_penalty_to_the_cost_of_the_discriminator(penalty):
    model = GAN(GAN.Config(latent=2, hidden=5, penalty=penalty, penalty_weight=4.0), PLANE)
    real, fake = points(6, 2), points(6, 2, "fake")
    streams = random.get_state()
    loss, scalars = model.discriminator_loss(model.discriminator, real, tg.tensor(fake))
    random.set_state(streams)
    norms = gradient_norms(model.discriminator, PENALTIES[penalty].points(real, tg.tensor(fake)))
    assert scalars["gradient_norm"].item() == pytest.approx(norms.mean().item(), rel=1e-6)
    assert scalars["gradient_penalty"].item() == pytest.approx(4 * PENALTIES[penalty].demand(norms).item(), rel=1e-6)
    assert loss.item() == pytest.approx((scalars["discriminator_nats"] + scalars["gradient_penalty"]).item(), rel=1e-6)


def test_packs_have_the_channels_of_consecutive_examples_beside_each_other():
    x = Stream(0, "images").uniform((7, 4, 3, 2))
    for pack in (packed(x, 3), packed(tg.tensor(x), 3).numpy()):
        assert pack.shape == (3, 4, 3, 6)
        np.testing.assert_array_equal(pack[1], np.concatenate([x[3], x[4], x[5]], axis=2))
        np.testing.assert_array_equal(pack[2], np.concatenate([x[6], x[0], x[1]], axis=2))
    assert packed(x, 1) is x
    np.testing.assert_array_equal(packed(points(4, 2), 2), points(4, 2).reshape(2, 4))
    np.testing.assert_array_equal(packed(points(1, 2), 3), np.tile(points(1, 2), 3))


def test_the_discriminator_of_packs_judges_several_examples_at_once():
    model = GAN(GAN.Config(latent=2, hidden=5, pack=4, batch_size=8), PLANE)
    assert model.discriminate(points(10, 2)).shape == (3,)
    images = Spec("images", {"x": Image(8, 8, 3, "rgb")})
    model = DCGAN(DCGAN.Config(latent=2, channels=2, pack=2, batch_size=4), images)
    model.training_step(Batch(x=Stream(0, "images").uniform((4, 8, 8, 3))))
    assert next(layer for layer in model.discriminator.modules() if isinstance(layer, nn.Conv2d)).weight.shape[2] == 6


def test_weights_are_clipped():
    layer = nn.Linear(20, 20)
    before = layer.weight.numpy().copy()
    clip_weights(layer, 0.1)
    np.testing.assert_array_equal(layer.weight.numpy(), before.clip(-0.1, 0.1))
    assert np.abs(before).max() > 0.1


def test_smoothing_changes_the_target_of_real_examples_only():
    real, fake = (Stream(seed, "outputs").normal(6).astype(np.float64) for seed in (0, 1))
    p, q = (1 / (1 + np.exp(-x)) for x in (real, fake))
    expected = -(0.9 * np.log(p) + 0.1 * np.log(1 - p)).mean() - np.log(1 - q).mean()
    of_both = tg.tensor(real, "float64"), tg.tensor(fake, "float64")
    for name in ("non-saturating", "minimax", "maximum-likelihood"):
        cost = smoothed(name, 0.9)
        assert cost.discriminator(*of_both).item() == pytest.approx(expected, rel=1e-10)
        assert cost.generator(*of_both[::-1]).item() == COSTS[name].generator(*of_both[::-1]).item()


@pytest.mark.parametrize(
    ("cost", "p", "q"),
    [
        ("non-saturating", lambda r, f: 1 / (1 + np.exp(-r)), lambda r, f: 1 / (1 + np.exp(-f))),
        ("least-squares", lambda r, f: r, lambda r, f: f),
        ("hinge", lambda r, f: (1 + r) / 2, lambda r, f: (1 + f) / 2),
        ("relativistic", lambda r, f: 1 / (1 + np.exp(f.mean() - r)), lambda r, f: 1 / (1 + np.exp(r.mean() - f))),
    ],
)
def test_accuracies_count_outputs_on_the_right_side_of_one_half(cost, p, q):
    real, fake = (Stream(seed, "outputs").normal(50).astype(np.float32) + shift for seed, shift in ((0, 0.8), (1, 0)))
    metrics = discriminator_metrics(real, fake, cost=COSTS[cost])
    assert metrics["real_accuracy_rate"] == (p(real, fake) > 0.5).mean()
    assert metrics["made_accuracy_rate"] == (q(real, fake) < 0.5).mean()
    assert 0 < metrics["real_accuracy_rate"] < 1
    name = "discriminator_nats" if cost in ("non-saturating", "relativistic") else "discriminator_cost"
    assert metrics[name] == pytest.approx(COSTS[cost].discriminator(tg.tensor(real), tg.tensor(fake)).item(), rel=1e-5)


def test_minibatch_discrimination_judges_minibatches_of_the_size_of_training():
    model = GAN(GAN.Config(latent=2, hidden=5, minibatch_discrimination=3, batch_size=4), PLANE)
    x = points(10, 2)
    outputs = model.discriminate(x)
    with tg.no_grad():
        np.testing.assert_allclose(outputs[4:8], model.discriminator(x[4:8]).numpy()[:, 0], rtol=1e-5)
        last = model.discriminator(x[[8, 9, 0, 1]]).numpy()[:2, 0]
    np.testing.assert_allclose(outputs[8:], last, rtol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GAN.Config(pack=3), "pack is 3; it must divide batch_size, 100"),
        (lambda: GAN.Config(smoothing=1.2), "smoothing is 1.2; as a probability it must be at most 1"),
        (
            lambda: DCGAN.Config(smoothing=0.9, cost="hinge"),
            "smoothing is 0.9; cost hinge has no labels to smooth: use non-saturating",
        ),
        (
            lambda: ConditionalDCGAN(DCGAN.Config(pack=2), PLANE),
            "pack is 2; cdcgan judges images one by one, each with its class: use 1",
        ),
    ],
)
def test_rules_that_cannot_be_kept_are_refused(make, message):
    with pytest.raises(UsageError, match=f"^{message}$"):
        make()
