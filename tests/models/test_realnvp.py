"""Real NVP: masks, what a coupling layer changes, and the codes of each scale."""

import numpy as np
import pytest

from tests.models.flows import small_flow
from tinygen import models
from tinygen.data import Dataset, Image, Spec, Split
from tinygen.errors import UsageError
from tinygen.models.flows.layers import Squeeze
from tinygen.models.flows.realnvp import Coupling, checkerboard, halves, perceptron
from tinygen.random import Stream


def test_masks_are_a_chessboard_and_the_first_half():
    np.testing.assert_array_equal(checkerboard((2, 3, 1))[:, :, 0], [[0, 1, 0], [1, 0, 1]])
    np.testing.assert_array_equal(checkerboard((2, 3, 2))[..., 0], checkerboard((2, 3, 2))[..., 1])
    np.testing.assert_array_equal(halves(5), [1, 1, 0, 0, 0])


def test_a_squeezed_pixel_has_the_four_of_a_block_as_channels():
    x = np.arange(16, dtype=np.float32).reshape(1, 4, 4, 1)
    y, log_det = Squeeze()(x)
    np.testing.assert_array_equal(y[0, 0, 1], [2, 3, 6, 7])
    assert log_det == 0
    np.testing.assert_array_equal(Squeeze().inverse(y), x)


def test_a_coupling_layer_keeps_one_half_and_changes_the_other_by_it():
    layer = Coupling(halves(4), perceptron(4, 8, 1))
    layer.network[2].weight.assign(Stream(0, "weights").normal((8, 8)))
    x = Stream(0, "x").normal((50, 4))
    y = layer(x)[0].numpy()
    np.testing.assert_array_equal(y[:, :2], x[:, :2])
    slope = (layer(x + np.float32([0, 0, 1, 1]))[0].numpy() - y)[:, 2:]
    assert (np.abs(np.log(slope)) < 1).all(), "a tanh times a factor of 1"
    assert np.ptp(slope, axis=0).min() > 0.3
    other = x.copy()
    other[:, 0] += 1
    assert (layer(other)[0].numpy()[:, 2:] != y[:, 2:]).all()


def test_the_figure_has_new_codes_of_the_finest_scale_and_of_the_two_finest():
    model = small_flow("realnvp", Image(8, 8, 1, "grey", levels=0), scales=3, couplings=1)
    x = Stream(0, "x").uniform((4, 8, 8, 1))
    split = Split(model.spec.fields, {"x": x})
    _, figure = model.figures(Dataset(model.spec, split, split, split), seed=0)
    original, *changed = figure.images.reshape(3, 4, 8, 8, 1)
    np.testing.assert_array_equal(original, x)
    codes, drawn = model.encode(x), Stream(0, "scales").normal((4, 64))
    for images, new in zip(changed, (32, 48), strict=True):
        mixed = np.where(np.arange(64) < new, drawn, codes)
        np.testing.assert_allclose(images, model.decode(mixed), atol=1e-5)


def test_codes_of_a_coarser_scale_reach_further():
    """One code of the finest of three scales changes fewer pixels than one of the coarsest."""
    model = small_flow("realnvp", Image(16, 16, 1, "grey", levels=0), scales=3, couplings=1)
    codes = np.zeros((3, 256), np.float32)
    codes[1, 30], codes[2, -30] = 1, 1
    base, finest, coarsest = model.decode(codes)
    assert 0 < (np.abs(finest - base) > 1e-6).sum() < (np.abs(coarsest - base) > 1e-6).sum()


def test_sides_that_the_scales_cannot_halve_are_refused():
    system = models.get("realnvp")
    message = "^3 scales need sides that are multiples of 4, not 28x30; use --scales 1$"
    with pytest.raises(UsageError, match=message):
        system(system.Config(scales=3), Spec("noise", {"x": Image(28, 30, 1, "grey")}))
