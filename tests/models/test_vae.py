"""The variational auto-encoder's metrics against numerical integrals over its one latent dimension."""

import math

import numpy as np
import pytest

import tinygen as tg
from tinygen import nn, random
from tinygen.data import Batch, Dataset, Image, Spec, Split, load
from tinygen.errors import ShapeError, UsageError
from tinygen.models import VAE, check_data, networks
from tinygen.models.variational import bounds
from tinygen.random import Stream

SPEC = Spec("noise", {"x": Image(3, 4, 1, "binary")})
Z = np.linspace(-12, 12, 6001)
DZ = Z[1] - Z[0]


def binary_images(n):
    return (Stream(0, "test images").uniform((n, 3, 4, 1)) < 0.3).astype(np.float32)


def small_model(**config):
    random.seed(0)
    return VAE(VAE.Config(**({"latent": 1, "hidden": 6, "batch_size": 8} | config)), SPEC)


def numpy_output(network, x):
    """Outputs of a network with one hidden layer of ReLUs, computed in NumPy."""
    w1, b1, w2, b2 = (p.numpy().astype("float64") for p in network.parameters())
    return np.maximum(x @ w1 + b1, 0) @ w2 + b2


def log_normal(z, mean, log_var):
    return -0.5 * ((z - mean) ** 2 / np.exp(log_var) + log_var + math.log(2 * math.pi))


def by_integration(model, x):
    """For each image: -log p(x), -ELBO, and the standard deviation of log p(x, z) - log q(z | x) under q."""
    flat = x.reshape(len(x), -1)
    mean, log_var = numpy_output(model.encoder, flat).T[:, :, None]
    logits = numpy_output(model.decoder, Z[:, None])
    log_joint = flat @ logits.T - np.logaddexp(0, logits).sum(1) + log_normal(Z, 0, 0)
    q = np.exp(log_normal(Z, mean, log_var))
    weight = log_joint - log_normal(Z, mean, log_var)
    elbo = (q * weight).sum(1) * DZ
    spread = np.sqrt((q * (weight - elbo[:, None]) ** 2).sum(1) * DZ)
    return -np.log(np.exp(log_joint).sum(1) * DZ), -elbo, spread


def test_bounds_agree_with_the_integrals():
    model = small_model(importance_samples=64)
    for p in model.decoder.parameters():
        p.assign(3 * p.numpy())  # so that the posterior is far from the encoder's q(z | x)
    x, repeats = binary_images(5), 400
    nll, neg_elbo, spread = by_integration(model, x)
    assert (neg_elbo - nll > 0.1).all()
    metrics = model.evaluate(Split(SPEC.fields, {"x": x.repeat(repeats, axis=0)}), seed=0)
    error = 4 * np.sqrt((spread**2).mean() / (5 * repeats))
    assert abs(metrics["neg_elbo_nats"] - neg_elbo.mean()) < error
    gap = (neg_elbo - nll).mean()
    assert -error < metrics["neg_is64_nats"] - nll.mean() < 0.1 * gap
    assert metrics["neg_elbo_nats"] == pytest.approx(metrics["reconstruction_nats"] + metrics["kl_nats"], rel=1e-6)
    mean, log_var = numpy_output(model.encoder, x.reshape(5, -1)).T
    assert metrics["kl_nats"] == pytest.approx((0.5 * (mean**2 + np.exp(log_var) - log_var - 1)).mean(), rel=1e-5)


def test_log_prob_is_a_bound_on_each_image():
    model, repeats = small_model(), 500
    for p in model.decoder.parameters():
        p.assign(3 * p.numpy())
    nll, neg_elbo, spread = by_integration(model, binary_images(5))
    x = binary_images(5).repeat(repeats, axis=0)
    elbo, bound = (-model.log_prob(x, seed=0, samples=k).reshape(5, repeats) for k in (1, 64))
    error = 4 * spread / np.sqrt(repeats)
    assert (np.abs(elbo.mean(axis=1) - neg_elbo) < error).all()
    assert (bound.mean(axis=1) > nll - error).all()
    assert (bound.mean(axis=1) - nll < 0.2 * (neg_elbo - nll)).all()


def test_log_prob_is_the_bound_of_the_evaluation():
    model, x = small_model(importance_samples=7), binary_images(9)
    metrics = model.evaluate(Split(SPEC.fields, {"x": x}), seed=3)
    one, many = (model.log_prob(x, seed=3, samples=k) for k in (None, 7))
    assert one.tobytes() == many.tobytes()
    np.testing.assert_array_equal(model.log_prob(x[:4], seed=3), one[:4])
    assert (model.log_prob(x, seed=4) != one).all()
    # The evaluation first draws one code of each image for the ELBO.
    stream = Stream(3, "eval")
    stream.normal((9, 4))
    expected = bounds.log_prob(model, x, samples=7, stream=stream, at_once=2000)
    assert metrics["neg_is7_nats"] == pytest.approx(-expected.mean(), rel=1e-6)


