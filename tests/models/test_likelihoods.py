"""Likelihoods of images: total probability one, gradients, means, and which likelihood fits which images."""

import re

import numpy as np
import pytest

import tinygen as tg
from tinygen.data import Image
from tinygen.errors import UsageError
from tinygen.models.variational.likelihoods import FAMILIES, NormalPixels, default_likelihood, likelihood_of

BINARY, GREY, RGB = (Image(2, 3, channels, kind) for channels, kind in ((1, "binary"), (1, "grey"), (3, "rgb")))
FEW = Image(2, 3, 3, "rgb", levels=4)
REAL = Image(2, 3, 3, "rgb", levels=0)
EACH = [
    ("bernoulli", BINARY),
    ("continuous-bernoulli", GREY),
    ("continuous-bernoulli", REAL),
    ("normal", GREY),
    ("normal", REAL),
    ("logistic-mixture", GREY),
    ("logistic-mixture", RGB),
    ("categorical", GREY),
    ("categorical", FEW),
]
each_likelihood = pytest.mark.parametrize(("name", "field"), EACH, ids=lambda value: str(value))


def float64_likelihood(name, field, components=2):
    return likelihood_of(field, name, components).astype("float64")


def outputs_of(likelihood, n, pixels=(2, 3), seed=0):
    return np.random.default_rng(seed).standard_normal((n, *pixels, likelihood.outputs))


def images_of(field, n, pixels=(2, 3)):
    """Images of values that the field can have."""
    rng, shape = np.random.default_rng(7), (n, *pixels, field.channels)
    return (
        rng.integers(0, field.value_count, shape) / (field.value_count - 1) if field.value_count else rng.random(shape)
    )


def log_prob(likelihood, outputs, x):
    return likelihood.distribution(tg.tensor(outputs, "float64")).log_prob(np.asarray(x, "float64")).numpy()


def log_prob_of_pixel(likelihood, outputs, values):
    """log p (n,) of each of the values (n, channels) of one pixel."""
    return log_prob(likelihood, np.repeat(outputs, len(values), axis=0), np.asarray(values)[:, None, None])


def every_value(count, channels):
    steps = np.arange(count) / (count - 1)
    return np.stack(np.meshgrid(*[steps] * channels, indexing="ij"), axis=-1).reshape(-1, channels)


def test_every_likelihood_is_tested():
    assert {name for name, _ in EACH} == set(FAMILIES)


@pytest.mark.parametrize(
    ("name", "field"), [each for each in EACH if FAMILIES[each[0]].discrete and each[1] is not RGB], ids=str
)
def test_probabilities_of_a_pixels_values_sum_to_one_and_have_the_mean(name, field):
    likelihood = float64_likelihood(name, field)
    outputs = outputs_of(likelihood, 1, (1, 1))
    values = every_value(field.value_count, field.channels)
    p = np.exp(log_prob_of_pixel(likelihood, outputs, values))
    assert p.sum() == pytest.approx(1, abs=1e-12)
    mean = likelihood.mean(tg.tensor(outputs, "float64")).numpy().ravel()
    # The mean of a mixture ignores the rounding to grey values, by which a value changes by at most half a grey step.
    np.testing.assert_allclose(
        (p[:, None] * values).sum(0), mean, atol=1e-12 if name != "logistic-mixture" else 1 / 510
    )


def test_a_colour_mixture_summed_over_green_and_blue_is_the_grey_mixture_of_red():
    """p(r, g, b) = p(r) p(g | r) p(b | r, g) (Salimans et al. 2017), summed for six reds over all greens and blues."""
    likelihood = float64_likelihood("logistic-mixture", RGB, components=1)
    outputs = outputs_of(likelihood, 1, (1, 1))
    steps = np.arange(256) / 255

    def over_blue(red, green):
        colours = np.stack([np.full(256, red), np.full(256, green), steps], axis=1)
        return np.exp(log_prob_of_pixel(likelihood, outputs, colours)).sum()

    marginal = {(r, g): over_blue(r, g) for r in steps[::51] for g in steps}
    likelihood_of_red = float64_likelihood("logistic-mixture", GREY, components=1)
    red_parameters = outputs[..., [0, 1, 4]]
    p_red = np.exp(log_prob_of_pixel(likelihood_of_red, red_parameters, steps[:, None]))
    assert p_red.sum() == pytest.approx(1, abs=1e-12)
    for r in steps[::51]:
        assert sum(marginal[r, g] for g in steps) == pytest.approx(p_red[round(255 * r)], rel=1e-10)


def test_densities_integrate_to_one():
    normal = float64_likelihood("normal", Image(1, 1, 1, "grey"))
    outputs = np.full((1, 1, 1, 1), 0.4)
    x = np.linspace(-3, 4, 20_001)
    density = np.exp(log_prob_of_pixel(normal, outputs, x[:, None]))
    assert density.sum() * (x[1] - x[0]) == pytest.approx(1, abs=1e-9)
    mean = normal.mean(tg.tensor(outputs, "float64")).numpy().item()
    assert (x * density).sum() * (x[1] - x[0]) == pytest.approx(mean, abs=1e-9)
    assert ((x - mean) ** 2 * density).sum() * (x[1] - x[0]) == pytest.approx(normal.std.numpy().item() ** 2, rel=1e-6)
    nodes, weights = np.polynomial.legendre.leggauss(100)
    continuous = float64_likelihood("continuous-bernoulli", Image(1, 1, 1, "grey"))
    density = np.exp(log_prob_of_pixel(continuous, np.full((1, 1, 1, 1), -2.3), (nodes[:, None] + 1) / 2))
    assert (density * weights / 2).sum() == pytest.approx(1, abs=1e-12)


