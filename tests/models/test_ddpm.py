"""DDPM: likelihoods and samples under the optimal network of normal points, guidance, filling, and the network."""

import math

import numpy as np
import pytest

from tests.models.cases import make, spec_for, split_for
from tests.models.test_diffusion_process import expected_bound
from tests.models.test_equations import model_with_random_weights
from tinygen import models, nn, random
from tinygen.data import Batch, Dataset, Image, Labels, Points, Spec, Split, load
from tinygen.errors import ShapeError, UsageError
from tinygen.models.diffusion.ddpm import DDPM
from tinygen.models.diffusion.guided import FLOW_POINTS
from tinygen.models.diffusion.networks import TimeMLP, TimeUNet
from tinygen.random import Stream
from tinygen.tensor import tensor

TINY = {"hidden": 8, "layers": 1, "batch_size": 5, "warmup_steps": 0, "channels": 4, "averaging": 0.0}


def uniform(name, *shape):
    return Stream(0, name).uniform(shape)


class OptimalNoise(nn.Module):
    """The expected noise in x_k of points that are normal with mean 0 and this standard deviation."""

    def __init__(self, chain, std):
        self.chain, self.std = chain, std

    def forward(self, x, time, labels=None):
        k = np.rint(time * len(self.chain)).astype(int)
        a = self.chain.alpha_bar[k][:, None]
        return tensor((np.sqrt(1 - a) / (a * self.std**2 + 1 - a) * x).astype(np.float32))


def model_of_normal_points(n=3000, size=2, std=(3.0, 3.0), **config):
    """A model with the optimal network of points N(5, 9), and such points."""
    x = (5 + 3 * Stream(0, "points").normal((n, size))).astype(np.float32)
    spec = Spec("noise", {"x": Points(size)})
    model = make("ddpm", TINY | config, spec)
    split = Split(spec.fields, {"x": x})
    model.prepare(Dataset(spec, split, split, split), seed=0)
    model.network = OptimalNoise(model.chain, 1.0)
    return model, split


# With the optimal network of normal points


