"""Style transfer: Gram matrices and losses against NumPy, and the command with a network of its own and VGG-19."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from tinygen import random
from tinygen.applications.style import Transfer, Weights, gram, total_variation
from tinygen.autograd import grad, no_grad
from tinygen.cli import main
from tinygen.errors import UsageError
from tinygen.models.features.network import FeatureNetwork
from tinygen.random import Stream
from tinygen.tensor import tensor
from tinygen.train import images

LAYERS = {"content_layer": "relu2_1", "style_layers": ("relu1_1", "relu2_1")}


def picture(name, height=8, width=12):
    return Stream(0, name).uniform((1, height, width, 3))


def small_transfer(**layers):
    random.seed(0)
    return Transfer(FeatureNetwork([(4, 4), (6,)]), picture("content"), picture("style", 10, 8), **LAYERS | layers)


def test_a_gram_matrix_is_the_mean_of_products_of_channels():
    x = Stream(0, "x").normal((1, 3, 5, 4))
    expected = np.array([[(x[0, ..., i] * x[0, ..., j]).mean() for j in range(4)] for i in range(4)])
    np.testing.assert_allclose(gram(tensor(x)).numpy(), expected, rtol=1e-5)


def test_the_variation_is_the_sum_over_neighbours_along_both_axes():
    x = picture("x").astype(np.float64)
    expected = (np.diff(x, axis=1) ** 2).sum() + (np.diff(x, axis=2) ** 2).sum()
    assert float(total_variation(tensor(x.astype(np.float32)))) == pytest.approx(expected, rel=1e-5)
    assert float(total_variation(tensor(np.full((1, 4, 4, 3), 0.3, np.float32)))) == 0


def reference_losses(transfer, network, content, style, x):
    """The two terms by their formulas, from activations of the network."""
    with no_grad():
        found = [
            {
                name: a.numpy().astype(np.float64)
                for name, a in network.activations(each, ("relu1_1", "relu2_1")).items()
            }
            for each in (content, style, x)
        ]
    scale = {name: 2 / (found[0][name].mean() + found[1][name].mean()) for name in found[0]}
    content_loss = ((found[2]["relu2_1"] - found[0]["relu2_1"]) ** 2).mean() * scale["relu2_1"] ** 2
    style_loss = 0.0
    for name, s in scale.items():
        of_style, of_x = (
            np.einsum("ahwi,ahwj->ij", s * a[name], s * a[name]) / a[name][0, ..., 0].size for a in found[1:]
        )
        style_loss += ((of_x - of_style) ** 2).mean()
    return content_loss, style_loss


def test_losses_are_those_of_the_formulas_and_each_is_0_where_it_should_be():
    transfer, x = small_transfer(), picture("x")
    losses = transfer.losses(tensor(x))
    expected = reference_losses(transfer, transfer.network, picture("content"), picture("style", 10, 8), x)
    assert (float(losses.content), float(losses.style)) == pytest.approx(expected, rel=1e-4)
    assert float(transfer.losses(picture("content")).content) == 0
    assert transfer.style_distance(picture("style", 10, 8)) == pytest.approx(0, abs=1e-10)
    weighted = losses.weighted(Weights(2.0, 3.0, 4.0))
    parts = 2 * float(losses.content) + 3 * float(losses.style) + 4 * float(losses.variation)
    assert float(weighted) == pytest.approx(parts, rel=1e-6)


def test_the_weights_mean_the_same_for_a_network_whose_activations_are_larger():
    x, losses = picture("x"), []
    for factor in (1.0, 7.0):
        random.seed(0)
        network = FeatureNetwork([(4, 4), (6,)])
        last = list(network.features.values())[-1]
        last.weight.assign(factor * last.weight.numpy())
        transfer = Transfer(network, picture("content"), picture("style", 10, 8), **LAYERS)
        losses.append([float(each) for each in vars(transfer.losses(x)).values()])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_the_gradient_reaches_the_pixels_and_not_the_weights():
    transfer, x = small_transfer(), tensor(picture("x"), requires_grad=True)
    (slope,) = grad(transfer.losses(x).weighted(Weights()), [x])
    assert np.isfinite(slope.numpy()).all()
    assert (slope.numpy() != 0).mean() > 0.9
    assert not any(parameter.requires_grad for parameter in transfer.network.parameters())


def test_minimising_lowers_the_loss_and_reports_every_few_iterations():
    transfer, weights = small_transfer(), Weights(variation=0.0)
    before = float(transfer.losses(picture("content")).weighted(weights))
    steps, losses, pictures = zip(*transfer.minimise(picture("content"), weights, 25), strict=True)
    assert steps == (10, 20, 25)
    totals = [float(each.weighted(weights)) for each in losses]
    assert before > totals[0] > totals[1] > totals[2]
    assert all(((x >= 0) & (x <= 1)).all() for x in pictures)
    alone = Weights(content=1.0, style=0.0, variation=0.0)
    *_, (_, last, _) = transfer.minimise(picture("noise"), alone, 60)
    assert float(last.content) < 0.02 * float(transfer.losses(picture("noise")).content)


def test_small_pictures_and_unknown_layers_are_refused():
    with pytest.raises(UsageError, match="a picture of 1x9 pixels is too small for relu2_1: its sides need 2"):
        random.seed(0)
        Transfer(FeatureNetwork([(4, 4), (6,)]), picture("a"), picture("b", 9, 1), **LAYERS)
    with pytest.raises(UsageError, match="has no layer 'relu3_1'; its layers: relu1_1, relu1_2, relu2_1"):
        small_transfer(content_layer="relu3_1")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """Two runs of feature networks, two pictures, and a broken one."""
    workspace = tmp_path_factory.mktemp("style")
    for name, seed in (("features", 0), ("other", 1)):
        words = (
            f"train features --data digits8x8 --steps 3 --channels 4 --blocks 2 --seed {seed} --out {workspace}/{name}"
        )
        assert main(words.split()) == 0
    stripes = np.zeros((24, 20, 3), np.uint8)
    stripes[:, ::4] = 255
    Image.fromarray(stripes).save(workspace / "stripes.png")
    images.sheet(picture("photo", 20, 30), scale=1).save(workspace / "photo.png")
    (workspace / "broken.png").write_bytes(b"no picture")
    return workspace


WORDS = "stylize --content photo.png --style stripes.png --features features --content-layer relu2_1"
WORDS += " --style-layers relu1_1,relu2_1"


def test_the_command_writes_a_picture_nearer_to_the_style_and_its_losses(workspace, monkeypatch, capsys):
    monkeypatch.chdir(workspace)
    assert main(f"{WORDS} --judge other --size 16 --steps 30 --out out.png".split()) == 0
    with Image.open("out.png") as made:
        assert made.size == (16, 11)
    numbers = json.loads((workspace / "out.json").read_text())
    assert [each["step"] for each in numbers["history"]] == [10, 20, 30]
    assert numbers["history"][-1]["style"] < numbers["history"][0]["style"]
    assert numbers["style_distance_features"] < 1
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"iteration 30: content \S+, style \S+, variation \S+", lines[0])
    assert lines[1].startswith("distance from the style in the network: ")
    assert lines[2].startswith("distance from the style in the judge: ")
    assert lines[3:] == ["out.png", "out.json"]
    assert main(f"{WORDS} --size 16 --steps 2 --initial noise --seed 4 --out noise.png".split()) == 0


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("--content gone.png", "gone.png: there is no such picture"),
        ("--style broken.png", "broken.png is not an image that can be read; give another one"),
        ("--steps 0", "--steps is 0; it must be at least 1"),
        ("--style-weight -1", "a weight is negative: the loss would have no minimum"),
        ("--features gone", "--features: gone is not a run of `tinygen train features` or a file of VGG-19"),
        ("--judge photo.png", "--judge: photo.png is not a run of `tinygen train features` or a file of VGG-19"),
        ("--judge gone.npz", "there is no file gone.npz"),
        (
            "--content-layer relu4_2",
            "the feature network has no layer 'relu4_2'; its layers: relu1_1, relu1_2, relu2_1",
        ),
    ],
)
def test_what_cannot_be_used_is_refused_in_one_line(more, message, workspace, monkeypatch, capsys):
    monkeypatch.chdir(workspace)
    assert main(f"{WORDS} {more}".split()) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
