"""Generative stochastic networks: their noise and their Markov chains."""

import numpy as np
import pytest

from tinygen import models, random
from tinygen.data import Dataset, Image, Spec, Split
from tinygen.errors import UsageError
from tinygen.models.energy.draws import Draws, DrawsByRow
from tinygen.random import Stream


def gsn(kind="grey", **config):
    random.seed(0)
    model = models.get("gsn")
    config = {"hidden": 9, "sampling_steps": 4} | config
    return model(model.Config(**config), Spec("noise", {"x": Image(4, 5, 1, kind)}))


def test_salt_and_pepper_noise_sets_half_of_the_level_to_0_and_half_to_1():
    model, x = gsn(level=0.4), np.full((500, 4, 5, 1), 0.25, np.float32)
    noisy = model.corrupt(x, Stream(0, "noise"))
    for value, share in ((0, 0.2), (1, 0.2), (0.25, 0.6)):
        assert (noisy == value).mean() == pytest.approx(share, abs=0.02)
    np.testing.assert_array_equal(gsn(level=0).corrupt(x, Stream(0, "noise")), x)


def test_a_chain_continues_from_sampled_images_and_the_hidden_units():
    model, x = gsn(hidden_noise=0.5), Stream(0, "x").uniform((6, 20))
    with model.evaluating():
        first, second = (logits.numpy() for logits in model.chain(x, 2, Draws(Stream(0, "chain"), "cpu")))
        draws = Draws(Stream(0, "chain"), "cpu")
        logits, above = model.transition(model.with_noise(x, draws.uniform(x.shape)), model.initial_units(x), draws)
        np.testing.assert_array_equal(logits, first)
        sampled = (draws.uniform(x.shape) < 1 / (1 + np.exp(-first))).astype(np.float32)
        logits, _ = model.transition(model.with_noise(sampled, draws.uniform(x.shape)), above, draws)
    np.testing.assert_allclose(logits, second, rtol=1e-5, atol=1e-6)


def test_draws_by_row_do_not_depend_on_the_number_of_rows():
    for name in ("uniform", "normal"):
        many, few = (DrawsByRow(3, "test", "cpu") for _ in range(2))
        for size in (5, 2):
            both = [getattr(draws, name)((rows, size)) for draws, rows in ((many, 9), (few, 4))]
            np.testing.assert_array_equal(both[0][:4], both[1])


def test_chains_return_their_last_steps_and_figures_show_them():
    model, x = gsn(), Stream(0, "x").uniform((3, 20))
    all_steps = model.run_chains(x, 6, 6, seed=1)
    assert all_steps.shape == (6, 3, 4, 5, 1)
    np.testing.assert_array_equal(model.run_chains(x, 6, 2, seed=1), all_steps[4:])
    split = Split(model.spec.fields, {"x": x.reshape(3, 4, 5, 1)})
    denoised, chains = model.figures(Dataset(model.spec, split, split, split), seed=1)
    assert len(denoised.images) == 9
    np.testing.assert_array_equal(denoised.images[:3], x.reshape(3, 4, 5, 1))
    assert chains.images.shape == (3 * 20, 4, 5, 1)
    assert chains.columns == 20


def test_a_level_above_one_is_refused():
    with pytest.raises(UsageError, match=r"^level is 1\.5; as a probability it is at most 1$"):
        gsn(level=1.5)
