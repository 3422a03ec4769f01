"""Normalising flows: determinants against numeric Jacobians, inverses, densities that integrate to one, units."""

import itertools
import math

import numpy as np
import pytest

from tests.models.flows import log_dets, points, small_flow
from tinygen import models, random
from tinygen.autograd import no_grad
from tinygen.data import Batch, Dataset, Image, Points, Split, load
from tinygen.errors import UsageError
from tinygen.metrics.points import log_normal_fit
from tinygen.models.flows.layers import BatchNorm
from tinygen.random import Stream

OF_POINTS = [("realnvp", {}), ("maf", {}), ("maf", {"components": 3, "flows": 1})]
every_flow_of_points = pytest.mark.parametrize(("name", "config"), OF_POINTS)
CASES = [
    ("realnvp", Points(5), {}),
    ("realnvp", Points(1), {}),
    ("realnvp", Image(3, 5, 1, "grey"), {"scales": 1}),
    ("realnvp", Image(4, 4, 1, "grey"), {"scales": 3, "couplings": 1}),
    ("realnvp", Image(2, 4, 3, "rgb"), {"scales": 2}),
    ("maf", Points(5), {}),
    ("maf", Points(1), {}),
    ("maf", Points(5), {"flows": 3, "layers": 2}),
    ("maf", Image(2, 2, 3, "rgb"), {"margin": 1e-3}),
]
every_case = pytest.mark.parametrize(("name", "field", "config"), CASES)


def examples(field, n=20):
    if isinstance(field, Points):
        return points(n, field.dimensions)
    return np.rint(255 * Stream(0, "images").uniform((n, *field.shape))) / np.float32(255)


@every_case
def test_the_log_determinant_is_that_of_the_numeric_jacobian(name, field, config):
    model, x = small_flow(name, field, **config), examples(field, 3)
    for each in model.continuous(x.astype("float64"), 0.3):
        own, numeric = log_dets(model.flow, each[None])
        assert own == pytest.approx(numeric, abs=1e-6 * model.size)
        assert abs(own) > 0.1


@every_case
def test_decoding_is_the_inverse_of_encoding(name, field, config):
    model, x = small_flow(name, field, **config), examples(field)
    codes = model.encode(x)
    assert codes.shape == (20, model.size)
    assert np.ptp(codes) > 0.5
    np.testing.assert_allclose(model.decode(codes), x, rtol=1e-5, atol=1e-5)
    if isinstance(field, Points):
        drawn = Stream(0, "codes").normal(codes.shape)
        np.testing.assert_allclose(model.encode(model.decode(drawn)), drawn, rtol=1e-3, atol=1e-3)


@every_flow_of_points
def test_the_density_integrates_to_one_and_is_that_of_the_samples(name, config):
    model = small_flow(name, Points(2), **config)
    side = np.linspace(-20, 20, 401, dtype=np.float32)
    places = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    with no_grad():
        p = np.exp(-model.nats(places, np.zeros_like(places)).numpy().astype("float64")) * 0.1**2
    assert p.sum() == pytest.approx(1, abs=0.01)
    samples = model.sample(10_000, seed=0)
    for direction in np.float32([[1, 0], [0, 1], [1, 1], [1, -1]]):
        middle = np.median(samples @ direction)
        assert p[places @ direction < middle].sum() == pytest.approx(0.5, abs=0.03)


