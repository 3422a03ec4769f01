"""U-Net and ResNet generators, discriminators of patches: against NumPy, at any size, and what an output depends on."""

import itertools

import numpy as np
import pytest

from tests.models import translation_numpy as reference
from tinygen import random
from tinygen.autograd import array_of, no_grad
from tinygen.models.translation.networks import (
    PATCHES,
    PatchDiscriminator,
    ResNetGenerator,
    UNetGenerator,
    dropped,
    fitted,
    largest_patch,
)
from tinygen.nn import BatchNorm
from tinygen.random import Stream


def uniform(name, *shape):
    return Stream(0, name).uniform(shape)


def of_images(x):
    return reference.normed(x, (1, 2))


def randomised(network):
    """The network with weights at which its outputs vary, in evaluation."""
    for number, parameter in enumerate(network.parameters()):
        fan_in = parameter.size // parameter.shape[-1] if parameter.ndim > 1 else 4
        parameter.assign(Stream(number, "weights").normal(parameter.shape) / fan_in**0.5)
    return network.eval()


def output(network, *x):
    with no_grad():
        return array_of(network(*x))


@pytest.mark.parametrize("halvings", [1, 3])
def test_the_unet_is_that_of_the_paper(halvings):
    network = randomised(UNetGenerator(2, 3, channels=3, halvings=halvings, norm="instance", dropout=0.0))
    x = uniform("x", 2, 16, 8, 2)
    np.testing.assert_allclose(output(network, x), reference.unet(network, x, itertools.repeat(of_images)), atol=2e-5)


def test_in_evaluation_batch_norm_takes_the_statistics_of_each_image_and_in_training_those_of_the_batch():
    network = randomised(UNetGenerator(2, 1, channels=3, halvings=3, norm="batch", dropout=0.0))
    layers = [module for module in network.modules() if isinstance(module, BatchNorm)]
    x = uniform("x", 3, 8, 8, 2)
    for axes, mode in (((1, 2), False), ((0, 1, 2), True)):
        network.train(mode)
        norms = [
            lambda x, layer=layer, axes=axes: reference.normed(x, axes, layer.scale.numpy(), layer.shift.numpy())
            for layer in layers
        ]
        np.testing.assert_allclose(output(network, x), reference.unet(network, x, norms), atol=2e-5)


def test_dropout_is_drawn_in_evaluation_too_and_scaled():
    network = randomised(UNetGenerator(1, 1, channels=2, halvings=3, norm="instance", dropout=0.25))
    assert network.noisy == 2, "the last layer has none"
    x = uniform("x", 2, 8, 8, 1)
    masks = []
    for layer, shape in enumerate([(2, 2, 2, 4), (2, 4, 4, 2)]):
        masks.append((Stream(5, f"noise {layer}").uniform(shape) >= 0.25) / 0.75)
    y = output(network, x, [Stream(5, f"noise {layer}") for layer in range(2)])
    np.testing.assert_allclose(y, reference.unet(network, x, itertools.repeat(of_images), masks), atol=2e-5)


def test_the_mask_of_an_example_does_not_depend_on_how_many_are_drawn():
    x = np.ones((5, 3, 1, 1), np.float32)
    whole, stream = dropped(x, 0.5, Stream(0, "noise")), Stream(0, "noise")
    np.testing.assert_array_equal(np.concatenate([dropped(x[:2], 0.5, stream), dropped(x[2:], 0.5, stream)]), whole)
    assert set(np.unique(whole)) == {0, 2}


def test_widths_double_up_to_eight_times():
    random.seed(0)
    network = UNetGenerator(3, 3, channels=2, halvings=6)
    widths = [layer[0].shape[3] for layer in reference.weights_of(network)[:6]]
    assert widths == [2, 4, 8, 16, 16, 16]


@pytest.mark.parametrize(("blocks", "halvings"), [(1, 2), (2, 1)])
def test_the_resnet_is_that_of_the_paper(blocks, halvings):
    network = randomised(ResNetGenerator(3, 1, channels=2, blocks=blocks, halvings=halvings))
    x = uniform("x", 2, 12, 8, 3)
    np.testing.assert_allclose(output(network, x), reference.resnet(network, x, of_images, blocks, halvings), atol=2e-5)


@pytest.mark.parametrize("patch", PATCHES)
def test_the_discriminator_is_that_of_the_paper(patch):
    network = randomised(PatchDiscriminator(3, channels=2, patch=patch, norm="instance"))
    x = uniform("x", 2, 40, 32, 3)
    np.testing.assert_allclose(output(network, x), reference.patches(network, x, of_images, PATCHES[patch]), atol=2e-5)


@pytest.mark.parametrize("patch", PATCHES)
def test_an_output_of_the_discriminator_depends_on_a_patch_of_that_side(patch, monkeypatch):
    """Found by gradients, without the normalisation, through which an output depends on the whole image."""
    import tinygen as tg
    from tinygen.models.translation import networks
    from tinygen.nn import Identity

    monkeypatch.setitem(networks.NORMS, "instance", lambda channels: Identity())
    network = randomised(PatchDiscriminator(1, channels=1, patch=patch, norm="instance"))
    side = 2 * patch + 2
    x = tg.tensor(uniform("x", 1, side, side, 1), requires_grad=True)
    logits = network(x)
    middle = logits.shape[1] // 2
    slope = tg.grad(logits[0, middle, middle, 0], x).numpy()[0, ..., 0]
    for axis in (0, 1):
        assert np.flatnonzero(np.abs(slope).sum(axis=axis)).size == patch


def test_seventy_pixels_give_the_thirty_by_thirty_outputs_of_the_authors():
    random.seed(0)
    network = PatchDiscriminator(3, channels=1, patch=70)
    assert output(network, np.zeros((1, 256, 256, 3), np.float32)).shape == (1, 30, 30, 1)


@pytest.mark.parametrize("size", [(1, 1), (3, 10), (9, 5)])
def test_networks_take_images_of_any_size(size):
    random.seed(0)
    x = uniform("x", 2, *size, 3)
    unet, resnet = UNetGenerator(3, 1, channels=2, halvings=3), ResNetGenerator(3, 1, channels=2, blocks=1)
    discriminator = PatchDiscriminator(3, channels=2, patch=34)
    for network in (unet, resnet):
        assert output(network.eval(), x).shape == (2, *size, 1)
    assert output(discriminator.eval(), x).shape == (2, 1, 1, 1)


def test_edges_are_repeated_below_and_on_the_right():
    x = np.arange(6, dtype=np.float32).reshape(1, 2, 3, 1)
    np.testing.assert_array_equal(fitted(x, 4)[0, ..., 0], [[0, 1, 2, 2], [3, 4, 5, 5], [3, 4, 5, 5], [3, 4, 5, 5]])
    assert fitted(x, 1, 2) is x
    assert fitted(x, 4, 8).shape == (1, 8, 8, 1)


def test_the_largest_patch_lies_within_the_image():
    assert [largest_patch(*size) for size in ((8, 8), (34, 33), (64, 34), (70, 256))] == [16, 16, 34, 70]
