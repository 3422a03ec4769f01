"""Feature networks: their layers against NumPy and torchvision's numbering, networks from runs and from files."""

import numpy as np
import pytest
from safetensors.numpy import save_file

from tinygen import random
from tinygen.data import Image, Labels, Spec
from tinygen.errors import CheckpointError, DataError, RunError, UsageError
from tinygen.models import Features
from tinygen.models.features.files import open_network, read_vgg
from tinygen.models.features.network import VGG19, FeatureNetwork, first_blocks
from tinygen.random import Stream
from tinygen.train import fit

THIN = tuple(tuple(2 + i for _ in block) for i, block in enumerate(VGG19))
"""VGG-19 with 2 to 6 channels."""
CONVOLUTIONS = [0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34]
"""Indices of torchvision's convolutions in VGG-19; its pools before relu5_4 are the layers 4, 9, 18 and 27."""
POOLS = 4, 9, 18, 27


def spec_of(shape=(8, 8, 1), classes=3):
    return Spec("noise", {"x": Image(*shape, "rgb" if shape[2] == 3 else "grey"), "y": Labels(classes)})


def torch_weights(blocks=THIN):
    """Random weights with torchvision's names and shapes, (O, I, H, W)."""
    outputs, found, before = [k for block in blocks for k in block], {}, 3
    for index, k in zip(CONVOLUTIONS, outputs, strict=True):
        found[f"features.{index}.weight"] = Stream(index, "w").normal((k, before, 3, 3)) / np.float32(9 * before) ** 0.5
        found[f"features.{index}.bias"] = Stream(index, "b").normal(k)
        before = k
    return found


