"""The Gaussian diffusion process, samplers and likelihoods, for normal data, of which the optimal prediction is known.

x_0 ~ N(MEAN, STD^2), so that x_k ~ N(sqrt(a) MEAN, a STD^2 + 1 - a) with a = alpha_bar_k. All in float64.
"""

import itertools
import math
from functools import partial

import numpy as np
import pytest

from tinygen.errors import UsageError
from tinygen.models.diffusion import likelihood, process, samplers, schedules
from tinygen.models.diffusion.schedules import Chain
from tinygen.random import Stream

MEAN, STD = 0.7, 0.4
LINEAR = Chain.of(schedules.linear(1000))
every_schedule = pytest.mark.parametrize(
    "chain", [LINEAR, Chain.of(schedules.cosine(200)), LINEAR.thinned(17)], ids=["linear", "cosine", "thinned"]
)


def spread_of(chain, k):
    """The standard deviation of x_k."""
    return math.sqrt(chain.alpha_bar[k] * STD**2 + 1 - chain.alpha_bar[k])


def optimal(chain):
    """E[x_0 | x_k] as a function of x_k and k."""

    def denoise(x, k):
        gain = STD**2 * chain.signal(k) / spread_of(chain, k) ** 2
        return MEAN + gain * (x - chain.signal(k) * MEAN)

    return denoise


def normal(*shape, name="draws"):
    return Stream(0, name).normal(shape, dtype="float64")


def source(*shape):
    """A function that draws normal noise of this shape, the same in each source."""
    number = itertools.count()
    return lambda: normal(*shape, name=f"source {next(number)}")


def last(states):
    *_, x = states
    return x


# Schedules and chains


def test_the_linear_schedule_is_that_of_the_paper():
    betas = schedules.linear(1000)
    assert (betas[0], betas[-1], betas.dtype) == (1e-4, 0.02, np.float64)
    assert betas[1] - betas[0] == pytest.approx((0.02 - 1e-4) / 999)
    assert LINEAR.alpha_bar[0] == 1
    assert LINEAR.alpha_bar[-1] == pytest.approx(math.exp(sum(math.log(1 - b) for b in betas)), rel=1e-12)
    assert LINEAR.signal(1000) == pytest.approx(0.00635, abs=1e-5)


