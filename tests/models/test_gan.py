"""GAN: the generator's costs against their formulas, who is updated when, and the figures of the report."""

import re

import numpy as np
import pytest

import tinygen as tg
from tinygen import data, nn, random
from tinygen.data import Batch, Image, Loader, Points, Spec, Split
from tinygen.models import GAN
from tinygen.models.adversarial import figures as adversarial_figures
from tinygen.models.adversarial.figures import bilinear_game
from tinygen.models.adversarial.losses import COSTS, GENERATOR_LOSSES
from tinygen.random import Stream

POINTS_1D = Spec("line", {"x": Points(1)})


@pytest.fixture(autouse=True)
def own_streams():
    before = random.get_state()
    random.seed(0)
    yield
    random.set_state(before)


def points(n, d=1):
    return Stream(0, "points").normal((n, d))


@pytest.mark.parametrize(
    ("cost", "value", "slope"),
    [
        ("minimax", lambda p: np.log(1 - p), lambda p: -1 / (1 - p)),
        ("non-saturating", lambda p: -np.log(p), lambda p: -1 / p),
        ("maximum-likelihood", lambda p: -p / (1 - p), lambda p: -1 / (1 - p) ** 2),
    ],
)
def test_costs_and_their_gradients_match_their_formulas(cost, value, slope):
    p = np.linspace(0.01, 0.99, 50)
    logits = tg.tensor(np.log(p / (1 - p)), dtype="float64", requires_grad=True)
    y = GENERATOR_LOSSES[cost](logits)
    np.testing.assert_allclose(y.numpy(), value(p), rtol=1e-10)
    # By the chain rule, since dp / dlogit = p (1 - p).
    np.testing.assert_allclose(tg.grad(y.sum(), logits).numpy(), slope(p) * p * (1 - p), rtol=1e-10)


def test_only_the_non_saturating_cost_has_a_gradient_at_recognised_fakes():
    logits = tg.tensor([-12.0], requires_grad=True)
    slopes = {name: abs(tg.grad(cost(logits).sum(), logits).item()) for name, cost in GENERATOR_LOSSES.items()}
    assert slopes["non-saturating"] > 0.99
    assert slopes["minimax"] < 1e-5
    assert slopes["maximum-likelihood"] < 1e-5


@pytest.mark.parametrize(
    ("spec", "batch_norm", "batch_norms"), [("images", True, 2), ("images", False, 0), ("line", True, 0)]
)
def test_only_generators_of_images_have_batch_norm(spec, batch_norm, batch_norms):
    spec = POINTS_1D if spec == "line" else Spec("images", {"x": Image(4, 4, 1, "grey")})
    model = GAN(GAN.Config(latent=2, hidden=4, layers=2, batch_norm=batch_norm), spec)
    assert sum(isinstance(module, nn.BatchNorm) for module in model.generator.modules()) == batch_norms


def test_the_generator_is_updated_in_every_kth_step_only():
    model = GAN(GAN.Config(latent=2, hidden=4, discriminator_steps=3, averaging=0.9), POINTS_1D)
    for step in range(1, 8):
        before = {name: array.copy() for name, array in model.state_dict().items()}
        scalars = model.training_step(Batch(x=points(16)))
        changed = {name for name, array in model.state_dict().items() if not np.array_equal(array, before[name])}
        due = step % 3 == 0
        assert ("generator_nats" in scalars) == due
        for part in ("generator.", "generator_optimizer.", "average."):
            assert any(name.startswith(part) for name in changed) == due
        assert any(name.startswith("discriminator.") for name in changed)
    assert (int(model.discriminator_optimizer.count), int(model.generator_optimizer.count)) == (7, 2)
    assert int(model.steps_alone) == 1


def test_a_state_saved_between_two_generator_updates_is_restored_exactly():
    def make(seed):
        random.seed(seed)
        return GAN(GAN.Config(latent=2, hidden=4, discriminator_steps=3, averaging=0.9), POINTS_1D)

    model, fresh = make(0), make(1)
    for _ in range(4):
        model.training_step(Batch(x=points(16)))
    assert int(model.steps_alone) == 1
    fresh.load_state_dict({name: array.copy() for name, array in model.state_dict().items()})
    streams = random.get_state()
    for each in (model, fresh):
        random.set_state(streams)
        moved = ["generator_nats" in each.training_step(Batch(x=points(16))) for _ in range(3)]
        assert moved == [False, True, False]
    ours, theirs = model.state_dict(), fresh.state_dict()
    assert {name: array.tobytes() for name, array in ours.items()} == {n: a.tobytes() for n, a in theirs.items()}


def test_samples_use_the_averaged_weights():
    model = GAN(GAN.Config(latent=2, hidden=4, averaging=0.9, learning_rate=0.1), POINTS_1D)
    for _ in range(5):
        model.training_step(Batch(x=points(16)))
    noise = points(7, 2)
    with tg.no_grad():
        last = model.generator(noise).numpy()
        with model.average.applied():
            averaged = model.generator(noise).numpy()
    assert np.abs(last - averaged).max() > 0.01
    np.testing.assert_allclose(model.generate(noise), averaged, rtol=1e-5, atol=1e-6)


def test_evaluation_matches_its_formulas():
    model = GAN(GAN.Config(latent=2, hidden=4, learning_rate=0.05), POINTS_1D)
    for _ in range(20):
        model.training_step(Batch(x=points(16) + 3))
    real = points(300) + 3
    metrics = model.evaluate(Split(model.spec.fields, {"x": real}), seed=5)
    fake = model.generate(Stream(5, "eval").normal((300, 2)))
    p, q = (1 / (1 + np.exp(-model.discriminate(x).astype("float64"))) for x in (real, fake))
    assert metrics == pytest.approx(
        {
            "discriminator_nats": -(np.log(p).mean() + np.log(1 - q).mean()),
            "real_accuracy_rate": (p > 0.5).mean(),
            "made_accuracy_rate": (q < 0.5).mean(),
            "w1_distance": np.abs(np.sort(real[:, 0]) - np.sort(fake[:, 0])).mean(),
        },
        rel=1e-5,
    )