@every_flow_of_points
def test_the_density_of_scaled_and_shifted_points_is_that_of_the_points_over_the_scale(name, config):
    x, scale = points(200, 2), np.float32([100, 1e-3])
    log_p = []
    for each in (x, x * scale + np.float32([5000, 0])):
        model = small_flow(name, Points(2), **config)
        split = Split(model.spec.fields, {"x": each})
        model.prepare(Dataset(model.spec, split, split, split), seed=0)
        log_p.append(model.log_prob(each))
    np.testing.assert_allclose(log_p[1], log_p[0] - np.log(scale).sum(), rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("name", ["realnvp", "maf"])
def test_a_coordinate_that_does_not_vary_stays_finite(name):
    x = points(100, 3)
    x[:, 1] = 7
    model = small_flow(name, Points(3))
    split = Split(model.spec.fields, {"x": x})
    model.prepare(Dataset(model.spec, split, split, split), seed=0)
    assert np.isfinite(model.log_prob(x)).all()


@pytest.mark.parametrize("name", ["realnvp", "maf"])
def test_the_flow_without_training_is_the_normal_distribution_of_independent_coordinates(name):
    system, x = models.get(name), points(500, 2)
    model = system(system.Config(), load("banana").spec)
    split = Split(model.spec.fields, {"x": x})
    model.prepare(Dataset(model.spec, split, split, split), seed=0)
    for module in model.modules():
        if isinstance(module, BatchNorm):
            module.running_var[...] = 1 - module.eps
    expected = sum(log_normal_fit(x[:, [i]], x[:, [i]]) for i in range(2))
    np.testing.assert_allclose(model.log_prob(x), expected, rtol=1e-4, atol=1e-4)


# Levels of images


def worlds(field):
    """All images of a field of few pixels and levels."""
    values = np.arange(field.value_count) / (field.value_count - 1)
    return np.array(list(itertools.product(values, repeat=math.prod(field.shape))), np.float32).reshape(
        -1, *field.shape
    )


@pytest.mark.parametrize("name", ["realnvp", "maf"])
def test_the_probabilities_of_all_levels_sum_to_one_and_the_mean_over_noise_is_a_lower_bound(name):
    """The probability of levels is the integral of the density over their cell: here the mean over a grid of noise.

    The margin is small, as the flow also gives some probability to logits beyond those of 0 and 1.
    """
    config = {"margin": 1e-3} | ({"scales": 1} if name == "realnvp" else {})
    model = small_flow(name, Image(1, 2, 1, "grey", levels=3), **config)
    x, side = worlds(model.spec.x), (np.arange(80, dtype=np.float32) + 0.5) / 80
    cells = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    assert len(x) == 9
    with no_grad():
        nats = model.nats(x.repeat(len(cells), axis=0), np.tile(cells, (9, 1))).numpy().astype("float64")
    log_p = -nats.reshape(9, len(cells))
    p = np.exp(log_p).mean(axis=1)
    assert p.sum() == pytest.approx(1, abs=0.02)
    assert (log_p.mean(axis=1) < np.log(p)).all()
    assert p.max() > 1.5 * p.min()


def test_several_draws_of_noise_give_the_logarithm_of_their_mean():
    model = small_flow("maf", Image(1, 2, 1, "grey", levels=3))
    x, stream = worlds(model.spec.x), Stream(5, "eval")
    with no_grad():
        each = [-model.nats(x, stream.uniform((9, 4))[:, :2]).numpy() for _ in range(3)]
    np.testing.assert_allclose(model.log_prob(x, seed=5), each[0], rtol=1e-5)
    np.testing.assert_allclose(model.log_prob(x, seed=5, samples=3), np.log(np.exp(each).mean(axis=0)), rtol=1e-5)


def test_bits_per_dimension_are_nats_of_levels_over_the_values():
    field = Image(2, 4, 1, "grey", levels=17)
    model, x = small_flow("realnvp", field), np.rint(16 * Stream(0, "x").uniform((50, 2, 4, 1))) / np.float32(16)
    numbers = model.evaluate(Split(model.spec.fields, {"x": x}), seed=3)
    assert numbers["neg_elbo_nats"] == pytest.approx(-model.log_prob(x, seed=3).mean(), rel=1e-6)
    assert numbers["neg_elbo_bits_per_dim"] == pytest.approx(numbers["neg_elbo_nats"] / 8 / math.log(2))
    drawn = model.sample(50, seed=0)
    np.testing.assert_array_equal(np.rint(16 * drawn) / np.float32(16), drawn)


def test_images_of_real_values_have_an_exact_density():
    model = small_flow("maf", Image(2, 2, 1, "grey", levels=0))
    x = Stream(0, "x").uniform((30, 2, 2, 1))
    assert not model.log_prob_is_bound
    np.testing.assert_array_equal(model.log_prob(x, seed=0), model.log_prob(x, seed=1))
    numbers = model.evaluate(Split(model.spec.fields, {"x": x}), seed=0)
    assert numbers == {"nll_density_nats": pytest.approx(-model.log_prob(x).mean(), rel=1e-6)}


# Batch normalisation


def test_batch_normalisation_has_the_determinant_of_its_slope_at_every_pixel():
    layer, x = BatchNorm(3), 2 * Stream(0, "x").normal((6, 4, 5, 3)) + 1
    layer.log_gain.assign(np.float32([0.1, -0.3, 0.5]))
    layer.offset.assign(np.float32([1, 2, 3]))
    y, log_det = layer(x)
    rows = y.numpy().reshape(-1, 3)
    np.testing.assert_allclose(rows.mean(axis=0), [1, 2, 3], atol=1e-5)
    np.testing.assert_allclose(rows.std(axis=0), np.exp([0.1, -0.3, 0.5]), rtol=1e-4)
    slope = np.exp([0.1, -0.3, 0.5]) / x.reshape(-1, 3).std(axis=0)
    assert float(log_det) == pytest.approx(20 * np.log(slope).sum(), rel=1e-5)
    with no_grad():
        y, _ = layer.eval()(x)
        np.testing.assert_allclose(layer.inverse(y.numpy()), x, rtol=1e-5, atol=1e-5)


def test_a_model_on_a_gpu_agrees_with_the_cpu(cuda):
    for name, field, config in (
        ("realnvp", Image(4, 4, 1, "grey"), {"scales": 2}),
        ("maf", Points(3), {"components": 2}),
    ):
        numbers, drawn = [], []
        for device in ("cpu", cuda):
            model, x = small_flow(name, field, device=device, **config), examples(field)
            split = Split(model.spec.fields, {"x": x})
            model.prepare(Dataset(model.spec, split, split, split), seed=0)
            random.seed(0)
            model.train()
            scalars = [float(value) for value in model.training_step(Batch(x=x).to(device)).values()]
            numbers.append([*scalars, *model.evaluate(split, seed=0).values()])
            drawn.append([model.sample(4, seed=0), model.encode(x), model.log_prob(x)])
        np.testing.assert_allclose(*numbers, rtol=1e-3)
        for of_cpu, of_gpu in zip(*drawn, strict=True):
            np.testing.assert_allclose(of_gpu, of_cpu, rtol=2e-2, atol=2e-2)


# What users see


@pytest.mark.parametrize("margin", [0, 0.5, 0.7])
def test_margins_without_logits_are_refused(margin):
    with pytest.raises(
        UsageError, match=f"^margin is {margin:g}; it must be above 0, where logits end, and below 0.5$"
    ):
        models.get("maf").Config(margin=margin)


@pytest.mark.parametrize("name", ["realnvp", "maf"])
def test_batch_normalisation_may_be_left_out(name):
    model = small_flow(name, Points(3), batch_norm=False)
    assert not [module for module in model.modules() if isinstance(module, BatchNorm)]
    assert len(model.flow.layers) == {"realnvp": 1 + 4, "maf": 2 + 2}[name]


@pytest.mark.parametrize("name", ["realnvp", "maf"])
def test_figures_show_points_on_their_way_and_codes_of_images(name):
    model = small_flow(name, Points(2))
    (clouds,) = model.figures(None, seed=1)
    assert 4 <= len(clouds.images) <= 6
    stages = model.stages(1)
    np.testing.assert_array_equal(stages[-1], model.sample(len(stages[0]), seed=1))
    field = Image(4, 4, 1, "grey")
    model, x = small_flow(name, field), examples(field, 10)
    split = Split(model.spec.fields, {"x": x})
    codes, *others = model.figures(Dataset(model.spec, split, split, split), seed=1)
    np.testing.assert_array_equal(codes.images[:10], x)
    assert ((codes.images > 0) & (codes.images <= 1)).any()
    assert len(others) == (1 if name == "realnvp" else 0)
