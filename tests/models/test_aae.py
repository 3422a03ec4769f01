"""The adversarial auto-encoder: its prior, its two losses by their formulas, and which network each of them updates."""

import numpy as np
import pytest

from tinygen import random
from tinygen.data import Batch, Image, Labels, Spec, Split
from tinygen.errors import UsageError
from tinygen.metrics import parzen
from tinygen.models import AAE
from tinygen.random import Stream

SPEC = Spec("noise", {"x": Image(4, 5, 1, "grey"), "y": Labels(4)})


def small_model(spec=SPEC, **config):
    random.seed(0)
    return AAE(AAE.Config(**({"latent": 2, "hidden": 6, "layers": 1, "batch_size": 8} | config)), spec)


def batch(n=8):
    """Images, with labels that are not the components in turn."""
    return Batch(x=Stream(0, "test images").uniform((n, 4, 5, 1)), y=(3 * np.arange(n) + 1) % 4)


def numpy_output(network, x):
    """Outputs of a network with one hidden layer of ReLUs, computed in NumPy."""
    w1, b1, w2, b2 = (p.numpy().astype("float64") for p in network.parameters())
    return np.maximum(x.reshape(len(x), -1) @ w1 + b1, 0) @ w2 + b2


def softplus(x):
    return np.logaddexp(0, x)


@pytest.mark.parametrize("labelled", [False, True])
def test_losses_of_a_step_match_their_formulas(labelled):
    model, data = small_model(dropout=0.0, prior="mixture", labelled=labelled), batch()
    codes = numpy_output(model.encoder, data.x)
    rebuilt = 1 / (1 + np.exp(-numpy_output(model.decoder, codes)))
    prior_samples = model.prior(data.y if labelled else np.arange(8) % 4, Stream(0, "train"))
    one_hot = np.eye(4)[data.y] if labelled else np.zeros((8, 0))
    on_codes, on_prior_samples = (
        numpy_output(model.discriminator, np.c_[part, one_hot]) for part in (codes, prior_samples)
    )
    expected = {
        "squared_error_per_pixel": ((rebuilt - data.x.reshape(8, -1)) ** 2).mean(),
        "generator_nats": softplus(-on_codes).mean(),
        "discriminator_nats": (softplus(-on_prior_samples) + softplus(on_codes)).mean(),
    }
    assert {k: float(v) for k, v in model.training_step(data).items()} == pytest.approx(expected, rel=1e-5)


def test_the_weight_of_the_adversarial_loss_changes_the_update_of_the_encoder_alone():
    before = {name: array.copy() for name, array in small_model().state_dict().items()}
    after = {}
    for weight in (0.0, 100.0):
        model = small_model(regularisation=weight)
        model.training_step(batch())
        after[weight] = model.state_dict()
    for name, array in before.items():
        if name.split(".")[0] in ("encoder", "decoder", "discriminator"):
            assert (after[0.0][name] != array).any(), name
            differs = (after[0.0][name] != after[100.0][name]).any()
            assert differs == name.startswith("encoder"), name


def test_labels_change_the_discriminator_loss():
    first, second = (small_model(prior="mixture", labelled=True) for _ in range(2))
    data = batch()
    one = first.training_step(data)
    other = second.training_step(Batch(x=data.x, y=(data.y + 1) % 4))
    assert float(one["discriminator_nats"]) != float(other["discriminator_nats"])


def test_the_mixture_prior_is_a_ring_of_normals_stretched_outwards():
    model, n = small_model(prior="mixture"), 40_000
    components = model.components_in_turn(n)
    points = model.prior(components, Stream(3, "draws"))
    assert (np.bincount(components) == n // 4).all()
    for k, direction in enumerate([(1, 0), (0, 1), (-1, 0), (0, -1)]):
        part, side = points[components == k], np.array([-direction[1], direction[0]])
        for axis, mean, std in ((np.array(direction), 1.4, 0.5), (side, 0.0, 0.1)):
            along = part @ axis
            assert abs(along.mean() - mean) < 4 * std / 100
            assert abs(along.std() - std) < 4 * std / np.sqrt(2 * 10_000)


def test_evaluation_matches_its_formulas(monkeypatch):
    model, x = small_model(), batch(41).x
    metrics = model.evaluate(Split(SPEC.fields, {"x": x}), seed=3)
    rebuilt = model.decode(model.encode(x)).astype("float64")
    assert metrics["squared_error_per_pixel"] == pytest.approx(((rebuilt - x) ** 2).mean(), rel=1e-5)
    samples = model.sample(10_000, seed=3)
    by_width = parzen.log_likelihood(x, samples, parzen.WIDTHS)
    best = by_width[:, :5].mean(axis=1).argmax()
    assert metrics["parzen_log_likelihood_nats"] == pytest.approx(by_width[best, 5:].mean(), rel=1e-5)
    labelled = model.evaluate(Split(SPEC.fields, {"x": x, "y": np.arange(41) % 4}), seed=3)
    assert 0 <= labelled.pop("probe_error_rate") <= 1
    assert labelled == metrics


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"prior": "mixture", "latent": 8}, "latent is 8; the prior 'mixture' lies in the plane: use --latent 2"),
        ({"labelled": True}, "use --prior mixture"),
        ({"latent": 0}, "latent is 0; it must be at least 1"),
        ({"dropout": 1.0}, r"dropout is 1\.0; it must be below 1"),
    ],
)
def test_impossible_configurations_are_refused(config, message):
    with pytest.raises(UsageError, match=message):
        small_model(**config)


def test_a_labelled_aae_refuses_data_without_labels():
    with pytest.raises(UsageError, match="'noise' has no labels: use --no-labelled"):
        small_model(Spec("noise", {"x": Image(4, 5, 1, "grey")}), prior="mixture", labelled=True)
