"""The mixture of discretised logistics: normalisation, far tails in float32, samples against probabilities.

Values by the definition, and gradients of higher order, are tested in the op table (`tests/ops/composites.py`).
"""

import math

import numpy as np
import pytest

import tinygen as tg
from tinygen.distributions import DiscretizedLogisticMixture
from tinygen.errors import ShapeError
from tinygen.random import Stream

GREYS = np.arange(256) / 255


def random_parameters(channels, components, dtype="float64"):
    """Random parameters of one pixel, with means within the range and scales from narrow to wide."""
    draw = np.random.default_rng(channels).standard_normal
    parts = [draw((1, components)), draw((channels, components)) / 2, draw((channels, components)) - 2]
    return np.concatenate([*parts, draw((channels * (channels - 1) // 2, components))]).astype(dtype).ravel()


def probabilities(p, channels, before=(), dtype="float64"):
    """The probability (256,) of each value of the last channel together with the `before` values of those before."""
    x = np.concatenate([np.broadcast_to(np.array(before), (256, len(before))), GREYS[:, None]], axis=1).astype(dtype)
    log_prob = DiscretizedLogisticMixture(tg.tensor(np.tile(p, (256, 1)), dtype), channels).log_prob(x)
    assert log_prob.dtype == dtype
    return np.exp(log_prob.numpy().astype("float64"))


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 2e-6), ("float64", 1e-12)])
@pytest.mark.parametrize("log_scale", [-20.0, -7.0, -3.0, 0.0, 6.0])
@pytest.mark.parametrize("mean", [-3.0, -1.0, 0.1234, 1.002])
def test_the_probabilities_of_the_256_values_sum_to_one(dtype, tolerance, log_scale, mean):
    p = np.array([0.3, -0.4, mean, 0.5, log_scale, log_scale + 1])
    assert probabilities(p, 1, dtype=dtype).sum() == pytest.approx(1, abs=tolerance)


def test_summing_over_the_last_channel_gives_the_mixture_of_the_others():
    """For RGB: blue is summed out, then green; the mixture of red sums to 1."""
    p = random_parameters(3, 2)
    parts = p.reshape(10, 2)
    two, one = parts[[0, 1, 2, 4, 5, 7]].ravel(), parts[[0, 1, 4]].ravel()
    of_red, of_green = probabilities(one, 1), probabilities(two, 2, [GREYS[70]])
    assert of_red.sum() == pytest.approx(1, abs=1e-12)
    assert of_green.sum() == pytest.approx(of_red[70], rel=1e-10)
    for green in (0, 128, 255):
        of_blue = probabilities(p, 3, [GREYS[70], GREYS[green]])
        assert of_blue.sum() == pytest.approx(of_green[green], rel=1e-10)


@pytest.mark.parametrize("mean", [-1e3, -1.0, 0.0, 0.7, 1e3])
@pytest.mark.parametrize("log_scale", [-1e3, -7.0, 0.0, 30.0])
def test_far_tails_in_float32_are_finite_and_agree_with_float64(mean, log_scale):
    results = []
    for dtype in ("float32", "float64"):
        p = tg.tensor(np.tile([50.0, -50.0, mean, -mean, log_scale, log_scale], (3, 1)), dtype, requires_grad=True)
        y = DiscretizedLogisticMixture(p, 1).log_prob(np.array([[0.0], [0.4], [1.0]], dtype))
        results.append([y.numpy(), tg.grad(y.sum(), [p])[0].numpy()])
        assert all(np.isfinite(a).all() for a in results[-1])
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-4)


def test_log_scales_below_minus_seven_count_as_minus_seven():
    at, below, above = (probabilities(np.array([0.0, 0.1, log_scale]), 1) for log_scale in (-7.0, -7.5, -6.5))
    np.testing.assert_array_equal(below, at)
    assert (above != at).any()


def test_equal_narrow_components_on_all_values_give_each_a_probability_of_1_in_256():
    """A bin extends 4.3 scales to either side, which is 97 % of a component."""
    p = np.concatenate([np.zeros(256), 2 * GREYS - 1, np.full(256, -7.0)])
    np.testing.assert_allclose(probabilities(p, 1), 1 / 256, rtol=0.03)