def test_points_are_standardised_and_their_range_is_known():
    model, split = model_of_normal_points()
    x = split.values("x")
    np.testing.assert_allclose(model.centre, x.mean(axis=0), rtol=1e-5)
    assert float(model.deviation) == pytest.approx(math.sqrt(x.var(axis=0).mean()), rel=1e-5)
    seen = model.seen(x)
    np.testing.assert_allclose(model.range, [seen.min(), seen.max()], rtol=1e-4)
    np.testing.assert_allclose(model.shown(seen), x, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("sampler", ["ancestral", "ddim", "dpm-solver"])
def test_samples_of_the_optimal_network_are_normal(sampler):
    model, _ = model_of_normal_points(sampler=sampler, sampling_steps=200 if sampler == "ancestral" else 40)
    x = model.sample(2000, seed=3)
    np.testing.assert_allclose(x.mean(axis=0), 5, atol=0.3)
    np.testing.assert_allclose(x.std(axis=0), 3, rtol=0.06)


def test_bounds_are_those_of_their_chains_and_the_flow_gives_the_likelihood():
    model, split = model_of_normal_points(n=20_000, schedule="cosine")
    x = split.values("x")
    for steps in (20, 100):
        expected, entropy = expected_bound(model.chain.from_first(steps), 0.0, 1.0)
        found = model.log_prob(x, seed=0, samples=steps)
        # With points of the sample's own moments only noise, and other moments than the second, make a difference.
        assert -found.mean() == pytest.approx(2 * (expected + math.log(3)), abs=0.1)
        assert expected > entropy
    centre, deviation = np.asarray(model.centre, np.float64), float(model.deviation)
    exact = -0.5 * (((x - centre) / deviation) ** 2 + math.log(2 * math.pi * deviation**2)).sum(axis=1)
    metrics = model.evaluate(split, seed=0)
    assert metrics["neg_elbo_density_nats"] == pytest.approx(
        2 * (expected_bound(model.chain, 0.0, 1.0)[0] + math.log(3)), abs=0.15
    )
    np.testing.assert_allclose(model.flow_log_prob(x[:600]), exact[:600], atol=0.05)
    assert metrics["flow_nll_density_nats"] == pytest.approx(-exact[:FLOW_POINTS].mean(), abs=0.01)
    # The error of the prediction is the variance of the noise given x_k, which is a where x_0 has variance 1.
    assert metrics["prediction_error"] == pytest.approx(model.chain.alpha_bar[1:].mean(), abs=0.1)


def test_the_bound_of_evaluation_is_the_mean_of_log_prob():
    model, split = model_of_normal_points(n=2000, timesteps=40, schedule="cosine")
    model.network = OptimalNoise(model.chain, 0.3)  # a wrong one
    x = split.values("x")
    evaluated = model.evaluate(split, seed=0)["neg_elbo_density_nats"]
    assert evaluated == pytest.approx(-model.log_prob(x, seed=1, samples=40).mean(), rel=0.03)


def test_one_step_of_the_bound_stands_for_all_even_where_hardly_any_signal_is_left():
    """The last step of the cosine schedule leaves 3e-5 of the signal, which multiplies errors of the noise by 3e4."""
    spec = Spec("noise", {"x": Image(4, 4, 1, "grey")})
    model = make("ddpm", TINY | {"architecture": "mlp", "timesteps": 100, "schedule": "cosine"}, spec)
    split = Split(spec.fields, {"x": np.round(uniform("x", 500, 4, 4, 1) * 255) / np.float32(255)})
    evaluated = model.evaluate(split, seed=0)["neg_elbo_nats"]
    assert evaluated == pytest.approx(-model.log_prob(split.values("x"), samples=100).mean(), rel=0.05)


def test_the_bound_of_images_is_of_probabilities():
    """With the network that knows the picture the bound of an image is near 0 nats; all levels have mass 1."""
    spec = Spec("noise", {"x": Image(2, 2, 1, "grey")})
    model = make("ddpm", TINY | {"architecture": "mlp", "timesteps": 50, "prediction": "x0"}, spec)
    x = np.round(uniform("x", 6, 2, 2, 1) * 255) / np.float32(255)

    class Knows(nn.Module):
        def forward(self, noisy, time, labels=None):
            return tensor(np.broadcast_to(2 * known - 1, noisy.shape).astype(np.float32))

    model.network = Knows()
    totals = []
    for known in x[:1]:
        totals.append(model.log_prob(known[None], seed=0)[0])
    chain = model.chain
    prior = 0.5 * (chain.alpha_bar[-1] * ((2 * x[0] - 1) ** 2 - 1) - math.log(1 - chain.alpha_bar[-1])).sum()
    half, std = 1 / 255, math.sqrt(model_variance(chain))
    inner = math.log(math.erf(half / std / math.sqrt(2)))
    assert totals[0] == pytest.approx(4 * inner - prior, rel=1e-3)


def model_variance(chain):
    """The posterior's variance in the second step, that of p(x_0 | x_1)."""
    beta = 1 - chain.alpha_bar[2] / chain.alpha_bar[1]
    return beta * (1 - chain.alpha_bar[1]) / (1 - chain.alpha_bar[2])


# Labels and guidance


class Tells(nn.Module):
    """A network whose output is the label."""

    def forward(self, x, time, labels=None):
        self.labels = labels
        return tensor(np.broadcast_to(labels.reshape(-1, 1, 1, 1), x.shape).astype(np.float32))


def conditional(**config):
    return make("ddpm", TINY | {"condition": "labels", "timesteps": 6, "sampling_steps": 2} | config)


def test_guidance_leads_away_from_the_output_without_a_label():
    model = conditional(guidance=1.5)
    model.network = Tells()
    x, none = uniform("x", 3, 8, 4, 1), model.classes
    output = model.output(x, 0.5, np.array([0, 1, 2]))
    np.testing.assert_allclose(output[:, 0, 0, 0], [2.5 * label - 1.5 * none for label in range(3)], rtol=1e-6)
    np.testing.assert_array_equal(model.output(x, 0.5, None), none)


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_a_share_of_labels_is_hidden_in_training(share):
    model = conditional(drop_labels=share)
    batch = Batch(x=np.zeros((4000, 1), np.float32), y=np.arange(4000) % 3)
    labels = model.partly_hidden(batch, Stream(0, "labels"))
    hidden = labels == model.classes
    assert hidden.mean() == pytest.approx(share, abs=0.03)
    np.testing.assert_array_equal(labels[~hidden], batch.y[~hidden])


def test_labels_that_cannot_be_are_refused():
    with pytest.raises(UsageError, match=r"^guidance is 2.0; it needs a model of labels: add --condition labels$"):
        DDPM.Config(guidance=2.0)
    with pytest.raises(UsageError, match=r"^drop_labels is 1.5; as a share it is at most 1$"):
        DDPM.Config(drop_labels=1.5)
    model = make("ddpm", TINY | {"timesteps": 6})
    with pytest.raises(UsageError, match=r"^given has y; the model was trained without labels, see --condition$"):
        model.sample(2, seed=0, given={"y": np.array([0, 1])})


def test_fields_that_only_sampling_reads_can_be_changed_for_a_while():
    config = TINY | {"condition": "labels", "timesteps": 6, "sampling_steps": 2}
    model = model_with_random_weights("ddpm", config, "grey")
    with model.sampling_with(guidance=3.0, sampling_steps=6):
        assert (model.config.guidance, model.steps) == (3.0, 6)
        other = model.sample(3, seed=0)
    assert (model.config.guidance, model.steps) == (0.0, 2)
    assert not np.array_equal(model.sample(3, seed=0), other)
    refusals = {"channels": "channels cannot be changed when ddpm draws samples; there are sampler, "}
    refusals["sampling_steps"] = "sampling_steps is 0; it must be at least 1$"
    for name, message in refusals.items():
        with pytest.raises(UsageError, match=f"^{message}"), model.sampling_with(**{name: 0}):
            pass


# Filling


def test_filling_keeps_known_pixels_to_the_bit_and_draws_the_others(monkeypatch):
    config = TINY | {"timesteps": 6, "sampling_steps": 3, "clip": False, "architecture": "mlp"}
    model = model_with_random_weights("ddpm", config, "grey")
    monkeypatch.setattr("tinygen.models.diffusion.base.CHUNK", 4)
    x = uniform("x", 10, 8, 4, 1)
    known = uniform("known", 10, 8, 4, 1) < 0.5
    filled = model.fill(x, known, seed=1)
    np.testing.assert_array_equal(filled[known], x[known])
    assert (filled[~known] != x[~known]).all()
    hidden = np.where(known, x, 0).astype(np.float32)
    np.testing.assert_array_equal(model.fill(hidden, known, seed=1), filled)
    np.testing.assert_array_equal(model.fill(x[:2], known[:2], seed=1), filled[:2])
    assert not np.array_equal(model.fill(x, known, seed=2), filled)
    assert filled.dtype == np.float32
    assert (filled >= 0).all() and (filled <= 1).all()


def test_filling_refuses_other_shapes_and_points():
    model = make("ddpm", TINY | {"timesteps": 6})
    with pytest.raises(ShapeError, match=r"^fill: takes images \(N, 8, 4, 1\) and bools \(N, 8, 4, 1\), not \(2, 8, 4"):
        model.fill(np.zeros((2, 8, 4, 3), np.float32), np.ones((2, 8, 4, 1), bool), seed=0)
    points = make("ddpm", TINY | {"timesteps": 6}, spec_for(DDPM, (2,), "points"))
    with pytest.raises(UsageError, match=r"^fill: takes images, and the model is of 2-dimensional points$"):
        points.fill(np.zeros((2, 2), np.float32), np.ones((2, 2), bool), seed=0)


# Schedules and other mistakes


def test_a_schedule_that_ends_with_signal_is_warned_of_with_the_figure():
    def lines(**config):
        shown = []
        model = make("ddpm", TINY | config)
        split = split_for(model)
        model.prepare(Dataset(model.spec, split, split, split), seed=0, show=shown.append)
        return shown

    assert lines() == lines(timesteps=100) == lines(schedule="cosine", timesteps=20) == []
    (line,) = lines(timesteps=100, beta_end=0.02)
    assert line.startswith("the schedule ends with 59% of the signal, and samples begin with none: use --schedule")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"timesteps": 0}, "timesteps is 0; it must be at least 1"),
        ({"sampling_steps": 0}, "sampling_steps is 0; it must be at least 1"),
        ({"eta": 1.5}, "eta is 1.5; it is at most 1"),
        ({"beta_end": 2.0}, "beta_end is 2.0; it is at most 1"),
    ],
)
def test_numbers_that_no_process_can_have_are_refused(config, message):
    with pytest.raises(UsageError, match=f"^{message}$"):
        DDPM.Config(**config)