def test_the_bound_of_one_importance_sample_is_the_elbo():
    model = small_model(importance_samples=1)
    metrics = model.evaluate(Split(SPEC.fields, {"x": binary_images(1).repeat(20_000, axis=0)}), seed=0)
    spread = by_integration(model, binary_images(1))[2][0]
    assert abs(metrics["neg_is1_nats"] - metrics["neg_elbo_nats"]) < 4 * spread * math.sqrt(2 / 20_000)


def test_a_step_reports_the_elbo_and_minimises_the_beta_weighted_one():
    x, scalars, weights = binary_images(8), {}, {}
    for beta in (1.0, 4.0):
        model = small_model(beta=beta, warmup_steps=0)
        scalars[beta] = {name: float(value) for name, value in model.training_step(Batch(x=x)).items()}
        weights[beta] = model.encoder.parameters()[0].numpy()
    assert scalars[1.0] == scalars[4.0]
    assert (weights[1.0] != weights[4.0]).any()
    model = small_model()
    flat, noise = x.reshape(8, -1), Stream(0, "train").normal((8, 1))
    mean, log_var = np.split(numpy_output(model.encoder, flat), 2, axis=1)
    logits = numpy_output(model.decoder, mean + np.exp(0.5 * log_var) * noise)
    reconstruction = (np.logaddexp(0, logits) - flat * logits).sum(1).mean()
    kl = (0.5 * (mean**2 + np.exp(log_var) - log_var - 1)).sum(1).mean()
    assert scalars[1.0] == pytest.approx(
        {"neg_elbo_nats": reconstruction + kl, "reconstruction_nats": reconstruction, "kl_nats": kl}, rel=1e-5
    )


def test_codes_samples_and_active_units_match_their_definitions():
    model = small_model(latent=2)
    flat = binary_images(50).reshape(50, -1)
    codes = model.encode(binary_images(50))
    np.testing.assert_allclose(codes, numpy_output(model.encoder, flat)[:, :2], rtol=1e-4, atol=1e-6)
    noise = Stream(7, "sample").normal((4, 2))
    probabilities = 1 / (1 + np.exp(-numpy_output(model.decoder, noise)))
    np.testing.assert_allclose(model.sample(4, seed=7).reshape(4, -1), probabilities, rtol=1e-5)
    last = model.encoder.parameters()[2]
    for spreads, active in (((0.09, 0.09), 0), ((0.11, 0.09), 1), ((0.11, 0.11), 2)):
        factors = np.array([*spreads / model.encode(binary_images(50)).std(axis=0), 1, 1])
        last.assign(last.numpy() * factors)
        assert (
            model.evaluate(Split(SPEC.fields, {"x": binary_images(50)}), seed=0, thorough=False)["active_units"]
            == active
        )


def test_cosine_steps_let_the_learning_rate_fall_along_a_cosine():
    model = small_model(cosine_steps=4, learning_rate=0.5, warmup_steps=0)
    rates = []
    for _ in range(6):
        rates.append(model.optimizer.value("lr"))
        model.training_step(Batch(x=binary_images(8)))
    assert rates == pytest.approx([0.25 * (1 + math.cos(math.pi * min(i / 4, 1))) for i in range(6)])
    assert small_model(learning_rate=0.5, warmup_steps=0).optimizer.value("lr") == 0.5


def test_several_samples_train_on_the_importance_weighted_bound():
    x, samples = binary_images(8), 5
    model, flat = small_model(samples=samples), binary_images(8).reshape(8, -1)
    noise = Stream(0, "train").normal((8 * samples, 4))[:, :1].reshape(8, samples)
    mean, log_var = np.split(numpy_output(model.encoder, flat), 2, axis=1)
    z = mean + np.exp(0.5 * log_var) * noise
    logits = numpy_output(model.decoder, z.reshape(-1, 1)).reshape(8, samples, -1)
    log_joint = (flat[:, None] * logits - np.logaddexp(0, logits)).sum(2) + log_normal(z, 0, 0)
    weights = np.exp(log_joint - log_normal(z, mean, log_var))
    before = model.state_dict()["encoder.layers.1.weight"].copy()
    scalars = {name: float(value) for name, value in model.training_step(Batch(x=x)).items()}
    assert scalars == pytest.approx({"neg_is5_nats": -np.log(weights.mean(axis=1)).mean()}, rel=1e-5)
    assert (model.state_dict()["encoder.layers.1.weight"] != before).any()