def test_samples_are_grey_values_with_their_probabilities():
    n, p = 40_000, np.array([0.3, -0.4, -0.9, 0.5, -2.0, -1.0])
    x = DiscretizedLogisticMixture(tg.tensor(np.tile(p, (n, 1)), requires_grad=True), 1).sample(
        stream=Stream(0, "mine")
    )
    assert (x.shape, x.dtype, x.requires_grad) == ((n, 1), np.float32, False)
    values = np.rint(x.numpy() * 255)
    np.testing.assert_array_equal(x.numpy(), values.astype(np.float32) / np.float32(255))
    counts, expected = np.bincount(values.ravel().astype(int), minlength=256), n * probabilities(p, 1)
    assert counts.size == 256
    frequent = expected > 5
    assert counts[0] > 1000, "the outermost value has the whole tail"
    assert (np.abs(counts - expected)[frequent] < 5 * np.sqrt(expected[frequent])).all()
    chi = ((counts - expected)[frequent] ** 2 / expected[frequent]).sum()
    assert abs(chi - frequent.sum()) < 4 * math.sqrt(2 * frequent.sum())


def test_rgb_samples_match_an_independent_sampler():
    """Means of x, x^2, products of channels and log p agree with those of logistic samples of NumPy, rounded."""
    n, p = 40_000, random_parameters(3, 2)
    mixture = DiscretizedLogisticMixture(tg.tensor(np.tile(p, (n, 1)), "float64"), 3)
    ours = mixture.sample(stream=Stream(0, "mine")).numpy()
    rng = np.random.default_rng(0)
    parts = p.reshape(10, 2)
    k = (rng.random(n) < 1 / (1 + np.exp(parts[0, 0] - parts[0, 1]))).astype(int)
    theirs: list[np.ndarray] = []
    for c, chained in enumerate(([], [7], [8, 9])):
        mean = parts[1 + c, k] + sum(np.tanh(parts[i, k]) * (2 * x - 1) for i, x in zip(chained, theirs, strict=True))
        theirs.append(np.rint(255 * np.clip((rng.logistic(mean, np.exp(parts[4 + c, k])) + 1) / 2, 0, 1)) / 255)
    for f in (lambda x: x, lambda x: x**2, lambda x: x * np.roll(x, 1, axis=1), lambda x: mixture.log_prob(x).numpy()):
        a, b = f(ours), f(np.stack(theirs, 1))
        assert (np.abs(a.mean(0) - b.mean(0)) < 4 * np.sqrt(2 * a.var(0) / n)).all()


def test_samples_of_a_narrow_mixture_are_its_means_which_depend_on_the_channels_before():
    p = np.array([0.0, 2 * 51 / 255 - 1, 0.0, 0.0, -9, -9, -9, math.atanh(0.5), math.atanh(-0.5), 0.0])
    x = DiscretizedLogisticMixture(tg.tensor(np.tile(p, (200, 1))), 3).sample(stream=Stream(1, "mine")).numpy()
    # Red is -0.6 on [-1, 1], green half of it, blue minus half of it; the narrowest scale is a ninth of a grey value.
    np.testing.assert_allclose(x.mean(0), [0.2, 0.35, 0.65], atol=1e-3)
    assert (x.std(0) < 0.6 / 255).all()


def test_samples_use_the_training_stream_by_default():
    mixture = DiscretizedLogisticMixture(tg.tensor(random_parameters(3, 2)), 3)
    tg.seed(6)
    np.testing.assert_array_equal(mixture.sample().numpy(), mixture.sample(stream=Stream(6, "train")).numpy())


def test_parameters_and_values_of_other_shapes_are_refused():
    with pytest.raises(ShapeError, match=r"3 channels take 10 parameters a component, which \(2, 15\)"):
        DiscretizedLogisticMixture(tg.tensor(np.zeros((2, 15))), 3)
    mixture = DiscretizedLogisticMixture(tg.tensor(np.zeros((2, 15))), 1)
    for shape in ((2,), (2, 3), (1, 1)):
        with pytest.raises(ShapeError, match=r"are not \(2, 1\)"):
            mixture.log_prob(np.zeros(shape, np.float32))
