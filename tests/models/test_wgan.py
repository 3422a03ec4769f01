"""WGAN and WGAN-GP: clipped weights, gradients of the penalty, and the estimate of a known distance."""

import numpy as np
import pytest

import tinygen as tg
from tinygen import random
from tinygen.data import Batch, Points, Spec, Split
from tinygen.models import WGAN, WGANGP
from tinygen.models.adversarial.regularisers import between, gradient_norms
from tinygen.random import Stream

POINTS_1D = Spec("line", {"x": Points(1)})
POINTS_2D = Spec("plane", {"x": Points(2)})


@pytest.fixture(autouse=True)
def own_streams():
    before = random.get_state()
    random.seed(0)
    yield
    random.set_state(before)


def points(n, d=1):
    return Stream(0, "points").normal((n, d))


def generator_updates(model, steps):
    """Numbers of the steps, from 1, in which the generator was updated."""
    updated, before = [], int(model.generator_optimizer.count)
    for step in range(1, steps + 1):
        model.training_step(Batch(x=points(4)))
        if (count := int(model.generator_optimizer.count)) > before:
            updated.append(step)
        before = count
    return updated


def test_weights_of_the_critic_stay_within_the_bound_and_the_generators_do_not():
    model = WGAN(WGAN.Config(latent=2, hidden=8, clip=0.02, learning_rate=0.01), POINTS_2D)
    for _ in range(3):
        model.training_step(Batch(x=points(16, 2)))
        largest = max(np.abs(p.numpy()).max() for p in model.discriminator.parameters())
        assert largest == np.float32(0.02)
    assert max(np.abs(p.numpy()).max() for p in model.generator.parameters()) > 0.1


def test_the_critic_takes_long_critic_steps_for_the_first_25_and_every_500th_generator_update():
    model = WGAN(WGAN.Config(latent=1, hidden=2, layers=1, critic_steps=2, long_critic_steps=4), POINTS_1D)
    assert generator_updates(model, 108) == [*range(4, 101, 4), 102, 104, 106, 108]
    model.generator_optimizer.count[...] = 500
    assert generator_updates(model, 6) == [4, 6]


def test_the_penalised_critic_takes_critic_steps_for_each_generator_update():
    assert generator_updates(WGANGP(WGANGP.Config(latent=1, hidden=2, critic_steps=3), POINTS_1D), 9) == [3, 6, 9]


@pytest.mark.parametrize("model_class", [WGAN, WGANGP])
def test_a_state_saved_between_two_generator_updates_is_restored_exactly(model_class):
    def make(seed):
        random.seed(seed)
        return model_class(model_class.Config(latent=2, hidden=4, averaging=0.9), POINTS_1D)

    model, fresh = make(0), make(1)
    for _ in range(3):
        model.training_step(Batch(x=points(16)))
    assert int(model.steps_alone) == 3
    fresh.load_state_dict({name: array.copy() for name, array in model.state_dict().items()})
    streams = random.get_state()
    for each in (model, fresh):
        random.set_state(streams)
        for _ in range(4):
            each.training_step(Batch(x=points(16)))
    ours, theirs = model.state_dict(), fresh.state_dict()
    assert {name: array.tobytes() for name, array in ours.items()} == {n: a.tobytes() for n, a in theirs.items()}
    assert int(model.generator_optimizer.count) == (model_class is WGANGP)


def test_gradient_norms_between_real_and_fake_examples_match_their_formula():
    random.seed(4)
    share = Stream(4, "train").uniform((5, 1))
    real, fake = points(5, 3).astype("float64"), tg.tensor(points(10, 3)[5:], dtype="float64")
    weight = tg.tensor(points(3, 3), dtype="float64", requires_grad=True)

    def critic(x):
        return ((x @ weight) ** 2).sum(axis=1, keepdims=True)

    points_between = share * real + (1 - share) * fake.numpy()
    expected = np.linalg.norm(2 * points_between @ weight.numpy() @ weight.numpy().T, axis=1)
    norms = gradient_norms(critic, between(real, fake))
    np.testing.assert_allclose(norms.numpy(), expected, rtol=1e-6)

    def penalty(w):
        norms = np.linalg.norm(2 * points_between @ w @ w.T, axis=1)
        return ((norms - 1) ** 2).mean()

    slope = tg.grad(((norms - 1) ** 2).mean(), weight).numpy()
    direction = points(3, 3).astype("float64").T
    forward, backward = (penalty(weight.numpy() + step * direction) for step in (1e-5, -1e-5))
    assert (slope * direction).sum() == pytest.approx((forward - backward) / 2e-5, rel=1e-6)


@pytest.mark.parametrize("one_sided", [False, True])
def test_the_one_sided_penalty_leaves_small_slopes_alone(one_sided):
    """For a linear critic, whose slope is the same everywhere."""
    model = WGANGP(WGANGP.Config(latent=1, hidden=2, penalty=3.0, one_sided=one_sided), POINTS_2D)
    model.discriminator = linear = tg.nn.Linear(2, 1)
    model.discriminator_optimizer = tg.optim.SGD(linear, 0.0)
    for slope in (0.5, 1.5):
        linear.weight.assign(slope * np.float32([[0.6], [0.8]]))
        penalty = model.training_step(Batch(x=points(4, 2)))["gradient_penalty"].item()
        assert penalty == pytest.approx(0 if one_sided and slope < 1 else 3 * 0.25, abs=1e-5)


def test_a_constant_critic_has_a_penalty_with_a_finite_gradient():
    weight = tg.tensor(np.zeros((2, 1), np.float32), requires_grad=True)
    norms = gradient_norms(lambda x: x @ weight, points(4, 2))
    assert np.isfinite(tg.grad(((norms - 1) ** 2).mean(), weight).numpy()).all()


def test_every_example_has_an_epsilon_of_its_own():
    shares = []

    def critic(x):
        shares.append(x.numpy().reshape(6, -1))
        return x.reshape(6, -1).sum(axis=1, keepdims=True)

    gradient_norms(critic, between(np.ones((6, 4, 3, 1), np.float32), np.zeros((6, 4, 3, 1), np.float32)))
    (share,) = shares
    assert (share == share[:, :1]).all()
    assert len(np.unique(share[:, 0])) == 6
    assert ((share > 0) & (share < 1)).all()


def test_the_penalised_critic_estimates_the_distance_between_two_normals():
    """W1 of N(2, 1) and N(0, 1) is 2, for a generator that is never updated."""
    config = WGANGP.Config(latent=1, hidden=32, layers=2, critic_steps=10**9, learning_rate=2e-3, beta1=0.5)
    model = WGANGP(config, POINTS_1D)
    model.generator = tg.nn.Sequential(lambda z: z)
    stream = Stream(0, "real")
    for _ in range(500):
        model.training_step(Batch(x=stream.normal((128, 1)) + np.float32(2)))
    metrics = model.evaluate(Split(model.spec.fields, {"x": stream.normal((2500, 1)) + np.float32(2)}), seed=0)
    assert metrics["w1_distance"] == pytest.approx(2, abs=0.1)
    assert metrics["critic_distance"] == pytest.approx(metrics["w1_distance"], rel=0.15)
