"""PixelCNN and its gated form: what an output depends on, exact likelihoods, and sampling with and without a cache."""

import itertools
import math

import numpy as np
import pytest

from tests.models.raster import CHANNELS, CLASSES, SMALL, classes_of, dependences, images, small_model
from tinygen import models
from tinygen.data import Batch, Dataset, Split
from tinygen.errors import UsageError
from tinygen.train import panels

both = pytest.mark.parametrize("name", ["pixelcnn", "gated-pixelcnn"])
both_forms = pytest.mark.parametrize("name", [name for name in SMALL if "pixelcnn-pp" not in name and "cnn" in name])
conditional = pytest.mark.parametrize("name", ["pixelcnn of a class", "gated-pixelcnn of a class"])
every_kind = pytest.mark.parametrize("kind", list(CHANNELS))


@every_kind
def test_gated_pixelcnn_depends_on_all_earlier_values_and_no_other(kind):
    """There is neither a leak nor a blind spot if the receptive field covers the image."""
    model = small_model("gated-pixelcnn", kind, 3, 4, blocks=3, hidden=18, head=18)
    size = math.prod(model.spec.x.shape)
    np.testing.assert_array_equal(dependences(model, kind), np.tri(size, k=-1, dtype=bool))


def dependences_of_a_masked_convolution(height, width, side, itself):
    """Whether output pixel i of one masked convolution depends on pixel j, as bool (i, j)."""
    places = list(itertools.product(range(height), range(width)))
    r = side // 2
    return np.array(
        [
            [max(abs(i - u), abs(j - v)) <= r and ((u, v) < (i, j) or (itself and (u, v) == (i, j))) for u, v in places]
            for i, j in places
        ]
    )


@pytest.mark.parametrize("first_kernel", [3, 5])
def test_pixelcnn_depends_on_what_its_masks_allow(first_kernel):
    model = small_model("pixelcnn", "binary", 6, 7, first_kernel=first_kernel)
    first_layer, later_layer = (
        dependences_of_a_masked_convolution(6, 7, first_kernel, False),
        dependences_of_a_masked_convolution(6, 7, 3, True),
    )
    expected = (later_layer.astype(int) @ later_layer @ first_layer) > 0
    np.testing.assert_array_equal(dependences(model, "binary"), expected)
    assert (expected != np.tri(42, k=-1, dtype=bool)).any(), "it has a blind spot"


def test_pixelcnn_depends_on_earlier_colours_of_a_pixel():
    model = small_model("pixelcnn", "rgb", 2, 3, hidden=18, head=18)
    depends = dependences(model, "rgb")
    assert not np.triu(depends).any()
    assert depends[np.tri(18, k=-1, dtype=bool)].mean() > 0.9
    for pixel in range(6):
        np.testing.assert_array_equal(depends[3 * pixel :, 3 * pixel :][:3, :3], np.tri(3, k=-1, dtype=bool))


def convolution(x, layer):
    """A causal convolution by its definition, in float64."""
    w, b = layer.weight.numpy().astype("float64"), layer.bias.numpy().astype("float64")
    (kh, kw, channels, outputs), (n, height, width, _) = w.shape, x.shape
    y = np.zeros((n, height, width, outputs)) + b
    centre = kh - 1 if layer.kind == "rows" else kh // 2
    colours = 1 if layer.kind == "rows" else layer.colours
    theirs = np.arange(channels)[:, None] * colours // channels
    output_colours = np.arange(outputs) * colours // outputs
    for i, j in itertools.product(range(kh), range(kw)):
        down, right = i - centre, j - kw // 2
        if down > 0 or (layer.kind != "rows" and down == 0 and right > 0):
            continue
        tap = w[i, j]
        if layer.kind != "rows" and (down, right) == (0, 0):
            tap = tap * (theirs < output_colours if layer.kind == "A" else theirs <= output_colours)
        for u, v in itertools.product(range(height), range(width)):
            if 0 <= u + down < height and 0 <= v + right < width:
                y[:, u, v] += x[:, u + down, v + right] @ tap
    return y


def relu(x):
    return np.maximum(x, 0)


def gated(y, colours):
    cut = y.reshape((*y.shape[:3], colours, 2, -1))
    return (np.tanh(cut[..., 0, :]) / (1 + np.exp(-cut[..., 1, :]))).reshape((*y.shape[:3], -1))


def logits_by_definition(model, x):
    """The logits (N, H, W, C, levels), in plain NumPy; of each class in turn if the model is conditional."""
    network, colours, x = model.network, x.shape[3], x.astype("float64")
    bias = [0.0] * 20
    if model.conditions:
        bias = [v.weight.numpy()[classes_of(model, len(x))][:, None, None] for v in network.of_class]
    if model.name == "pixelcnn":
        first, *blocks, head = network.layers
        h = convolution(x, first) + bias[0]
        for block, of_class in zip(blocks, bias[1:], strict=False):
            _, spatial, _, pointwise = block.layers
            h = h + convolution(relu(convolution(relu(h), spatial) + of_class), pointwise)
    else:
        head = network.head
        v, h = np.concatenate([np.zeros_like(x[:, :1]), x[:, :-1]], axis=1), x
        for i, block in enumerate(network.blocks):
            above = convolution(v, block.vertical)
            y = convolution(h, block.horizontal) + convolution(above, block.into_row) + bias[len(network.blocks) + i]
            v, y = gated(above + bias[i], 1), convolution(gated(y, colours), block.output)
            h = h + y if i else y
    _, hidden, _, output = head.layers
    return convolution(relu(convolution(relu(h), hidden)), output).reshape((*x.shape, -1))