def test_the_signal_of_the_cosine_schedule_falls_like_a_cosine():
    chain = Chain.of(schedules.cosine(1000))
    f = [math.cos((t / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2 for t in range(1001)]
    np.testing.assert_allclose(chain.alpha_bar[:999], np.array(f[:999]) / f[0], rtol=1e-9)
    assert (np.diff(chain.alpha_bar) < 0).all()
    assert schedules.cosine(1000).max() == 0.999


def test_thinned_chains_have_steps_of_the_whole_one_and_its_last():
    for steps in (1, 7, 50, 1000):
        chain = LINEAR.thinned(steps)
        assert len(chain) == steps
        assert (chain.times[0], chain.times[-1]) == (0, 1)
        assert set(chain.alpha_bar) <= set(LINEAR.alpha_bar)
    np.testing.assert_array_equal(LINEAR.thinned(1000).alpha_bar, LINEAR.alpha_bar)
    chain = LINEAR.from_first(30)
    assert (chain.alpha_bar[1], chain.alpha_bar[-1]) == (LINEAR.alpha_bar[1], LINEAR.alpha_bar[-1])
    assert 25 < len(chain) <= 30
    assert (np.diff(chain.times, 2)[1:] > -0.002).all(), "steps become wider"
    assert LINEAR.from_first(1000) is LINEAR
    with pytest.raises(UsageError, match=r"^sampling in 0 steps: the diffusion has 1000, so use 1 to 1000$"):
        LINEAR.thinned(0)


# One step


@every_schedule
def test_the_posterior_is_that_of_a_joint_normal_distribution(chain):
    for k in (1, 2, len(chain)):
        before, now = chain.alpha_bar[k - 1], chain.alpha_bar[k]
        # Given x_0: x_(k-1) has variance 1 - before, x_k variance 1 - now, and their covariance is as below.
        covariance = math.sqrt(now / before) * (1 - before)
        gain = covariance / (1 - now)
        of_x0, of_x, variance = process.posterior(chain, k)
        assert of_x == pytest.approx(gain, rel=1e-9)
        assert of_x0 == pytest.approx(math.sqrt(before) - gain * math.sqrt(now), rel=1e-7)
        assert variance == pytest.approx(1 - before - gain * covariance, rel=1e-6, abs=1e-12)


def test_both_variances_begin_with_that_of_the_second_posterior():
    betas = schedules.linear(1000)
    second = betas[1] * (1 - LINEAR.alpha_bar[1]) / (1 - LINEAR.alpha_bar[2])
    for kind in ("small", "large"):
        assert process.variance_of(LINEAR, 1, kind) == pytest.approx(second, rel=1e-9)
    for t in (2, 500, 1000):
        assert process.variance_of(LINEAR, t, "large") == pytest.approx(betas[t - 1], rel=1e-9)
        assert process.variance_of(LINEAR, t, "small") < betas[t - 1]
    alone = LINEAR.thinned(1)
    assert process.variance_of(alone, 1, "small") == pytest.approx(1 - LINEAR.alpha_bar[-1])


@pytest.mark.parametrize("prediction", ["noise", "v", "x0"])
def test_every_prediction_gives_back_x0_and_the_noise(prediction):
    x0, noise = normal(5, name="x0"), normal(5, name="noise")
    levels = LINEAR.signal(300), LINEAR.noise(300)
    x = process.noised(x0, noise, *levels)
    target = process.target_of(prediction, x0, noise, *levels)
    np.testing.assert_allclose(process.clean_of(prediction, target, x, *levels), x0, rtol=1e-9)
    np.testing.assert_allclose(process.noise_of(x, x0, *levels), noise, rtol=1e-9)
    np.testing.assert_allclose(
        process.velocity_of(x, x0, *levels), process.target_of("v", x0, noise, *levels), rtol=1e-9
    )


def test_v_is_the_derivative_of_x_by_the_angle():
    x0, noise, angle, step = 0.3, -1.2, 0.8, 1e-6
    x = [process.noised(x0, noise, math.cos(a), math.sin(a)) for a in (angle - step, angle + step)]
    v = process.target_of("v", x0, noise, math.cos(angle), math.sin(angle))
    assert (x[1] - x[0]) / (2 * step) == pytest.approx(v, rel=1e-8)


# The bound


@pytest.mark.parametrize("variance", ["small", "large"])
@every_schedule
def test_weights_of_the_bound_give_the_divergence_of_normal_distributions(chain, variance):
    weights, constants = process.bound_weights(chain, variance)
    assert not weights[:2].any() and not constants[:2].any()
    x0, noise, predicted = (normal(3, name=name) for name in ("x0", "noise", "predicted"))
    for k in (2, len(chain) // 2, len(chain)):
        of_x0, of_x, posterior = process.posterior(chain, k)
        own = process.variance_of(chain, k, variance)
        x = process.noised(x0, noise, chain.signal(k), chain.noise(k))
        means = [of_x0 * each + of_x * x for each in (x0, predicted)]
        kl = 0.5 * (np.log(own / posterior) + (posterior + (means[0] - means[1]) ** 2) / own - 1).sum()
        assert weights[k] * ((x0 - predicted) ** 2).sum() + 3 * constants[k] == pytest.approx(kl, rel=1e-5)


def geometric(steps, first=10.0, last=-8.0):
    """A chain whose ratios of signal to noise fall by the same factor in each step."""
    ratio = np.exp(np.linspace(first, last, steps))
    return Chain(np.arange(steps + 1) / steps, np.concatenate([[1.0], ratio / (1 + ratio)]))


def expected_bound(chain, mean=MEAN, std=STD):
    """The expected negative bound of normal data under the optimal prediction, and the entropy of the data."""
    weights, constants = process.bound_weights(chain, "small")
    a = chain.alpha_bar[1:]
    of_x0 = std**2 * (1 - a) / (a * std**2 + 1 - a)  # the variance of x_0 given x_k
    first = process.variance_of(chain, 1, "small")
    start = 0.5 * (math.log(2 * math.pi * first) + of_x0[0] / first)
    end = 0.5 * (a[-1] * (mean**2 + std**2 - 1) - math.log(1 - a[-1]))
    return start + (weights[1:] * of_x0 + constants[1:]).sum() + end, 0.5 * math.log(2 * math.pi * math.e * std**2)


def test_the_bound_lies_below_the_likelihood_and_meets_it_with_many_steps():
    """But for the variance of the first step, which is not that of x_0 given x_1 but the next one's posterior."""
    gaps = []
    for steps in (25, 100, 400, 1600):
        chain = geometric(steps)
        bound, entropy = expected_bound(chain)
        assert bound > entropy
        own, best = process.variance_of(chain, 1, "small"), STD**2 * (chain.noise(1) / spread_of(chain, 1)) ** 2
        gaps.append(bound - entropy - 0.5 * (math.log(own / best) + best / own - 1))
    assert all(0 < later < earlier / 3 for earlier, later in itertools.pairwise(gaps))
    assert gaps[-1] < 0.05


def test_the_divergence_from_the_prior_is_that_of_its_normal_distribution():
    chain, x0 = LINEAR.thinned(1), np.array([1.3])
    a = chain.alpha_bar[-1]
    expected = 0.5 * (a * 1.3**2 + (1 - a) - 1 - math.log(1 - a))
    assert process.prior_kl(chain, x0)[0] == pytest.approx(expected)


def mass_between(low, high):
    """The standard normal mass of an interval, exact in its tails."""
    if low > 0:
        return mass_between(-high, -low)
    return 0.5 * (math.erfc(-high / math.sqrt(2)) - math.erfc(-low / math.sqrt(2)))


@pytest.mark.parametrize("levels", [2, 17, 256])
def test_masses_of_levels_are_those_of_the_distribution_function(levels):
    values = np.linspace(-1, 1, levels)
    for mean, std in ((0.1, 0.5), (-0.97, 0.05), (0.4, 0.01)):
        log_mass = process.log_mass(values, np.full(levels, mean), std**2, levels)
        edges = (values[1:] + values[:-1]) / 2
        edges = [-math.inf, *((values[1:] + values[:-1]) / 2 - mean) / std, math.inf]
        exact = np.array([mass_between(low, high) for low, high in itertools.pairwise(edges)])
        large = exact > process.SMALLEST_MASS
        np.testing.assert_allclose(np.exp(log_mass[large]), exact[large], rtol=1e-9)
        assert (np.exp(log_mass[~large]) <= exact[~large] * (1 + 1e-6)).all()
        assert np.isfinite(log_mass).all()
    assert np.exp(process.log_mass(values, np.full(levels, 0.1), 0.25, levels)).sum() == pytest.approx(1, abs=1e-3)


# Samplers


@pytest.mark.parametrize("chain", [LINEAR.thinned(40), Chain.of(schedules.cosine(30))])
def test_ddim_with_all_its_noise_is_ancestral_sampling_of_small_variance(chain):
    def denoise(x, k):
        return np.tanh(x) * chain.signal(k)

    x = normal(6, 3, name="start")
    ours = list(samplers.ddim(chain, denoise, x, source(6, 3), eta=1.0))
    theirs = list(samplers.ancestral(chain, denoise, x, source(6, 3), variance="small"))
    assert len(ours) == len(theirs) == len(chain)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)


def test_ancestral_sampling_has_the_variance_that_follows_from_its_steps():
    """The sampler is linear in its noises for normal data, so the response to each of them gives the exact variance."""
    chain = LINEAR.thinned(30)
    for kind in ("small", "large"):
        sources = len(chain)
        rows = np.eye(sources)
        x = np.concatenate([[0.0], rows[0]])
        number = itertools.count(1)
        noise = lambda number=number, rows=rows: np.concatenate([[0.0], rows[next(number)]])  # noqa: E731
        without, *responses = last(samplers.ancestral(chain, optimal(chain), x, noise, variance=kind))
        variance = sum((each - without) ** 2 for each in responses)
        mean, expected = 0.0, 1.0
        for k in range(len(chain), 0, -1):
            of_x0, of_x, _ = process.posterior(chain, k)
            gain = STD**2 * chain.signal(k) / spread_of(chain, k) ** 2
            slope = of_x0 * gain + of_x
            mean = slope * mean + of_x0 * MEAN * (1 - gain * chain.signal(k))
            expected = slope**2 * expected + (process.variance_of(chain, k, kind) if k > 1 else 0.0)
        assert without == pytest.approx(mean, rel=1e-9)
        assert variance == pytest.approx(expected, rel=1e-9)


def test_samples_of_many_steps_have_the_mean_and_the_deviation_of_the_data():
    for variance in ("small", "large"):
        x = last(samplers.ancestral(LINEAR, optimal(LINEAR), normal(4000), source(4000), variance=variance))
        assert x.mean() == pytest.approx(MEAN, abs=4 * STD / math.sqrt(4000))
        assert x.std() == pytest.approx(STD, rel=0.06)


@pytest.mark.parametrize(("sampler", "order"), [("ddim", 1), ("dpm-solver", 2)])
def test_deterministic_samplers_approach_the_probability_flow_in_their_order(sampler, order):
    """Along the flow of normal data quantiles stay what they are; here down to x_1, the last state with noise."""
    x, errors = normal(50), []
    for steps in (40, 80, 160):
        chain = geometric(steps, 6.0, -4.0)
        ways = {"ddim": partial(samplers.ddim, noise=None), "dpm-solver": samplers.dpm_solver}
        states = list(ways[sampler](chain, optimal(chain), x))
        assert len(states) == steps
        exact = chain.signal(1) * MEAN + spread_of(chain, 1) * (x - chain.signal(steps) * MEAN) / spread_of(
            chain, steps
        )
        errors.append(np.abs(states[-2] - exact).max())
        np.testing.assert_array_equal(states[-1], optimal(chain)(states[-2], 1))
    for coarse, fine in itertools.pairwise(errors):
        assert coarse / fine == pytest.approx(2**order, rel=0.2)


def test_a_step_of_the_solver_is_exact_where_the_prediction_is_constant():
    chain = LINEAR.thinned(5)
    x, x0 = normal(4), normal(4, name="constant")
    noise = process.noise_of(x, x0, chain.signal(5), chain.noise(5))
    for k, state in zip(range(4, -1, -1), samplers.dpm_solver(chain, lambda x, k: x0, x), strict=True):
        np.testing.assert_allclose(state, process.noised(x0, noise, chain.signal(k), chain.noise(k)), rtol=1e-9)


def test_filling_keeps_what_is_known_and_draws_the_rest_given_it():
    """Two correlated numbers, the first of which is known: the second has the mean and variance of the condition."""
    chain, correlation, n = LINEAR.thinned(60), 0.9, 4000
    covariance = np.array([[1.0, correlation], [correlation, 1.0]])

    def denoise(x, k):
        noisy = chain.alpha_bar[k] * covariance + (1 - chain.alpha_bar[k]) * np.eye(2)
        return x @ (chain.signal(k) * covariance @ np.linalg.inv(noisy)).T

    image, known = np.array([[1.5, 77.0]] * n), np.array([[1.0, 0.0]])
    states = samplers.fill(
        chain, denoise, normal(n, 2), source(n, 2), image=image, known=known, repeats=8, variance="small"
    )
    x = last(states)
    np.testing.assert_array_equal(x[:, 0], 1.5)
    assert x[:, 1].mean() == pytest.approx(correlation * 1.5, abs=0.08)
    assert x[:, 1].std() == pytest.approx(math.sqrt(1 - correlation**2), rel=0.2)


def test_solvers_of_differential_equations_are_their_formulas():
    """dx/dt = -x: a step of Euler multiplies by 1 - h, one of Heun by 1 - h + h^2 / 2."""
    times, x = np.linspace(0, 1, 11).tolist(), normal(3)
    for solve, factor in ((samplers.euler, 0.9), (samplers.heun, 0.905)):
        states = list(solve(lambda x, t: -x, x, times))
        np.testing.assert_allclose(states, [x * factor**i for i in range(1, 11)], rtol=1e-12)


# Likelihoods


def test_the_divergence_of_a_linear_field_is_its_trace():
    matrix, x = normal(3, 3, name="matrix"), normal(5, 3)
    field = lambda x, t: t * x @ matrix.T  # noqa: E731
    units = [row[None] for row in np.eye(3)]
    np.testing.assert_allclose(
        likelihood.divergence(field, x, 2.0, units, 0.1), np.full(5, 2 * np.trace(matrix)), rtol=1e-9
    )
    signs = np.array(list(itertools.product([-1.0, 1.0], repeat=3)))
    estimates = likelihood.divergence(field, np.zeros((8, 3)), 2.0, [signs], 0.1)
    assert estimates.mean() == pytest.approx(2 * np.trace(matrix))
    assert estimates.std() > 0.01


def test_the_density_by_the_probability_flow_is_that_of_the_data():
    errors, x = [], MEAN + 2 * STD * normal(40, 1)
    whole = Chain.of(schedules.cosine(4000))
    for steps in (50, 100, 200):
        chain = whole.from_first(steps)
        angles = np.arctan2(np.sqrt(1 - chain.alpha_bar[1:]), np.sqrt(chain.alpha_bar[1:])).tolist()
        number = {angle: k for k, angle in enumerate(angles, 1)}

        def velocity(x, angle, chain=chain, number=number):
            k = number[angle]
            return process.velocity_of(x, optimal(chain)(x, k), chain.signal(k), chain.noise(k))

        found = likelihood.log_density(velocity, x, angles, [np.ones((1, 1))], lambda angle: 1e-3)
        std, mean = spread_of(chain, 1), chain.signal(1) * MEAN
        exact = -0.5 * ((x[:, 0] - mean) / std) ** 2 - math.log(std * math.sqrt(2 * math.pi))
        errors.append(np.abs(found - exact).max())
    assert errors[-1] < 0.005
    assert all(coarse / fine > 3 for coarse, fine in itertools.pairwise(errors))