def test_thousands_of_samples_are_decoded_in_chunks(monkeypatch):
    """The bound of 5000 samples is close to the likelihood, and at most 2000 codes are decoded at once."""
    model, x, largest = small_model(importance_samples=5000), binary_images(3), []
    monkeypatch.setattr(model, "likelihood", lambda z: largest.append(len(z)) or VAE.likelihood(model, z))
    metrics = model.evaluate(Split(SPEC.fields, {"x": x}), seed=0)
    assert max(largest) <= 2000
    nll, _, spread = by_integration(model, x)
    assert abs(metrics["neg_is5000_nats"] - nll.mean()) < 4 * spread.max() / np.sqrt(5000)


def test_a_weighted_kl_is_refused_with_several_samples():
    with pytest.raises(UsageError, match="annealing_steps is 9; it must be 0 if samples is above 1"):
        small_model(samples=2, annealing_steps=9)
    with pytest.raises(UsageError, match="beta is 2; it must be 1 if samples is above 1"):
        small_model(samples=2, beta=2.0)


# Other kinds of images


def test_colour_images_have_bits_per_dimension_of_a_mixture_of_logistics():
    """A trial of `tinygen verify` tests that the model learns them better than independent pixels do."""
    data = load("coloured-digits8x8")
    config = VAE.Config(components=2, hidden=8, latent=3)
    model = VAE(config, check_data(VAE, data, config).spec)
    assert (model.pixels.name, data.spec.x.kind) == ("logistic-mixture", "rgb")
    metrics = model.evaluate(data.test, seed=0, thorough=False)
    assert metrics["neg_elbo_bits_per_dim"] == pytest.approx(metrics["neg_elbo_nats"] / (192 * math.log(2)))


def apply_layers(layers, x):
    for layer in layers:
        x = layer(x)
    return x.numpy()


def test_decoders_of_colours_make_no_checkerboard():
    """Both enlargements start as bilinear ones with mixed channels; the last keeps a constant image constant."""
    channels = 4
    _, _, _, _, _, inner, _, repeat, outer = networks.decoder("conv", (8, 8, 3), 4, 2, channels=channels).layers
    for part, inputs, mixture in (
        ([inner], 2 * channels, inner.weight.numpy()[1, 1].T / (9 / 16)),
        ([repeat, outer], channels, outer.weight.numpy()[1, 1] / (4 / 16)),
    ):
        x = Stream(0, "features").normal((2, 5, 6, inputs))
        expected = tg.functional.resize_bilinear2d(x, (10, 12)) @ mixture
        np.testing.assert_allclose(apply_layers(part, x)[:, 1:-1, 1:-1], expected[:, 1:-1, 1:-1], atol=1e-5)
    outer.weight.assign(Stream(0, "weights").normal(outer.weight.shape))
    even = apply_layers([repeat, outer], np.ones((1, 5, 5, channels), np.float32))[:, 1:-1, 1:-1]
    np.testing.assert_allclose(even, np.broadcast_to(even[:, :1, :1], even.shape), rtol=1e-4)


def test_a_broadcast_decoder_computes_each_pixel_from_the_code_and_its_place():
    decoder = networks.decoder("broadcast", (3, 5, 2), 4, 2, channels=4)
    codes = Stream(0, "codes").normal((2, 2))
    row, column = 2, 1
    x = codes @ decoder.of_code.weight.numpy() + np.array([1.0, -0.5]) @ decoder.of_place.weight.numpy()
    for layer in (decoder.rest.layers[1], decoder.rest.layers[3], decoder.rest.layers[5]):
        x = np.maximum(x, 0) @ layer.weight.numpy() + layer.bias.numpy()
    images = decoder(codes).numpy()
    assert images.shape == (2, 3, 5, 2)
    np.testing.assert_allclose(images[:, row, column], x, atol=1e-5)


def grey_images(n=8):
    return Stream(3, "grey").integers(256, n * 12).reshape(n, 3, 4, 1).astype(np.uint8)


def test_grey_images_are_binarised_unless_a_likelihood_of_grey_values_is_configured():
    data = Dataset.from_arrays("greys", grey_images(40))
    for likelihood in (None, "bernoulli"):
        assert check_data(VAE, data, VAE.Config(likelihood=likelihood)).spec.x.binarisation == "dynamic"
    assert check_data(VAE, data).spec.x.binarisation == "dynamic"
    for likelihood in ("logistic-mixture", "categorical", "normal", "continuous-bernoulli"):
        assert check_data(VAE, data, VAE.Config(likelihood=likelihood)) is data