@each_likelihood
def test_pixels_and_examples_are_independent(name, field):
    """log p of an image is the sum over its pixels, one number for each image."""
    likelihood = float64_likelihood(name, field)
    outputs, x = outputs_of(likelihood, 4), images_of(field, 4)
    log_p = log_prob(likelihood, outputs, x)
    assert log_p.shape == (4,)
    by_pixel = log_prob(likelihood, outputs.reshape(24, 1, 1, -1), x.reshape(24, 1, 1, -1)).reshape(4, 6)
    np.testing.assert_allclose(log_p, by_pixel.sum(1), rtol=1e-12)


@each_likelihood
def test_gradients_match_finite_differences(name, field):
    likelihood = float64_likelihood(name, field)
    outputs, x = outputs_of(likelihood, 3), images_of(field, 3)
    leaf = tg.tensor(outputs, "float64", requires_grad=True)
    leaves = [leaf, *likelihood.parameters()]
    gradients = tg.grad(likelihood.distribution(leaf).log_prob(x).sum(), leaves)
    rng, step = np.random.default_rng(1), 1e-5
    for each, gradient in zip(leaves, gradients, strict=True):
        at, direction = each.numpy().copy(), rng.standard_normal(each.shape)
        ends = []
        for sign in (1, -1):
            moved = at + sign * step * direction
            if each is leaf:
                ends.append(log_prob(likelihood, moved, x).sum())
            else:
                each.assign(moved)
                ends.append(log_prob(likelihood, outputs, x).sum())
                each.assign(at)
        assert (ends[0] - ends[1]) / (2 * step) == pytest.approx((gradient.numpy() * direction).sum(), rel=1e-6)


@each_likelihood
def test_means_have_the_shape_of_images_and_lie_in_the_unit_range(name, field):
    likelihood = float64_likelihood(name, field)
    mean = likelihood.distribution(tg.tensor(3 * outputs_of(likelihood, 50), "float64")).mean.numpy()
    assert mean.shape == (50, 2, 3, field.channels)
    assert ((mean >= 0) & (mean <= 1)).all()
    assert mean.std() > 0.05


def test_the_mean_of_a_colour_mixture_is_that_of_its_samples():
    from tinygen.distributions import DiscretizedLogisticMixture
    from tinygen.random import Stream

    parameters = np.tile(
        np.concatenate(
            [
                np.float64([0.3, -0.2]),
                [-0.4, 0.2, 0.1, -0.1, 0.0, 0.3],
                np.full(6, -2.5),
                [0.5, -0.5, 0.4, 0.2, -0.3, 0.1],
            ]
        ),
        (40_000, 1),
    )
    mixture = DiscretizedLogisticMixture(tg.tensor(parameters, "float64"), 3)
    x = mixture.sample(stream=Stream(0, "mine")).numpy()
    error = 4 * x.std(0) / np.sqrt(len(x)) + 0.5 / 255
    assert (np.abs(x.mean(0) - mixture.mean.numpy()[0]) < error).all()


def test_a_normal_has_a_learnt_scale_for_each_channel_with_a_floor():
    likelihood = float64_likelihood("normal", RGB)
    assert [parameter.shape for parameter in likelihood.parameters()] == [(3,)]
    np.testing.assert_allclose(likelihood.std.numpy(), NormalPixels.START + NormalPixels.FLOOR)
    likelihood.log_scale.assign(np.full(3, -100.0))
    np.testing.assert_allclose(likelihood.std.numpy(), np.full(3, 1 / 255 / np.sqrt(12)))


# Which likelihood fits which images


def test_the_natural_likelihood_follows_from_the_field():
    assert [default_likelihood(field) for field in (BINARY, GREY, RGB, FEW, REAL)] == [
        "bernoulli",
        "logistic-mixture",
        "logistic-mixture",
        "categorical",
        "normal",
    ]
    for field in (BINARY, GREY, RGB, FEW, REAL):
        assert likelihood_of(field).name == default_likelihood(field)


@pytest.mark.parametrize(
    ("name", "field", "message"),
    [
        ("bernoulli", RGB, "bernoulli is for binary images, and the data are 2×3 rgb images: use one of continuous-"),
        ("bernoulli", GREY, "bernoulli is for binary images"),
        ("logistic-mixture", REAL, "is for 8-bit grey or rgb images, and the data are 2×3 rgb images of any values"),
        ("logistic-mixture", FEW, "2×3 rgb images of 4 values: use one of continuous-bernoulli, normal, categorical"),
        ("logistic-mixture", BINARY, "the data are 2×3 binary images: use one of bernoulli"),
        ("categorical", REAL, "categorical is for grey or rgb images of at most 256 values"),
        ("categorical", BINARY, "use one of bernoulli"),
        ("normal", BINARY, "normal is for grey or rgb images"),
        ("continuous-bernoulli", BINARY, "use one of bernoulli"),
    ],
)
def test_a_likelihood_that_does_not_fit_the_images_is_refused(name, field, message):
    with pytest.raises(UsageError, match=re.escape(message)) as refusal:
        likelihood_of(field, name)
    assert "\n" not in str(refusal.value)