def test_a_size_that_cannot_be_halved_is_refused_with_the_remedy():
    with pytest.raises(UsageError, match=r"^the U-Net needs sides divisible by 4, not 30x28; use --architecture mlp$"):
        make("ddpm", TINY, Spec("noise", {"x": Image(30, 28, 1, "grey")}))


# The networks


def random_weights(network):
    for number, parameter in enumerate(network.parameters()):
        parameter.assign(0.3 * Stream(number, "weights").normal(parameter.shape))
    return network


@pytest.mark.parametrize("size", [(4, 4), (28, 28), (8, 12)])
def test_the_u_net_keeps_sizes_divisible_by_four(size):
    random.seed(0)
    network = TimeUNet((*size, 3), channels=4, blocks=2, classes=0)
    x, time = uniform("x", 2, *size, 3), np.full(2, 0.3, np.float32)
    assert not network(x, time).numpy().any(), "the last layer begins at zero"
    assert random_weights(network)(x, time).shape == x.shape


def test_every_output_of_the_u_net_depends_on_every_pixel_the_time_and_the_label():
    random.seed(0)
    network = random_weights(TimeUNet((16, 16, 1), channels=4, blocks=1, classes=3))
    x, time, label = uniform("x", 1, 16, 16, 1), np.full(1, 0.3, np.float32), np.array([1])
    y = network(x, time, label).numpy()
    corner = x.copy()
    corner[0, 0, 0] += 1
    for other in (
        network(corner, time, label),
        network(x, time + np.float32(0.01), label),
        network(x, time, label + 1),
    ):
        assert (other.numpy() != y).mean() > 0.99