@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("likelihood", ["logistic-mixture", "categorical", "normal", "continuous-bernoulli"])
def test_only_discrete_likelihoods_give_bits_and_others_give_density_nats(likelihood, samples):
    data = Dataset.from_arrays("greys", grey_images(40))
    config = VAE.Config(likelihood=likelihood, latent=2, hidden=5, samples=samples, importance_samples=2)
    model = VAE(config, data.spec)
    scalars, metrics = model.training_step(data.train.batch(slice(8))), model.evaluate(data.test, seed=0)
    discrete = likelihood in ("logistic-mixture", "categorical")
    unit = "nats" if discrete else "density_nats"
    expected = {f"neg_elbo_{unit}", f"neg_is2_{unit}", f"reconstruction_{unit}", "kl_nats", "active_units"}
    bits = {"neg_elbo_bits_per_dim", "neg_is2_bits_per_dim"} if discrete else set()
    assert metrics.keys() == expected | bits
    assert scalars.keys() == (
        {f"neg_is3_{unit}"} if samples > 1 else {f"neg_elbo_{unit}", f"reconstruction_{unit}", "kl_nats"}
    )
    images = model.sample(3, seed=0)
    assert (images.shape, images.dtype) == ((3, 3, 4, 1), np.float32)


def test_likelihoods_of_many_parameters_are_evaluated_in_smaller_chunks(monkeypatch):
    data = Dataset.from_arrays("greys", grey_images(40))
    config = VAE.Config(likelihood="categorical", latent=2, hidden=5, importance_samples=7)
    model, largest = VAE(config, data.spec), []
    metrics = model.evaluate(data.test, seed=0)
    monkeypatch.setattr(bounds, "PARAMETERS_AT_ONCE", 3 * 12 * 256)
    monkeypatch.setattr(model, "likelihood", lambda z: largest.append(len(z)) or VAE.likelihood(model, z))
    assert model.evaluate(data.test, seed=0) == pytest.approx(metrics, rel=1e-5)
    assert max(largest) == 3


def test_the_scale_of_a_normal_likelihood_is_trained_and_saved():
    data = Dataset.from_arrays("greys", grey_images(40))
    model = VAE(VAE.Config(likelihood="normal", latent=2, hidden=5), data.spec)
    before = model.state_dict()["pixels.log_scale"].copy()
    model.training_step(data.train.batch(slice(8)))
    assert (model.state_dict()["pixels.log_scale"] != before).all()


# Networks of the caller's own


class LinearNetwork(nn.Module):
    """A linear layer on flattened examples, with outputs (N, *shape)."""

    def __init__(self, inputs, outputs, shape):
        self.layer, self.shape = nn.Linear(inputs, outputs), shape

    def forward(self, x):
        return self.layer(x.reshape(x.shape[0], -1)).reshape(x.shape[0], *self.shape)


def test_networks_of_the_callers_own_are_trained():
    data = Dataset.from_arrays("greys", np.tile(grey_images(40), (1, 1, 1, 3)))
    config = VAE.Config(latent=2, components=1, batch_size=8)
    model = VAE(config, data.spec, encoder=LinearNetwork(36, 4, (4,)), decoder=LinearNetwork(2, 120, (3, 4, 10)))
    before = {name: array.copy() for name, array in model.state_dict().items()}
    model.training_step(data.train.batch(slice(8)))
    trained = model.state_dict()
    assert {"encoder.layer.weight", "decoder.layer.weight"} <= trained.keys()
    assert all((trained[f"{part}.layer.weight"] != before[f"{part}.layer.weight"]).any() for part in NETWORKS)
    assert model.sample(2, seed=0).shape == (2, 3, 4, 3)
    assert model.encode(data.test.batch(slice(None)).x).shape == (4, 2)


NETWORKS = ("encoder", "decoder")
MEANS = "it must map (N, 3, 4, 1) to (N, 4): means and log variances of 2 latent dimensions"
LOGITS = "it must map (N, 2) to (N, 3, 4, 1): 1 for each pixel, as the likelihood bernoulli needs"


@pytest.mark.parametrize(
    ("networks", "message"),
    [
        ({"encoder": lambda: LinearNetwork(12, 2, (2,))}, f"encoder: {MEANS}; its outputs are (N, 2)"),
        ({"encoder": lambda: LinearNetwork(13, 4, (4,))}, f"encoder: {MEANS}; it does not take them: "),
        ({"decoder": lambda: LinearNetwork(2, 12, (12,))}, f"decoder: {LOGITS}; its outputs are (N, 12)"),
        ({"decoder": lambda: LinearNetwork(2, 36, (3, 4, 3))}, f"decoder: {LOGITS}; its outputs are (N, 3, 4, 3)"),
        ({"decoder": lambda: LinearNetwork(3, 12, (3, 4, 1))}, f"decoder: {LOGITS}; it does not take them: "),
    ],
)
def test_networks_that_do_not_fit_are_refused(networks, message):
    with pytest.raises(ShapeError) as refusal:
        VAE(VAE.Config(latent=2), SPEC, **{name: make() for name, make in networks.items()})
    assert str(refusal.value).startswith(message)
    assert "\n" not in str(refusal.value)