def test_the_discriminator_approaches_the_optimal_one_on_1d_data():
    """D* = p_data / (p_data + p_g) (proposition 1), for a generator that is never updated."""
    model = GAN(GAN.Config(latent=1, hidden=32, discriminator_steps=10**9, learning_rate=3e-3, beta1=0.9), POINTS_1D)
    model.generator = tg.nn.Sequential(lambda z: z)
    stream = Stream(0, "real")
    for _ in range(600):
        model.training_step(Batch(x=stream.normal((256, 1)) + np.float32(1)))
    x = np.linspace(-1, 2, 7)
    optimal = 1 / (1 + np.exp(0.5 - x))  # of N(1, 1) against N(0, 1)
    learned = 1 / (1 + np.exp(-model.discriminate(x.astype(np.float32)[:, None])))
    np.testing.assert_allclose(learned, optimal, atol=0.06)


def test_figures_show_the_costs_and_for_1d_data_the_densities_over_training(monkeypatch):
    monkeypatch.setattr(adversarial_figures, "EXAMPLES", 200)
    line = data.load("mixture1d")
    config = GAN.Config(latent=2, hidden=4, batch_size=16)
    random.seed(3)
    model = GAN(config, line.spec)
    random.seed(3)
    loader = Loader(line.train, 16, seed=3)
    drawings = {}
    for step in range(21):
        if step in (0, 4, 16, 20):
            drawings[step] = adversarial_figures._drawing(model, line, 3, lambda scores: 1 / (1 + np.exp(-scores)))
        if step < 20:
            model.training_step(next(loader))
    streams = random.get_state()
    costs, saddle, *densities = model.figures(line, seed=3)
    assert random.get_state() == streams
    assert [name for _, name in costs.legend] == list(GENERATOR_LOSSES)
    assert {figure.caption: figure.svg for figure in densities} == {
        f"After {n} steps.": svg for n, svg in drawings.items()
    }
    assert len(set(drawings.values())) == 4
    assert all(len(re.findall("<path[^>]*stroke-width", figure.svg)) == 3 for figure in (costs, *densities))
    assert len(re.findall("<path[^>]*stroke-width", saddle.svg)) == 12 + len(saddle.legend)
    assert len(list(GAN(config, Spec("plane", {"x": Points(2)})).figures(line, seed=0))) == 2


def test_steps_at_once_spiral_outwards_and_steps_in_turn_stay_on_an_ellipse():
    """At once z = x + iy is multiplied by 1 + i rate; in turn x^2 - rate x y + y^2 stays the same."""
    rate, start = 0.2, (0.5, -1.0)
    at_once = np.array(bilinear_game(start, 40, rate)) @ [1, 1j]
    np.testing.assert_allclose(at_once, (0.5 - 1j) * (1 + 1j * rate) ** np.arange(41), rtol=1e-10)
    x, y = np.array(bilinear_game(start, 400, rate, in_turn=True)).T
    np.testing.assert_allclose(x**2 - rate * x * y + y**2, 0.25 + rate * 0.5 + 1, rtol=1e-9)
    assert np.hypot(x.mean(), y.mean()) < 0.05
    penalised = np.array(bilinear_game(start, 400, rate, penalty=0.5))
    step = np.array([[1, -rate], [rate, 1 - rate * 0.5]])
    np.testing.assert_allclose(penalised[7], np.linalg.matrix_power(step, 7) @ start, rtol=1e-10)
    assert np.hypot(*penalised[-1]) < 1e-3


def outputs_of_both():
    real, fake = (Stream(seed, "outputs").normal((n, 1)).astype(np.float64) for seed, n in ((0, 6), (1, 6)))
    return real, fake


@pytest.mark.parametrize(
    ("cost", "discriminator", "generator"),
    [
        (
            "non-saturating",
            lambda r, f: -np.log(1 / (1 + np.exp(-r))).mean() - np.log(1 / (1 + np.exp(f))).mean(),
            lambda r, f: -np.log(1 / (1 + np.exp(-f))).mean(),
        ),
        (
            "least-squares",
            lambda r, f: ((r - 1) ** 2).mean() / 2 + (f**2).mean() / 2,
            lambda r, f: ((f - 1) ** 2).mean() / 2,
        ),
        (
            "hinge",
            lambda r, f: -np.minimum(0, r - 1).mean() - np.minimum(0, -f - 1).mean(),
            lambda r, f: -f.mean(),
        ),
        (
            "relativistic",
            lambda r, f: np.log1p(np.exp(f.mean() - r)).mean() + np.log1p(np.exp(f - r.mean())).mean(),
            lambda r, f: np.log1p(np.exp(r.mean() - f)).mean() + np.log1p(np.exp(r - f.mean())).mean(),
        ),
    ],
)
def test_costs_of_both_players_match_their_papers(cost, discriminator, generator):
    real, fake = outputs_of_both()
    of_both = tg.tensor(real, dtype="float64"), tg.tensor(fake, dtype="float64")
    assert COSTS[cost].discriminator(*of_both).item() == pytest.approx(discriminator(real, fake), rel=1e-10)
    assert COSTS[cost].generator(*of_both[::-1]).item() == pytest.approx(generator(real, fake), rel=1e-10)
