"""SRResNet and SRGAN: pairs and baseline as of Pillow, the networks of figure 4, the order of steps, any size."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture

from tests.models.cases import make
from tests.models.pillow import bicubic
from tests.models.test_equations import model_with_random_weights
from tinygen import random
from tinygen.cli import main
from tinygen.data import Batch, Dataset, Image, Labels, Spec, Split
from tinygen.errors import DataError, UsageError
from tinygen.metrics.images import psnr, ssim
from tinygen.models import SRGAN, check_data
from tinygen.models.translation import chroma, srgan
from tinygen.models.translation.rescaling import larger, smaller
from tinygen.models.translation.srgan import discriminator
from tinygen.nn import BatchNorm, Conv2d, Linear, PixelShuffle, PReLU
from tinygen.random import Stream

FEW = {"scale": 2, "blocks": 1, "channels": 2, "batch_size": 4, "resnet_steps": 2}


def uniform(name, *shape):
    return Stream(0, name).uniform(shape)


def small_model(shape=(8, 12, 3), **config):
    kind = "rgb" if shape[2] == 3 else "grey"
    return make("srgan", FEW | config, Spec("photos", {"x": Image(*shape, kind)}))


def train(model, steps):
    split = Split(model.spec.fields, {"x": uniform("train", 12, *model.spec.x.shape)})
    batches = model.source(split, seed=0)
    return [model.training_step(next(batches)) for _ in range(steps)]


def arrays(network):
    return {name: array.copy() for name, array in network.state_dict().items()}


def differ(before, after):
    return any((before[name] != after[name]).any() for name in before)


# Sizes, as Pillow changes them


@pytest.mark.parametrize("scale", [2, 4, 8])
@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_made_smaller_and_larger_as_by_pillow(scale, channels):
    x = uniform("x", 2, 16, 24, channels)
    np.testing.assert_allclose(smaller(x, scale), bicubic(x, 16 // scale, 24 // scale), atol=2e-6)
    np.testing.assert_allclose(larger(x, scale), bicubic(x, 16 * scale, 24 * scale), atol=2e-6)


def test_the_inputs_are_those_of_8_bit_pictures_up_to_rounding():
    levels = (255 * uniform("levels", 5, 16, 12, 3)).astype(np.uint8)
    pairs = small_model((16, 12, 3), scale=4).pairs(Batch(x=levels / np.float32(255)), seed=0)
    for level, x in zip(levels, pairs.x, strict=True):
        picture = np.asarray(Picture.fromarray(level).resize((3, 4), Picture.Resampling.BICUBIC))
        assert np.abs(255 * x - picture).max() < 1.5
    np.testing.assert_array_equal(pairs.target, levels / np.float32(255))


def test_a_low_pass_filter_leaves_nothing_of_the_finest_stripes():
    stripes = np.tile(np.float32([0, 1]), 16).reshape(1, 1, 32, 1).repeat(32, axis=1)
    inner = smaller(stripes, 4)[:, 1:-1, 1:-1]
    np.testing.assert_allclose(inner, 0.5, atol=0.02)


# Metrics


@pytest.mark.parametrize("channels", [1, 3])
def test_metrics_and_the_bicubic_baseline_are_means_over_images(channels):
    model = small_model((24, 32, channels), adversarial_weight=0.0)
    train(model, 3)
    x = uniform("held out", 7, 24, 32, channels) ** np.arange(1, 8, dtype=np.float32).reshape(-1, 1, 1, 1)
    numbers = model.evaluate(Split(model.spec.fields, {"x": x}), seed=0)
    small = bicubic(x, 12, 16).clip(0, 1)
    for prefix, guess in (("", model.translate(small)), ("bicubic_", bicubic(small, 24, 32).clip(0, 1))):
        compared = {"": (guess, x)} | ({"luma_": (chroma.luma(guess), chroma.luma(x))} if channels == 3 else {})
        for part, (a, b) in compared.items():
            mean = np.mean([psnr(float(((p - q) ** 2).mean())) for p, q in zip(a, b, strict=True)])
            assert numbers[f"{prefix}{part}psnr_db"] == pytest.approx(mean, abs=1e-3)
            assert numbers[f"{prefix}{part}ssim"] == pytest.approx(ssim(a, b).mean(), abs=1e-4)
    assert len(numbers) == 4 * (1 if channels == 1 else 2)


# The networks


def test_the_generator_has_the_layers_of_figure_4():
    model = make("srgan", {"blocks": 16, "adversarial_weight": 0.0}, Spec("photos", {"x": Image(96, 96, 3, "rgb")}))
    layers = list(model.generator.modules())
    sizes = [layer.weight.shape for layer in layers if isinstance(layer, Conv2d)]
    assert sizes == [(9, 9, 3, 64), *[(3, 3, 64, 64)] * 33, *[(3, 3, 64, 256)] * 2, (9, 9, 64, 3)]
    assert sum(isinstance(layer, BatchNorm) for layer in layers) == 33
    assert sum(isinstance(layer, PReLU) for layer in layers) == 1 + 16 + 2
    assert sum(isinstance(layer, PixelShuffle) for layer in layers) == 2


def test_the_discriminator_has_the_layers_of_figure_4():
    layers = list(discriminator((96, 96, 3), 64).modules())
    convolutions = [layer for layer in layers if isinstance(layer, Conv2d)]
    assert [layer.weight.shape[3] for layer in convolutions] == [64, 64, 128, 128, 256, 256, 512, 512]
    assert [layer.options["stride"] for layer in convolutions] == [1, 2] * 4
    assert [layer.weight.shape for layer in layers if isinstance(layer, Linear)] == [(6 * 6 * 512, 1024), (1024, 1)]
    assert sum(isinstance(layer, BatchNorm) for layer in layers) == 7


def test_a_block_whose_last_batch_norm_is_zero_passes_its_input_on():
    model = small_model()
    block, x = model.generator.blocks[0], uniform("x", 2, 4, 6, 2)
    assert (block(x).numpy() != x).any()
    block.change.layers[-1].scale.assign(0.0)
    np.testing.assert_array_equal(block(x).numpy(), x)


# Steps


def test_srresnet_is_trained_first_and_then_both_networks():
    model = small_model()
    networks = model.generator, model.discriminator
    for step, adversarial in enumerate([False, False, True, True]):
        before = [arrays(network) for network in networks]
        (scalars,) = train(model, 1)
        changed = [differ(old, network.state_dict()) for old, network in zip(before, networks, strict=True)]
        assert changed == [True, adversarial], step
        assert ("generator_nats" in scalars) is adversarial


def test_srresnet_alone_has_no_discriminator_and_is_chosen_by_psnr():
    alone, adversarial = small_model(adversarial_weight=0.0), small_model()
    assert alone.discriminator is None
    assert (alone.selection_metric, adversarial.selection_metric) == ("psnr_db", None)
    assert all(set(scalars) == {"squared_error_per_pixel"} for scalars in train(alone, 4))


def test_learning_rates_fall_over_the_steps_of_srresnet_and_are_then_those_of_srgan():
    rates = {"learning_rate": 0.4, "warmup_steps": 2, "adversarial_learning_rate": 0.3}
    rate = small_model(resnet_steps=6, **rates).generator_optimizer.lr
    assert [rate(step) for step in (6, 7, 99)] == [0.3] * 3
    fall = [0.2 * (1 + np.cos(np.pi * k / 4)) for k in range(4)]
    assert [rate(step) for step in range(2, 6)] == pytest.approx(fall)
    assert 0 < rate(0) < rate(1) <= 0.4
    alone = small_model(adversarial_weight=0.0, **rates)
    assert alone.generator_optimizer.lr(50) == 0.4, "the number of steps is unknown"
    alone.plan.steps = 10
    assert alone.generator_optimizer.lr(6) == pytest.approx(0.2)


def test_a_feature_network_is_compared_and_never_changed():
    spec = Spec("photos", {"x": Image(8, 8, 3, "rgb"), "y": Labels(3)})
    config = FEW | {"content": "features", "feature_steps": 2, "feature_layers": ("relu1_1", "relu2_1")}
    model = make("srgan", config, spec)
    before = arrays(model.features)
    scalars = train(model, 4)
    assert not differ(before, model.features.state_dict())
    assert [set(each) & {"feature_distance", "squared_error_per_pixel"} for each in scalars] == [
        {"squared_error_per_pixel"}
    ] * 2 + [{"feature_distance"}] * 2


# Any size


@pytest.mark.parametrize("scale", [2, 4])
def test_images_of_any_size_are_enlarged_and_bit_identical_in_any_company(scale):
    model = model_with_random_weights("srgan", FEW | {"scale": scale, "channels": 32}, "rgb")
    for size in ((1, 1), (3, 2), (5, 9)):
        x = uniform("x", 60, *size, 3)
        whole = model.translate(x)
        assert whole.shape == (60, scale * size[0], scale * size[1], 3)
        assert whole.min() >= 0
        assert whole.max() <= 1
        for n in (1, 51):
            assert model.translate(x[:n]).tobytes() == whole[:n].tobytes()


@pytest.mark.parametrize("scale", [2, 4])
def test_tiles_of_large_images_fit_without_a_seam(scale, monkeypatch):
    model = model_with_random_weights("srgan", FEW | {"scale": scale}, "grey")
    x = uniform("x", 2, 27, 30, 1)
    whole = model.translate(x)
    monkeypatch.setattr(srgan, "TILE", 8)
    np.testing.assert_allclose(model.translate(x), whole, atol=1e-5)
    model.generator.reach = 0
    assert np.abs(model.translate(x) - whole).max() > 0.01, "tiles without a margin have seams"


def test_a_pixel_depends_on_no_more_than_the_reach_of_the_network():
    model = model_with_random_weights("srgan", FEW | {"scale": 2, "channels": 4}, "grey").eval()
    reach = model.generator.reach
    x = uniform("x", 1, 4 * reach, 4 * reach, 1)
    changed = x.copy()
    changed[0, 2 * reach, 2 * reach] += 1
    differs = (model.generator(x).numpy() != model.generator(changed).numpy())[0, ..., 0]
    rows = np.flatnonzero(differs.any(axis=1))
    assert 2 * (2 * reach) - rows[0] <= 2 * reach
    assert rows[-1] - (2 * (2 * reach) + 1) <= 2 * reach
    assert len(rows) > 2 * reach


def test_pictures_of_a_folder_are_enlarged_under_their_names(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    flags = "--adversarial-weight 0 --scale 2 --blocks 1 --channels 2 --batch-size 9".split()
    assert main(["train", "srgan", "--data", "digits8x8", "--steps", "2", "--out", "run", *flags]) == 0
    Path("pictures").mkdir()
    Picture.new("L", (9, 5), 100).save("pictures/a.png")
    Picture.new("RGB", (3, 12)).save("pictures/b.jpg")
    assert main("translate run --images pictures --out large".split()) == 0
    sizes = {file.name: np.asarray(Picture.open(file)).shape for file in Path("large").iterdir()}
    assert sizes == {"a.png": (10, 18), "b.png": (24, 6)}
    capsys.readouterr()
    assert main("translate run --n 3".split()) == 0
    assert "PSNR by bicubic interpolation" in capsys.readouterr().out


# Errors


@pytest.mark.parametrize(
    ("shape", "scale", "remedy"),
    [((28, 30, 1), 4, "--scale 2"), ((27, 30, 1), 2, "--size 30x26"), ((1, 1, 1), 4, "--size 4x4")],
)
def test_a_scale_that_does_not_divide_the_sides_is_refused(shape, scale, remedy):
    message = rf"^--scale {scale} needs sides divisible by {scale}, not {shape[0]}x{shape[1]}; use {remedy}$"
    with pytest.raises(UsageError, match=message):
        small_model(shape, scale=scale)


def test_such_a_scale_ends_in_one_line_before_the_run_begins(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    np.savez("odd.npz", x=np.zeros((20, 9, 8), np.uint8))
    assert main("train srgan --data odd.npz --steps 1 --out run".split()) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not Path("run").exists()


def test_other_scales_are_refused():
    with pytest.raises(UsageError, match=r"^scale is 3; images can be made 2, 4 or 8 times as large$"):
        SRGAN.Config(scale=3)


def test_labels_are_needed_only_if_a_feature_network_has_to_learn_them():
    data = Dataset.from_fields("photos", {"x": Image()}, {"x": np.zeros((30, 8, 8), np.uint8)})
    by_features = SRGAN.Config(**FEW, content="features")
    with pytest.raises(DataError, match=r"^model 'srgan' needs labels as y"):
        check_data(SRGAN, data, by_features)
    for config in (SRGAN.Config(**FEW), SRGAN.Config(**FEW, content="features", adversarial_weight=0.0)):
        assert check_data(SRGAN, data, config) is data


def test_results_do_not_depend_on_the_device(cuda):
    found = []
    for device in ("cpu", cuda):
        random.seed(0)
        model = SRGAN(SRGAN.Config(**FEW), Spec("photos", {"x": Image(8, 12, 3, "rgb")}), device)
        split = Split(model.spec.fields, {"x": uniform("x", 12, 8, 12, 3)})
        batches = model.source(split, seed=0)
        losses = [float(loss) for _ in range(4) for loss in model.training_step(next(batches).to(device)).values()]
        found.append((losses, model.translate(uniform("small", 3, 5, 4, 3)), model.evaluate(split, seed=0)))
    for on_cpu, on_device in zip(*found, strict=True):
        if isinstance(on_cpu, dict):
            on_cpu, on_device = list(on_cpu.values()), list(on_device.values())
        np.testing.assert_allclose(on_device, on_cpu, rtol=1e-3, atol=1e-3)