def test_recomputed_blocks_have_the_same_gradients():
    gradients = []
    for recompute in (False, True):
        random.seed(0)
        network = random_weights(TimeUNet((8, 8, 1), channels=4, blocks=1, classes=0, recompute=recompute))
        network(uniform("x", 3, 8, 8, 1), np.full(3, 0.3, np.float32)).sum().backward()
        gradients.append([parameter.grad.numpy() for parameter in network.parameters()])
    for plain, recomputed in zip(*gradients, strict=True):
        np.testing.assert_allclose(recomputed, plain, rtol=1e-4, atol=1e-4)
        assert plain.any()


def test_the_perceptron_sees_details_of_points():
    random.seed(0)
    network = random_weights(TimeMLP((2,), hidden=8, layers=1, classes=0))
    assert network.first.weight.shape[0] == 2 * (1 + 2 * 7)
    assert TimeMLP((3, 3, 1), hidden=8, layers=1, classes=0).first.weight.shape[0] == 9


# Figures


@pytest.mark.parametrize("kind", ["grey", "points"])
def test_figures_show_the_way_from_noise(kind):
    config = TINY | {"timesteps": 6, "sampling_steps": 4, "sampler": "ancestral"}
    config |= {"condition": "labels"} if kind == "grey" else {}
    spec = spec_for(DDPM, (8, 4) if kind == "grey" else (2,), kind, config)
    model = model_with_random_weights("ddpm", config, kind) if kind == "grey" else make("ddpm", config, spec)
    figures = list(model.figures(None, seed=0))
    assert [figure.images.ndim for figure in figures[:2]] == [4, 5]
    assert figures[0].caption.startswith("From noise to samples: after 0, 1, 2, 3, 4 steps")
    assert figures[1].images.shape[1] == 5
    if kind == "grey":
        strip = figures[0].images.reshape(6, 5, 8, 4, 1)
        np.testing.assert_array_equal(strip[:, -1], model.sample(6, seed=0))
        np.testing.assert_allclose(strip[:, 0], model.shown(model.noise(6, 0)))
        with model.sampling_with(sampler="ddim"):
            ends = model.sample(12, seed=0, given={"y": (np.arange(12) // 2) % 3})
        np.testing.assert_allclose(figures[2].images[::10], ends[::2], atol=1e-5)
        assert len(figures[3].images) == 9
    else:
        assert len(figures) == 2


def test_the_grid_has_its_fields():
    """Labels of points are used if asked for."""
    data = load("grid25")
    assert models.check_data(DDPM, data, DDPM.Config(condition="labels")) is data
    assert DDPM.needs_with(DDPM.Config()).keys() == {"x"}
    assert isinstance(DDPM.needs_with(DDPM.Config(condition="labels"))["y"], Labels)
