"""MADE and its masks: what an output depends on, exact likelihoods of an ensemble, and sampling in the order."""

import itertools

import numpy as np
import pytest

from tinygen import models, random
from tinygen.autograd import no_grad
from tinygen.data import Image, Spec
from tinygen.models.autoregressive.masks import MaskedNetwork
from tinygen.random import Stream

SIZE = 12


def small_model(height=3, width=4, **config):
    """A model with weights so large that an output changes with every value that it depends on."""
    random.seed(0)
    model = models.get("made")
    model = model(model.Config(**({"hidden": 40} | config)), Spec("noise", {"x": Image(height, width, 1, "binary")}))
    for p in model.parameters():
        p.assign(3 * p.numpy())
    return model


def every_image(height, width):
    bits = np.array(list(itertools.product((0, 1), repeat=height * width)), np.float32)
    return bits.reshape(-1, height, width, 1)


def dependences(network, choice, **given):
    """Whether the outputs of input i depend on input j, as bool (i, j), found by changing one at a time."""
    x = Stream(0, "test vectors").normal((20, SIZE))
    depends = np.zeros((SIZE, SIZE), bool)
    with no_grad():
        before = network(x, choice, **given).numpy()
        for d in range(SIZE):
            changed = x.copy()
            changed[:, d] += 1
            depends[:, d] = (network(changed, choice, **given).numpy() != before).any(axis=(0, 2))
    return depends


@pytest.mark.parametrize("order", ["natural", "reversed", "random"])
@pytest.mark.parametrize(("layers", "direct"), [(1, True), (2, True), (3, False)])
def test_outputs_depend_on_earlier_inputs_of_the_order_only(order, layers, direct):
    random.seed(1)
    network = MaskedNetwork(SIZE, 60, layers, outputs=2, order=order, masks=2, direct=direct)
    for choice in range(2):
        degrees = network.input_degrees[choice]
        assert sorted(degrees) == list(range(1, SIZE + 1))
        if order != "random":
            np.testing.assert_array_equal(degrees, np.arange(1, 13) if order == "natural" else np.arange(12, 0, -1))
        earlier = degrees[None] < degrees[:, None]
        depends = dependences(network, choice)
        assert not depends[~earlier].any(), "a leak"
        assert depends[earlier].all() if direct else depends[earlier].mean() > 0.6
        context = Stream(0, "context").normal((20, 60))
        assert not dependences(network, choice, context=context)[~earlier].any()


def test_outputs_depend_on_the_context_except_the_first():
    random.seed(1)
    network = MaskedNetwork(SIZE, 60, 1, outputs=2)
    x = Stream(0, "test vectors").normal((5, SIZE))
    contexts = None, np.zeros((5, 60), np.float32), np.ones((5, 60), np.float32)
    with no_grad():
        without, zero, one = (network(x, 0, context).numpy() for context in contexts)
    np.testing.assert_array_equal(without, zero)
    assert (one != zero).any(axis=(0, 2))[1:].all()
    np.testing.assert_array_equal(one[:, 0], zero[:, 0])  # the first output depends on no hidden unit


def test_masks_differ_from_each_other():
    network = small_model(masks=3).network
    assert len({tuple(each) for each in network.input_degrees}) == 3
    assert len({tuple(each.ravel()) for each in network.hidden_degrees}) == 3


@pytest.mark.parametrize("config", [{}, {"masks": 3, "layers": 2}, {"direct": False, "order": "natural"}])
def test_the_probabilities_of_all_images_sum_to_one(config):
    p = np.exp(small_model(**config).log_prob(every_image(3, 4)).astype("float64"))
    assert p.max() > 5 * p.min()
    assert p.sum() == pytest.approx(1, rel=1e-5)


def test_the_likelihood_of_an_ensemble_is_the_mean_of_likelihoods():
    model, x = small_model(masks=3), every_image(3, 4)[::17]
    with no_grad():
        each = np.exp([model.log_prob_under(choice, x.reshape(len(x), -1)).numpy() for choice in range(3)])
    assert (each.std(axis=0) > 0).all()
    np.testing.assert_allclose(np.exp(model.log_prob(x)), each.mean(axis=0), rtol=1e-5)


@pytest.mark.parametrize("layers", [1, 2])
def test_outputs_computed_one_by_one_in_the_order_equal_a_forward_pass(layers):
    random.seed(2)
    network, x = MaskedNetwork(SIZE, 30, layers, outputs=2, order="random"), Stream(0, "x").normal((4, SIZE))
    known, order = np.zeros_like(x), []
    with no_grad():
        expected = network(x).numpy()
        for d, outputs in network.in_order(known):
            np.testing.assert_allclose(outputs, expected[:, d], rtol=1e-4, atol=1e-5)
            known[:, d] = x[:, d]
            order.append(d)
    np.testing.assert_array_equal(network.input_degrees[0][order], np.arange(1, 13))


def test_samples_have_the_probabilities_of_the_likelihood():
    model, n = small_model(2, 2, masks=2), 20_000
    p = np.exp(model.log_prob(every_image(2, 2)))
    samples = model.sample(n, seed=0).reshape(n, 4) @ [8, 4, 2, 1]
    frequency = np.bincount(samples.astype(int), minlength=16) / n
    assert (np.abs(frequency - p) < 4 * np.sqrt(p * (1 - p) / n)).all()


def test_the_figures_show_stages_of_sampling_and_the_orders():
    model = small_model(masks=2)
    stages, orders = model.figures(None, seed=3)
    parts = stages.images.reshape(5, 10, 12)
    assert (parts != 0.5).sum(axis=2).tolist() == [[share] * 10 for share in (2, 4, 7, 9, 12)]
    for earlier, later in itertools.pairwise(parts):
        np.testing.assert_array_equal(earlier[earlier != 0.5], later[earlier != 0.5])
    np.testing.assert_array_equal(parts[-1].reshape(10, 3, 4, 1), model.sample(10, seed=3))
    np.testing.assert_allclose(12 * orders.images.reshape(2, 12), model.network.input_degrees, rtol=1e-6)
