"""LAPGAN: the pyramid and its inverse, levels that learn alone on real images, samples built level by level."""

import numpy as np
import pytest

import tinygen as tg
from tests.models.cases import make
from tests.models.pillow import bicubic
from tinygen import random
from tinygen.data import Batch, Dataset, Image, Spec, Split
from tinygen.errors import UsageError
from tinygen.models.adversarial import lapgan
from tinygen.random import Stream

FEW = {"latent": 3, "hidden": 5, "channels": 2, "batch_size": 6, "averaging": 0.0}


def images(n, *shape):
    return Stream(0, "images").uniform((n, *shape))


def small_model(shape=(8, 12, 3), **config):
    spec = Spec("photos", {"x": Image(*shape, "rgb" if shape[2] == 3 else "grey")})
    return make("lapgan", FEW | config, spec)


def arrays(network):
    return {name: array.copy() for name, array in network.state_dict().items()}


def step(model, x):
    random.seed(7)
    return model.training_step(Batch(x=x))


# The pyramid


@pytest.mark.parametrize("levels", [1, 3])
@pytest.mark.parametrize("shape", [(16, 24, 3), (8, 8, 1)])
def test_the_pyramid_is_inverted_exactly(shape, levels):
    x = 2 * images(4, *shape) - 1
    pyramid = lapgan.laplacian_pyramid(x, levels)
    assert [each.shape[1:3] for each in pyramid] == [(shape[0] >> k, shape[1] >> k) for k in range(levels + 1)]
    np.testing.assert_allclose(lapgan.from_laplacian_pyramid(pyramid), x, rtol=0, atol=3e-7)


def test_a_detail_is_an_image_minus_its_smaller_version_enlarged():
    x = images(3, 8, 12, 3)
    detail, small = lapgan.laplacian_pyramid(x, 1)
    np.testing.assert_allclose(small, bicubic(x, 4, 6), atol=2e-6)
    np.testing.assert_allclose(detail, x - bicubic(bicubic(x, 4, 6), 8, 12), atol=2e-6)
    flat = np.full((1, 8, 8, 1), 0.25, np.float32)
    np.testing.assert_allclose(lapgan.laplacian_pyramid(flat, 2)[0], 0, atol=2e-7)


def test_images_of_32_pixels_have_levels_of_8_16_and_32():
    model = make("lapgan", {"latent": 3, "hidden": 5, "channels": 2}, Spec("faces", {"x": Image(32, 32, 1, "grey")}))
    assert [real.shape[1:3] for real, _ in model.examples(images(2, 32, 32, 1))] == [(8, 8), (16, 16), (32, 32)]


@pytest.mark.parametrize(
    ("shape", "levels", "remedy"), [((12, 8), 3, "--levels 2"), ((6, 8), 2, "--levels 1"), ((5, 8), 1, "--model dcgan")]
)
def test_sides_that_cannot_be_halved_are_refused(shape, levels, remedy):
    sides = rf"divisible by {2**levels}, not {shape[0]}x{shape[1]}"
    with pytest.raises(UsageError, match=rf"^{levels} levels need sides {sides}; use {remedy}$"):
        small_model((*shape, 1), levels=levels)


# Training


def recorded(network):
    """The inputs of a network, in a list that its calls fill."""
    inputs, forward = [], network.forward
    network.forward = lambda x: inputs.append(np.asarray(x.numpy() if isinstance(x, tg.Tensor) else x)) or forward(x)
    return inputs


def test_a_discriminator_is_given_high_pass_plus_low_pass_images():
    model, x = small_model(levels=1), images(6, 8, 12, 3)
    level = model.finer[0]
    detail, small = lapgan.laplacian_pyramid(2 * x - 1, 1)
    low = bicubic(small, 8, 12)
    given, seen = recorded(level.generator), recorded(level.discriminator)
    random.seed(7)
    with tg.no_grad():
        model.coarsest.draw(random.stream("train"), 6)  # its noise is drawn first
        plane = level.draw(random.stream("train"), 6)
        generated = level.generator(np.concatenate([low, plane], axis=3)).numpy()
    given.clear()
    step(model, x)
    (given,), (real, fake, again) = given, seen
    np.testing.assert_allclose(given, np.concatenate([low, plane], axis=3), atol=2e-6)
    np.testing.assert_allclose(real, low + detail, atol=2e-6)
    np.testing.assert_allclose(fake, low + generated, atol=1e-5)
    np.testing.assert_array_equal(fake, again)


def test_the_noise_of_a_finer_level_is_a_plane():
    plane = small_model(levels=1).finer[0].draw(Stream(0, "plane"), 50)
    assert plane.shape == (50, 8, 12, 1)
    assert [plane.min(), plane.max()] == pytest.approx([-1, 1], abs=0.01)
    assert len(np.unique(plane)) > 4000