@both_forms
@every_kind
def test_nats_match_the_definition(name, kind):
    model, x = small_model(name, kind), images(kind, 7)
    labels = {} if classes_of(model, 7) is None else {"y": classes_of(model, 7)}
    z = logits_by_definition(model, x)
    if kind == "binary":
        nll = np.logaddexp(0, z[..., 0]) - x * z[..., 0]
    else:
        target = np.rint(255 * x).astype(int)[..., None]
        nll = np.log(np.exp(z).sum(axis=-1)) - np.take_along_axis(z, target, axis=-1)[..., 0]
    nats = nll.sum(axis=(1, 2, 3)).mean()
    expected = {"nll_nats": nats, "bits_per_dim": nats / (30 * CHANNELS[kind]) / math.log(2)}
    assert model.evaluate(Split(model.spec.fields, {"x": x, **labels}), seed=0) == pytest.approx(expected, rel=1e-5)
    scalars = {key: float(value) for key, value in model.training_step(Batch(x=x, **labels)).items()}
    assert scalars == pytest.approx(expected, rel=1e-5)


def test_the_figure_shows_images_their_upper_halves_and_completions():
    model = small_model("pixelcnn", "grey")
    split = Split(model.spec.fields, {"x": images("grey", 4)})
    (figure,) = panels.completions(model, Dataset(model.spec, split, split, split), 3)
    original, halves, *completions = figure.images.reshape(5, 4, 5, 6, 1)
    assert figure.columns == 4
    np.testing.assert_array_equal(original, images("grey", 4))
    np.testing.assert_array_equal(halves, np.where(np.arange(5)[:, None, None] < 2, original, np.float32(0.5)))
    for i, completion in enumerate(completions):
        np.testing.assert_array_equal(completion, model.complete(original, 2, seed=3 + i))


@both
@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("kernel", 4, "^kernel is 4; a masked convolution has a centre: use an odd number$"),
        ("first_kernel", 6, "^first_kernel is 6; a masked convolution has a centre: use an odd number$"),
        ("kernel", 1, "^kernel is 1; it must be at least 3$"),
        ("hidden", 0, "^hidden is 0; it must be at least 1$"),
    ],
)
def test_impossible_configurations_are_refused(name, field, value, message):
    with pytest.raises(UsageError, match=message):
        models.get(name).Config(**{field: value})


# Labels as a condition


@conditional
def test_samples_and_completions_are_of_the_given_class(name):
    model, x = small_model(name, "grey"), images("grey", 6)
    given = {"y": np.array([0, 1, 2, 0, 1, 2])}
    in_turn = model.complete(x, 2, seed=0)
    np.testing.assert_array_equal(model.complete(x, 2, seed=0, given=given), in_turn)
    others = model.complete(x, 2, seed=0, given={"y": np.array([1, 1, 2, 0, 1, 0])})
    np.testing.assert_array_equal((others == in_turn).all(axis=(1, 2, 3)), [False, True, True, True, True, False])
    assert (
        others.tobytes()
        == model.complete(x, 2, seed=0, given={"y": np.array([1, 1, 2, 0, 1, 0])}, cached=False).tobytes()
    )


@conditional
def test_without_labels_the_probability_is_the_mean_over_classes(name):
    model, x = small_model(name, "binary"), images("binary", 5)
    each = [model.log_prob(x, given={"y": np.full(5, label)}) for label in range(CLASSES)]
    assert np.ptp(each, axis=0).max() > 0.3
    np.testing.assert_allclose(model.log_prob(x), np.log(np.exp(each).mean(axis=0)), rtol=1e-5)


@both
def test_a_model_without_conditions_refuses_labels(name):
    model, given = small_model(name, "binary"), {"y": np.zeros(2, int)}
    message = f"^given has y; this {name} was trained without conditions$"
    for call in (
        lambda: model.sample(2, seed=0, given=given),
        lambda: model.log_prob(images("binary", 2), given=given),
    ):
        with pytest.raises(UsageError, match=message):
            call()


@both
def test_a_model_without_conditions_has_the_parameters_of_before(name):
    names = small_model(name, "binary").state_dict().keys()
    of_a_class = small_model(f"{name} of a class", "binary").state_dict().keys()
    assert {each for each in of_a_class - names if "optimizer" not in each} == {
        f"network.of_class.{i}.weight" for i in range(3 if name == "pixelcnn" else 6)
    }
    assert names <= of_a_class