def layers_in_numpy(weights, x):
    """The outputs of all layers of VGG-19, in torchvision's order, for an RGB image (H, W, 3)."""
    y = np.transpose((x.astype(np.float64) - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225], (2, 0, 1))
    outputs = []
    for index in range(36):
        if index in CONVOLUTIONS:
            w, b = weights[f"features.{index}.weight"], weights[f"features.{index}.bias"]
            _, height, width = y.shape
            padded = np.pad(y, ((0, 0), (1, 1), (1, 1)))
            windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
            assert windows.shape[1:3] == (height, width)
            y = np.einsum("ihwkl,oikl->ohw", windows, w) + b[:, None, None]
        elif index in POOLS:
            c, height, width = y.shape
            y = y.reshape(c, height // 2, 2, width // 2, 2).max(axis=(2, 4))
        else:
            y = np.maximum(y, 0)
        outputs.append(y)
    return outputs


NAMES = {"relu1_1": 1, "relu1_2": 3, "relu2_1": 6, "relu3_1": 11, "relu3_4": 17, "relu4_1": 20, "relu4_2": 22,
         "relu5_1": 29, "relu5_4": 35}  # fmt: skip


@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
def test_a_file_of_vgg_19_gives_torchvisions_layers(suffix, tmp_path):
    weights, file = torch_weights(), tmp_path / f"vgg19.{suffix}"
    (np.savez if suffix == "npz" else lambda file, **arrays: save_file(arrays, file))(file, **weights)
    network = read_vgg(file, ["relu5_4"], THIN)
    x = Stream(0, "x").uniform((2, 32, 48, 3))
    found = network.activations(x, list(NAMES))
    for i in range(2):
        outputs = layers_in_numpy(weights, x[i])
        for name, index in NAMES.items():
            expected = outputs[index].transpose(1, 2, 0)
            np.testing.assert_allclose(found[name].numpy()[i], expected, rtol=1e-3, atol=1e-4, err_msg=name)
    few = read_vgg(file, ["relu1_1", "relu3_1"], THIN)
    assert list(few.features) == [0, 2, 5, 7, 10], "only the requested layers"
    np.testing.assert_array_equal(few.activations(x, ["relu3_1"])["relu3_1"].numpy(), found["relu3_1"].numpy())


def test_the_table_of_vgg_19_is_the_papers():
    """Configuration E of table 1, and torchvision's indices of its convolutions."""
    assert [block[0] for block in VGG19] == [64, 128, 256, 512, 512]
    assert list(map(len, VGG19)) == [2, 2, 4, 4, 4]
    network = FeatureNetwork(first_blocks(VGG19, ["relu2_1"]))
    assert network.layout == "64,64,M,128"
    thin = FeatureNetwork(THIN)
    assert list(thin.features) == CONVOLUTIONS
    assert {name: thin.layers[name] for name in NAMES} == NAMES


@pytest.mark.parametrize("pool", ["max", "average"])
def test_an_own_network_equals_its_formula_in_numpy(pool):
    random.seed(0)
    network, x = FeatureNetwork([(3, 4), (5,)], pool), Stream(0, "x").uniform((2, 7, 6, 1))
    y = (np.repeat(x, 3, axis=3) - network.mean) / network.std
    for index in (0, 2, 5):
        if index == 5:
            corners = np.stack([y[:, i:6:2, j:6:2] for i in (0, 1) for j in (0, 1)])  # the seventh row is left out
            y = corners.max(axis=0) if pool == "max" else corners.mean(axis=0)
        layer = network.features[index]
        padded = np.pad(y, ((0, 0), (1, 1), (1, 1), (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
        y = np.maximum(np.einsum("nhwikl,klio->nhwo", windows, layer.weight.numpy()) + layer.bias.numpy(), 0)
    np.testing.assert_allclose(network(x).numpy(), y, rtol=1e-4, atol=1e-5)
    restored = FeatureNetwork.of_layout(network.layout)
    restored.load_state_dict(network.state_dict())
    np.testing.assert_array_equal(restored(x).numpy(), network(x).numpy())


def test_grey_images_are_repeated_to_three_channels():
    network, x = FeatureNetwork([(3,)]), Stream(0, "x").uniform((2, 5, 5, 1))
    np.testing.assert_array_equal(network(x).numpy(), network(np.repeat(x, 3, axis=3)).numpy())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("features.5.bias"), r"lacks features\.5\.bias: it must hold VGG-19 with torchvision's names"),
        (
            lambda w: w.update({"features.2.weight": w["features.2.weight"].transpose(2, 3, 1, 0).copy()}),
            r"features\.2\.weight has shape \(3, 3, 2, 2\); in VGG-19 it has \(2, 2, 3, 3\)",
        ),
        (lambda w: w["features.0.bias"].fill(np.nan), r"features\.0\.bias holds values that are not finite numbers"),
        (
            lambda w: w.update({"features.0.bias": w["features.0.bias"].astype(np.int64)}),
            r"features\.0\.bias holds values that are not finite numbers",
        ),
    ],
)
@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
def test_a_weight_that_does_not_fit_is_named(suffix, change, message, tmp_path):
    weights, file = torch_weights(), tmp_path / f"vgg.{suffix}"
    change(weights)
    (np.savez if suffix == "npz" else lambda file, **arrays: save_file(arrays, file))(file, **weights)
    with pytest.raises(DataError, match=message) as error:
        read_vgg(file, ["relu2_1"], THIN)
    assert "\n" not in str(error.value)


def test_a_file_of_other_channels_is_refused(tmp_path):
    file = tmp_path / "thin.npz"
    np.savez(file, **torch_weights())
    with pytest.raises(
        DataError, match=r"features\.0\.weight has shape \(2, 3, 3, 3\); in VGG-19 it has \(64, 3, 3, 3\)"
    ):
        open_network(str(file), ["relu1_1"])


def test_sources_that_are_no_feature_network_are_refused(tmp_path):
    for suffix in (".npz", ".safetensors"):
        (tmp_path / f"damaged{suffix}").write_bytes(b"PK\x03\x04 no archive")
        with pytest.raises(DataError, match=rf"damaged{suffix} cannot be read \(.*\): restore it from a copy"):
            open_network(str(tmp_path / f"damaged{suffix}"), ["relu1_1"])
        with pytest.raises(UsageError, match=rf"--features: there is no file .*gone{suffix}"):
            open_network(str(tmp_path / f"gone{suffix}"), ["relu1_1"])
    with pytest.raises(UsageError, match=r"vgg\.pth is not a run of `tinygen train features` or a file of VGG-19"):
        open_network("vgg.pth", ["relu1_1"])
    with pytest.raises(RunError, match="is not a run: it has no config"):
        open_network(str(tmp_path), ["relu1_1"])


def labelled(n=40):
    from tinygen.data import Dataset

    y = np.arange(n) % 3
    x = (60 * y[:, None, None, None] + 50 * Stream(0, "noise").uniform((n, 8, 8, 1))).astype(np.uint8)
    return Dataset.from_arrays("shades", x, y, x, y)


def test_a_run_gives_its_network_and_leaves_the_streams(tmp_path):
    data = labelled()
    model = Features(Features.Config(channels=2, batch_size=9), data.spec)
    fit(model, data, steps=3, out=tmp_path / "run", quiet=True)
    streams = random.get_state()
    network = open_network(str(tmp_path / "run"), ["relu2_2", "relu1_1"])
    assert random.get_state() == streams
    x = Stream(0, "x").uniform((2, 8, 8, 1))
    names = ["relu1_1", "relu2_2"]
    for name, values in network.activations(x, names).items():
        np.testing.assert_array_equal(values.numpy(), model.network.activations(x, names)[name].numpy())
    with pytest.raises(UsageError, match=r"has no layer 'relu9_1'; its layers: relu1_1, relu1_2, relu2_1, .*relu4_2$"):
        open_network(str(tmp_path / "run"), ["relu9_1"])
    (tmp_path / "run/checkpoint.safetensors").unlink()
    with pytest.raises(CheckpointError, match="cannot read the checkpoint"):
        open_network(str(tmp_path / "run"), ["relu1_1"])


@pytest.mark.parametrize(("size", "blocks"), [(1, 1), (2, 2), (8, 4), (28, 5), (64, 5)])
def test_there_are_as_many_blocks_as_the_sides_can_be_halved_but_at_most_five(size, blocks):
    model = Features(Features.Config(channels=1), spec_of((size, size, 3)))
    assert [block[0] for block in model.network.blocks] == [1, 2, 4, 8, 8][:blocks]
    assert model.classify(np.zeros((2, size, size, 3), np.float32)).shape == (2, 3)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"blocks": 5}, "images of 8x8 can be halved 3 times: use --blocks 4"),
        ({"dropout": 1.0}, r"dropout is 1\.0; it must be below 1"),
        ({"blocks": 0}, "blocks is 0; it must be at least 1"),
    ],
)
def test_impossible_configurations_are_refused(config, message):
    with pytest.raises(UsageError, match=message):
        Features(Features.Config(**config), spec_of())