def test_the_generated_detail_is_added_to_the_low_pass_image():
    level, low = small_model(levels=1).finer[0], images(4, 8, 12, 3)
    plane = level.draw(Stream(0, "plane"), 4)
    with tg.no_grad():
        detail = level.generator(np.concatenate([low, plane], axis=3)).numpy()
        np.testing.assert_array_equal(level.fake(plane, low).numpy(), low + detail)
    assert (detail != 0).any()


def test_levels_learn_alone_on_real_images():
    """The finer levels take the very same step whatever the level below has learnt, and each makes one."""
    x, found = images(6, 8, 12, 3), []
    for weight in (0.0, 1.0):
        model = small_model(levels=2)
        for parameter in model.coarsest.parameters():
            parameter.assign(parameter + weight)
        before = [arrays(level) for level in model.levels]
        step(model, x)
        for level, old in zip(model.levels, before, strict=True):
            assert int(level.generator_optimizer.count) == int(level.discriminator_optimizer.count) == 1
            for part in ("generator", "discriminator"):
                new = getattr(level, part).state_dict()
                assert any((new[name] != old[f"{part}.{name}"]).any() for name in new)
        found.append([{name: array.tobytes() for name, array in level.state_dict().items()} for level in model.finer])
    assert found[0] == found[1]


# Samples


def test_samples_are_built_level_by_level():
    model = small_model(levels=2)
    for _ in range(3):
        step(model, images(6, 8, 12, 3))
    noise = model.noise(5, 3, "sample")
    assert [each.shape for each in noise] == [(5, 3), (5, 4, 6, 1), (5, 8, 12, 1)]
    with model.evaluating():
        x = model.coarsest.generator(noise[0]).numpy()
        for level, plane in zip(model.finer, noise[1:], strict=True):
            low = bicubic(x, 2 * x.shape[1], 2 * x.shape[2])
            x = low + level.generator(np.concatenate([low, plane], axis=3)).numpy()
    np.testing.assert_allclose(model.sample(5, seed=3), (x / 2 + 0.5).clip(0, 1), atol=1e-5)


def test_samples_are_those_of_the_averages():
    model = small_model(levels=1, averaging=0.9)
    for _ in range(3):
        step(model, images(6, 8, 12, 3))
    averaged = model.sample(3, seed=0)
    for level in model.levels:
        level.average = None
    assert (model.sample(3, seed=0) != averaged).any()


def test_evaluation_matches_its_formulas():
    model, x = small_model(levels=1), images(9, 8, 12, 3)
    step(model, images(6, 8, 12, 3))
    numbers = model.evaluate(Split(model.spec.fields, {"x": x}), seed=4)
    small = bicubic(2 * x - 1, 4, 6)
    low = bicubic(small, 8, 12)
    with model.evaluating():
        for k, (level, real) in enumerate(zip(model.levels, (small, 2 * x - 1), strict=True)):
            noise = level.draw(Stream(4, f"eval {k}"), 9)
            fake = level.fake(noise, low if k else None)
            of_real, of_fake = (level.discriminator(each).numpy().astype(np.float64) for each in (real, fake))
            nats = np.log1p(np.exp(-of_real)).mean() + np.log1p(np.exp(of_fake)).mean()
            assert numbers[f"discriminator{4 << k}_nats"] == pytest.approx(nats, rel=1e-4)
    assert numbers["real_accuracy_rate"] == pytest.approx((of_real > 0).mean())
    assert numbers["made_accuracy_rate"] == pytest.approx((of_fake < 0).mean())
    assert len(numbers) == 4


# Figures


def test_figures_show_the_pyramid_of_samples_and_real_images_refined():
    model, x = small_model(levels=2), images(8, 8, 12, 3)
    split = Split(model.spec.fields, {"x": x})
    pyramids, refined = model.figures(Dataset(model.spec, split, split, split), seed=0)
    rows = pyramids.images.reshape(lapgan.SHOWN, 7, 8, 12, 3)
    assert pyramids.columns == 7
    np.testing.assert_array_equal(rows[:, 0, 0, 0], rows[:, 0, 3, 3])  # a pixel of the smallest image
    for low, detail, fine in (rows[:, 1:4].swapaxes(0, 1), rows[:, 4:7].swapaxes(0, 1)):
        inside = (fine > 0) & (fine < 1) & (low > 0) & (low < 1) & (detail > 0) & (detail < 1)
        assert inside.mean() > 0.3
        np.testing.assert_allclose((low + detail - 0.5)[inside], fine[inside], atol=1e-5)
    variants = refined.images.reshape(lapgan.SHOWN, -1, 8, 12, 3)
    np.testing.assert_array_equal(variants[:, 0], x[: lapgan.SHOWN])
    assert (variants[:, 2] != variants[:, 3]).any()


def test_a_step_that_is_refused_restores_running_statistics():
    model = small_model(levels=1)
    before = arrays(model)
    bad = images(6, 8, 12, 3)
    bad[0, 0, 0, 0] = np.nan
    with np.errstate(all="ignore"), pytest.raises(tg.errors.NonFiniteError):
        step(model, bad)
    after = model.state_dict()
    assert all(before[name].tobytes() == after[name].tobytes() for name in before)
