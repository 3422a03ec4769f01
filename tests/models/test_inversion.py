"""Codes of given images: descent against known solutions, completion against its equations, results for any batch."""

import numpy as np
import pytest

import tinygen as tg
from tinygen import functional as F
from tinygen import random
from tinygen.data import Image, Labels, Spec
from tinygen.errors import ShapeError, UsageError
from tinygen.models import DCGAN, GAN, WGAN, ConditionalDCGAN
from tinygen.models.adversarial import inversion
from tinygen.models.adversarial.inversion import METHODS, Memory, Objective, Search, context_weights, search
from tinygen.random import Stream

SPEC = Spec("noise", {"x": Image(8, 8, 1, "grey"), "y": Labels(3)})


def normal(*shape, name="codes"):
    return Stream(0, name).normal(shape).astype("float64")


def linear_generator():
    """A linear generator of 4 codes and 9 pixels, images, and the least-squares codes of these."""
    weight, bias, x = normal(4, 9, name="weight"), normal(9, name="bias"), normal(7, 9, name="x")
    solution = np.linalg.lstsq(weight.T, (x - bias).T, rcond=None)[0].T
    return lambda z, x: F.square(z @ weight + bias - x).sum(axis=1), x, solution


@pytest.mark.parametrize(
    ("how", "tolerance"),
    [
        (Search("l-bfgs", evaluations=30, bound=100.0), 1e-6),
        (Search("adam", evaluations=400, learning_rate=0.1, bound=100.0), 1e-3),
    ],
    ids=["l-bfgs", "adam"],
)
def test_codes_of_a_linear_generator_are_those_of_least_squares(how, tolerance):
    cost, x, solution = linear_generator()
    codes, costs = search(cost, np.zeros((7, 4)), [x], how, "cpu")
    np.testing.assert_allclose(codes, solution, atol=tolerance)
    np.testing.assert_allclose(costs, cost(tg.tensor(solution, "float64"), x).numpy(), rtol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_codes_stay_within_the_bound_and_never_cost_more_than_the_start_by_l_bfgs(method):
    cost, x, solution = linear_generator()
    bound = 0.5 * abs(solution).max()
    start = normal(7, 4).clip(-bound, bound)
    codes, costs = search(cost, start, [x], Search(method, evaluations=100, bound=bound), "cpu")
    assert abs(codes).max() == pytest.approx(bound)
    assert method == "adam" or (costs <= cost(tg.tensor(start, "float64"), x).numpy()).all()


@pytest.mark.parametrize("method", METHODS)
def test_the_code_of_an_image_does_not_depend_on_the_others(method, monkeypatch):
    cost, x, _ = linear_generator()
    how, start = Search(method, evaluations=20), normal(7, 4)
    codes, costs = search(cost, start, [x], how, "cpu")
    for rows in (slice(0, 1), slice(2, 6), slice(0, 0)):
        for whole, part in zip((codes, costs), search(cost, start[rows], [x[rows]], how, "cpu"), strict=True):
            np.testing.assert_array_equal(part, whole[rows])
    monkeypatch.setattr(inversion, "ROWS", 3)
    for whole, part in zip((codes, costs), search(cost, start, [x], how, "cpu"), strict=True):
        np.testing.assert_allclose(part, whole, rtol=1e-6, atol=1e-9)


def test_l_bfgs_finds_the_end_of_rosenbrocks_valley_from_each_start():
    def cost(z):
        return F.square(1 - z[:, 0]) + 100 * F.square(z[:, 1] - F.square(z[:, 0]))

    starts = np.array([[-1.2, 1.0], [2.0, 2.0], [0.0, -1.0]])
    codes, _ = search(cost, starts, [], Search("l-bfgs", evaluations=120), "cpu")
    np.testing.assert_allclose(codes, 1, atol=1e-5)


def test_remembered_moves_give_the_direction_of_the_dense_update():
    """H by equation 7.16 of Nocedal & Wright, from the scaled identity; a move without curvature is not remembered."""
    moves, gradient, matrix = normal(3, 2, 4), normal(2, 4, name="gradient"), normal(4, 4, name="m")
    matrix = matrix @ matrix.T + np.eye(4)
    changes = moves @ matrix
    memory = Memory(10, np.ones((2, 1)), 4)
    for s, y in zip(moves, changes, strict=True):
        memory.remember(s, y, np.array([True, True]))
    memory.remember(-moves[0], changes[0], np.array([True, True]))
    memory.remember(moves[0], changes[1], np.array([False, False]))
    for row in range(2):
        s, y = moves[-1, row], changes[-1, row]
        inverse = np.eye(4) * (s @ y) / (y @ y)
        for s, y in zip(moves[:, row], changes[:, row], strict=True):
            v = np.eye(4) - np.outer(y, s) / (s @ y)
            inverse = v.T @ inverse @ v + np.outer(s, s) / (s @ y)
        np.testing.assert_allclose(memory.direction(gradient)[row], -inverse @ gradient[row], rtol=1e-9)


def test_weights_are_the_shares_of_missing_pixels_in_the_windows_of_known_ones():
    known = Stream(0, "known").uniform((2, 9, 10, 1)) < 0.6
    weights = context_weights(known)
    half = inversion.WINDOW // 2
    for n, i, j in np.ndindex(2, 9, 10):
        window = known[n, max(0, i - half) : i + half + 1, max(0, j - half) : j + half + 1]
        assert weights[n, i, j, 0] == pytest.approx((0.1 + 1 - window.mean()) * known[n, i, j, 0], abs=1e-6)
    assert weights.dtype == np.float32


def small_gan(system=DCGAN, **config):
    random.seed(0)
    model = system(system.Config(**{"latent": 4} | config), SPEC)
    model.search = Search(candidates=20, restarts=2, evaluations=40)
    return model


def halves():
    """16 images that are bright on the left or on the right."""
    x = np.zeros((16, 8, 8, 1), "f")
    x[:8, :, :4] = x[8:, :, 4:] = 1
    return x


def examples(model, n, **given):
    return model.sample(n, seed=7, **given)


def hole(x):
    known = np.ones((*x.shape[:3], 1), bool)
    known[:, 2:6, 3:7] = False
    return known


@pytest.mark.parametrize("system", [DCGAN, ConditionalDCGAN, WGAN])
def test_the_cost_is_the_weighted_error_and_the_generators_cost(system):
    model, (z, x) = small_gan(system), (normal(5, 4).astype("f"), Stream(0, "x").uniform((5, 8, 8, 1)))
    weights, labels = Stream(0, "w").uniform((5, 8, 8, 1)), np.array([0, 1, 2, 0, 1])
    given = [labels] if model.conditions else []
    with model.evaluating():
        cost = Objective(model, abs, 0.1).cost(z, x, weights, *given).numpy()
        images = model.generate(model.generator_input(z, labels) if given else z)
        logits = np.asarray(model.discriminate(images, *given), np.float64)
    expected = (weights * abs(images - x)).sum(axis=(1, 2, 3)) + 0.1 * np.logaddexp(0, -logits)
    np.testing.assert_allclose(cost, expected, rtol=1e-4)


def test_a_trained_gan_finds_its_own_images_and_fills_their_holes():
    """Nearer than the best of the random codes, from which the search starts."""
    model = small_gan(GAN, hidden=16, learning_rate=5e-3, averaging=0.9)
    batch = tg.data.Batch(x=0.5 * (halves() + Stream(0, "images").uniform((16, 8, 8, 1))))
    for _ in range(100):
        model.training_step(batch)
    x = examples(model, 6)
    codes = model.invert(x, seed=0)
    assert (codes.shape, codes.dtype) == ((6, 4), np.float32)
    error = ((model.generate(codes) - x) ** 2).mean(axis=(1, 2, 3))
    starts, _ = Objective(model, lambda e: e * e, 0.0).starts(x, np.ones((6, 8, 8, 1), "f"), 0, None)
    first = ((model.generate(starts[::2]) - x) ** 2).mean(axis=(1, 2, 3))
    assert (error <= first).all()
    assert error.mean() < 0.2 * first.mean()
    known = hole(x)
    drawn = model.fill(np.where(known, x, np.nan), known, seed=0)
    np.testing.assert_array_equal(np.where(known, drawn, 0), np.where(known, x, 0))
    of_mean = np.broadcast_to(model.sample(200, seed=1).mean(axis=0), x.shape)
    assert ((drawn - x) ** 2).sum() < 0.2 * ((np.where(known, x, of_mean) - x) ** 2).sum()


def test_starts_are_the_candidates_of_least_cost_of_the_class_that_is_given():
    model = small_gan(ConditionalDCGAN)
    x, weights = examples(model, 4), np.ones((4, 8, 8, 1), "f")
    objective, labels = Objective(model, abs, 0.1), np.array([2, 0, 2, 1])
    candidates = Stream(3, "codes").normal((20, 4)).clip(-2.5, 2.5)
    for given in (None, labels):
        with model.evaluating():
            starts, classes = objective.starts(x, weights, 3, given)
            for i in range(4):
                of_codes = np.arange(20) % 3 if given is None else np.full(20, labels[i])
                costs = objective.cost(candidates, x[i : i + 1], weights[:1], of_codes).numpy()
                best = costs.argsort()[:2]
                np.testing.assert_array_equal(starts[2 * i : 2 * i + 2], candidates[best])
                np.testing.assert_array_equal(classes[2 * i : 2 * i + 2], of_codes[best])


def test_a_conditional_gan_is_inverted_with_the_class_and_filled_by_the_class_that_is_given():
    model = small_gan(ConditionalDCGAN)
    inputs = model.invert(examples(model, 5), seed=0)
    assert inputs.shape == (5, 4 + 3)
    np.testing.assert_array_equal(np.sort(inputs[:, 4:], axis=1), np.tile([0, 0, 1], (5, 1)))
    x = examples(model, 2)
    known = np.zeros((2, 8, 8, 1), bool)
    filled = [model.fill(x, known, seed=0, given={"y": np.array(labels)}) for labels in ([0, 1], [0, 2])]
    np.testing.assert_array_equal(filled[0][0], filled[1][0])
    assert (filled[0][1] != filled[1][1]).any()


@pytest.mark.parametrize("use", ["invert", "fill"])
def test_results_are_the_same_to_the_bit_for_every_batch_size(use):
    model = small_gan()
    x = Stream(0, "x").uniform((7, 8, 8, 1))
    calls = {
        "invert": lambda part: model.invert(part, seed=3),
        "fill": lambda part: model.fill(part, hole(part), seed=3),
    }
    whole = calls[use](x)
    for part in (slice(0, 1), slice(3, 7)):
        np.testing.assert_array_equal(calls[use](x[part]), whole[part])


def test_the_averaged_weights_are_inverted():
    model = small_gan(averaging=0.9)
    for name in model.average.averages:
        model.average.averages[name][...] = 0
    blank = model.generate(np.zeros((1, 4), "f"))
    assert np.ptp(blank) == 0
    x = Stream(0, "x").uniform((1, 8, 8, 1))
    known = np.zeros((1, 8, 8, 1), bool)
    np.testing.assert_array_equal(model.fill(x, known, seed=0), blank)


def test_unfit_arguments_are_refused():
    model, x = small_gan(), np.zeros((2, 8, 8, 1), "f")
    with pytest.raises(ShapeError, match=r"^dcgan draws images \(N, 8, 8, 1\), not \(2, 8, 7, 1\)$"):
        model.invert(x[:, :, 1:], seed=0)
    with pytest.raises(ShapeError, match=r"^fill: known has shape \(2, 8, 8, 1\) and dtype float32, not .* and bool$"):
        model.fill(x, x, seed=0)
    with pytest.raises(UsageError, match=r"^dcgan takes no conditions: leave out given$"):
        model.fill(x, hole(x), seed=0, given={"y": np.zeros(2, int)})
    with pytest.raises(UsageError, match="label 3 is unknown"):
        small_gan(ConditionalDCGAN).fill(x, hole(x), seed=0, given={"y": np.array([0, 3])})


def test_a_gpu_finds_the_same_codes(cuda):
    x = Stream(0, "x").uniform((3, 8, 8, 1))
    for how in (Search(candidates=20, restarts=2, evaluations=5), Search("l-bfgs", 20, 2, 5)):
        results = []
        for device in ("cpu", cuda):
            random.seed(0)
            model = ConditionalDCGAN(DCGAN.Config(latent=4, channels=2), SPEC, device)
            model.search = how
            results.append((model.invert(x, seed=0), model.fill(x, hole(x), seed=0)))
        for on_cpu, on_gpu in zip(*results, strict=True):
            np.testing.assert_allclose(on_gpu, on_cpu, rtol=1e-3, atol=1e-4)
