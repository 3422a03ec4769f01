"""U-Nets: images of any size, kept luma, marks of their own in evaluation, and baselines and metrics by hand."""

import numpy as np
import pytest

from tests.comparison import assert_same
from tests.models.cases import make
from tests.models.test_equations import assert_loss_matches, model_with_random_weights
from tinygen import data, random
from tinygen.data import Batch, Dataset, Image, SegmentMap, Spec, Split
from tinygen.errors import UsageError
from tinygen.metrics import segmentation
from tinygen.metrics.images import psnr
from tinygen.models.networks import UNet
from tinygen.models.translation import chroma, damage
from tinygen.models.translation.targets import ColourTable
from tinygen.models.translation.unet import UNetTranslator
from tinygen.random import Stream

FEW = {"channels": 2, "batch_size": 5}


def uniform(name, *shape):
    return Stream(0, name).uniform(shape)


def translator(task, x=None, target=None, **config):
    x = x or Image(9, 7, 3, "rgb")
    return make("unet", FEW | {"task": task} | config, Spec("pairs", {"x": x} | ({"target": target} if target else {})))


def trained(model, x, steps=5):
    split = Split(model.spec.fields, {"x": x})
    model.prepare(Dataset(model.spec, split, split, split), seed=0)
    batches = model.source(split, seed=0)
    for _ in range(steps):
        model.training_step(next(batches))
    return model


# The network


@pytest.mark.parametrize("halvings", [1, 3])
@pytest.mark.parametrize("size", [(1, 1), (5, 3), (12, 9)])
def test_the_network_keeps_any_size_of_images(size, halvings):
    random.seed(0)
    network = UNet(3, 4, channels=2, halvings=halvings)
    x = uniform("x", 2, *size, 3)
    assert not network(x).numpy().any(), "the last layer begins at zero"
    network.last.weight.assign(uniform("weight", *network.last.weight.shape))
    assert network(x).shape == (2, *size, 4)


def test_features_of_each_size_are_joined_with_those_of_the_same_size_before():
    """Without the features of lower resolution, an output depends on the pixels that four 3x3 convolutions cover."""
    random.seed(0)
    network = UNet(1, 1, channels=4, halvings=2)
    network.last.weight.assign(uniform("weight", *network.last.weight.shape))
    for convolution in network.narrow:
        convolution.weight.assign(0.0)
    x = uniform("x", 1, 15, 15, 1)
    changed = x.copy()
    changed[0, 7, 7, 0] += 1
    differs = (network(x).numpy() != network(changed).numpy())[0, ..., 0]
    assert differs[7, 7]
    assert not np.delete(differs, range(3, 12), axis=0).any()
    assert not np.delete(differs, range(3, 12), axis=1).any()


# Damage


def test_luma_and_chroma_give_the_colours_back():
    x = uniform("colours", 3, 4, 5, 3)
    y, cb_cr = chroma.luma(x), chroma.chroma(x)
    np.testing.assert_allclose(y[..., 0], x @ [0.299, 0.587, 0.114], atol=1e-6)
    assert np.abs(cb_cr).max() <= 0.5
    np.testing.assert_allclose(chroma.colours(y, cb_cr), x, atol=1e-6)
    np.testing.assert_allclose(chroma.chroma(np.eye(3, dtype=np.float32)[None, None])[0, 0, 2], [0.5, -0.114 / 1.402])


def test_colours_outside_the_range_keep_luma_and_hue():
    y, far = uniform("y", 2, 3, 4, 1), uniform("far", 2, 3, 4, 2) - 0.5
    x = chroma.colours(y, far)
    assert ((x >= 0) & (x <= 1)).all()
    np.testing.assert_allclose(chroma.luma(x), y, atol=1e-6)
    found = chroma.chroma(x)
    np.testing.assert_allclose(found[..., 0] * far[..., 1], found[..., 1] * far[..., 0], atol=1e-6)
    np.testing.assert_array_equal(chroma.colours(np.ones((1, 1, 1, 1), np.float32), far[:1, :1, :1]), 1)


def test_a_colourised_picture_has_the_luma_of_its_input():
    model = model_with_random_weights("unet", FEW | {"task": "colourise"}, "rgb")
    for shape in ((4, 9, 7, 3), (1, 6, 13, 1)):
        x = uniform("given", *shape)
        translated = model.translate(x)
        assert translated.shape == (*shape[:3], 3)
        np.testing.assert_allclose(chroma.luma(translated), chroma.luma(x), atol=2e-6)
        assert np.abs(chroma.chroma(translated)).max() > 0.01


def test_marks_of_evaluation_differ_from_those_of_training(monkeypatch):
    assert not set(damage.TRAINING_MARKS.letters) & set(damage.HELD_OUT_MARKS.letters)
    assert damage.TRAINING_MARKS.frame != damage.HELD_OUT_MARKS.frame
    seen, real = [], damage.text_of
    monkeypatch.setattr(damage, "text_of", lambda numbers, marks: seen.append(real(numbers, marks)) or seen[-1])
    model = translator("watermark")
    split = Split(model.spec.fields, {"x": uniform("x", 40, 9, 7, 3)})
    batches = model.source(split, seed=0)
    for _ in range(30):
        next(batches)
    assert set("".join(seen)) == set(damage.TRAINING_MARKS.letters)
    assert {len(text) for text in seen} == {2, 3, 4}
    seen.clear()
    model.evaluate(split, seed=0)
    model.pairs(split.batch(slice(None)), seed=1)
    assert set("".join(seen)) == set(damage.HELD_OUT_MARKS.letters)


def test_a_mark_is_translucent_and_leaves_the_rest():
    x = uniform("x", 60, 32, 32, 3)
    marked = damage.watermarked(x, Stream(0, "marks"), damage.TRAINING_MARKS, 0)
    same = (marked == x).all(axis=3)
    assert 0.6 < same.mean() < 0.99
    numbers = Stream(0, "marks").uniform((60, damage.NUMBERS_PER_MARK))
    opacity = 0.3 + 0.5 * numbers[:, 10]
    colour = numbers[:, None, None, 11:14]
    share = np.abs(marked - x).max(axis=(1, 2, 3)) / np.abs(colour - x).max(axis=(1, 2, 3))
    assert (share <= opacity + 1e-5).all()
    assert ((marked >= 0) & (marked <= 1)).all()


def test_noise_has_the_given_deviation_and_stays_in_the_range():
    grey = np.full((50, 16, 16, 1), 0.5, np.float32)
    assert damage.noisy(grey, Stream(0, "noise"), damage.TRAINING_MARKS, 0.1).std() == pytest.approx(0.1, rel=0.02)
    assert damage.noisy(0 * grey, Stream(0, "noise"), damage.TRAINING_MARKS, 0.1).min() == 0


# Pairs


def test_pairs_are_learnt_where_there_is_a_target_and_else_made():
    assert translator(None, target=Image(9, 7, 3, "rgb")).task == "pairs"
    assert translator(None).task == "denoise"
    with pytest.raises(UsageError, match=r"^x are 9×7 rgb images and target 18×14 rgb images: bring both to one size"):
        translator("pairs", target=Image(18, 14, 3, "rgb"))


@pytest.mark.parametrize("loss", ["squared", "absolute"])
def test_the_loss_of_pairs_of_images_is_the_mean_error(loss, monkeypatch):
    from tests.models.equations.unet import unet
    from tinygen.optim import Optimizer

    fields = {"x": Image(9, 7, 1, "grey"), "target": Image(9, 7, 3, "rgb")}
    model = make("unet", FEW | {"task": "pairs", "loss": loss}, Spec("pairs", fields))
    for number, parameter in enumerate(model.parameters()):
        parameter.assign(0.5 * Stream(number, "far").normal(parameter.shape))
    batch = Batch(x=uniform("x", 5, 9, 7, 1), target=uniform("target", 5, 9, 7, 3))
    terms, compared = unet(model, batch)["optimizer"], []
    monkeypatch.setattr(
        Optimizer, "step", lambda self, loss: compared.append(assert_loss_matches(model, self, loss, terms))
    )
    model.training_step(batch)
    assert compared == [None]


def test_segment_maps_are_classes_at_any_size():
    model = model_with_random_weights("unet", FEW | {"task": "pairs"}, "rgb")
    classes = model.translate(uniform("x", 3, 11, 5, 3))
    assert (classes.shape, classes.dtype.kind) == ((3, 11, 5), "i")
    assert set(np.unique(classes)) <= {0, 1, 2}


@pytest.mark.parametrize("task", ["pairs", "denoise", "colourise"])
def test_a_translation_is_bit_identical_whatever_is_translated_beside_it(task):
    model = model_with_random_weights("unet", FEW | {"task": task, "channels": 32}, "rgb")
    x = uniform("x", 60, 9, 7, 3)
    whole = model.translate(x)
    for n in (1, 7, 51):
        assert model.translate(x[:n]).tobytes() == whole[:n].tobytes()


# Metrics and baselines


def test_psnr_of_a_known_error():
    assert psnr(0.01) == pytest.approx(20)
    assert psnr(1) == 0
    assert psnr(0) == 100


def test_mean_iou_of_a_case_by_hand():
    true = np.array([[0, 0, 0], [1, 1, 2]])
    predicted = np.array([[0, 0, 1], [1, 1, 1]])
    table = segmentation.confusion(predicted, true, 4)
    np.testing.assert_array_equal(table[:3, :3], [[2, 1, 0], [0, 2, 0], [0, 1, 0]])
    scores = segmentation.scores(table)
    assert scores["mean_iou"] == pytest.approx((2 / 3 + 2 / 4 + 0) / 3), "class 3 does not occur"
    assert scores["pixel_accuracy"] == pytest.approx(4 / 6)


def test_the_table_has_the_mean_target_of_each_colour():
    table = ColourTable(Image(2, 2, 1, "grey"), (2, 2, 2))
    x = np.array([0.0, 0.0, 1.0, 0.5]).reshape(1, 2, 2, 1)
    table.add(x, np.array([[1, 0], [0, 0], [2, 4], [1, 0]]).reshape(1, 2, 2, 2))
    np.testing.assert_allclose(table.of_colour(x).reshape(4, 2), [[0.5, 0], [0.5, 0], [2, 4], [1, 0]])
    np.testing.assert_allclose(table.constant(x)[0, 0, 0], [1, 1])
    np.testing.assert_allclose(
        table.at_place(x[[0, 0]]), np.array([[1, 0], [0, 0], [2, 4], [1, 0]] * 2).reshape(2, 2, 2, 2)
    )
    unseen = np.full((1, 1, 1, 1), 0.9)
    np.testing.assert_allclose(table.of_colour(unseen), table.constant(unseen))


def test_baselines_of_segment_maps_are_the_majority_and_the_most_frequent_class_of_a_colour():
    x = np.zeros((6, 4, 4, 3), np.float32)
    x[:, 2:] = 1
    target = np.zeros((6, 4, 4), np.int64)
    target[:, 2:, 1:] = 1
    model = translator("pairs", Image(4, 4, 3, "rgb"), SegmentMap(4, 4, 2))
    split = Split(model.spec.fields, {"x": x, "target": target})
    model.prepare(Dataset(model.spec, split, split, split), seed=0)
    numbers = model.evaluate(split, seed=0)
    assert numbers["constant_pixel_accuracy"] == pytest.approx(10 / 16)
    assert numbers["constant_mean_iou"] == pytest.approx((10 / 16 + 0) / 2)
    assert numbers["table_pixel_accuracy"] == pytest.approx(14 / 16)
    assert numbers["table_mean_iou"] == pytest.approx((8 / 10 + 6 / 8) / 2)


def test_metrics_are_those_of_pairs_and_their_translations():
    model = trained(translator("denoise"), uniform("x", 10, 9, 7, 3))
    split = Split(model.spec.fields, {"x": uniform("held out", 7, 9, 7, 3)})
    pairs, numbers = model.pairs(split.batch(slice(None)), seed=3), model.evaluate(split, seed=3)
    np.testing.assert_array_equal(pairs.target, split.columns["x"])
    for name, guess in (("psnr_db", model.translate(pairs.x)), ("copy_psnr_db", pairs.x)):
        assert numbers[name] == pytest.approx(-10 * np.log10(((guess - pairs.target) ** 2).mean()))


def test_chroma_errors_are_sums_over_both_differences_of_colour():
    model = trained(translator("colourise"), uniform("x", 10, 9, 7, 3))
    split = Split(model.spec.fields, {"x": uniform("held out", 7, 9, 7, 3)})
    true, numbers = chroma.chroma(split.columns["x"]), model.evaluate(split, seed=0)
    assert numbers["copy_chroma_error"] == pytest.approx((true**2).sum(axis=3).mean(), rel=1e-4)
    error = ((true - chroma.chroma(uniform("x", 10, 9, 7, 3)).mean(axis=(0, 1, 2))) ** 2).sum(axis=3).mean()
    assert numbers["constant_chroma_error"] == pytest.approx(error, rel=1e-4)


@pytest.mark.parametrize("how", ["flip", "symmetries"])
def test_a_source_has_the_fields_of_a_pair_and_augments_both_alike(how):
    augmented = data.load("coloured-digits8x8").augmented(how)
    model = UNetTranslator(UNetTranslator.Config(task="denoise", noise=0.0, batch_size=5), augmented.spec)
    batch = next(model.source(augmented.train, seed=0))
    assert set(batch) == {"x", "target"}
    np.testing.assert_array_equal(batch.x, batch.target)


@pytest.mark.parametrize("task", ["pairs", "denoise", "colourise"])
def test_results_do_not_depend_on_the_device(task, cuda):
    fields = {"x": Image(9, 7, 3, "rgb")} | ({"target": SegmentMap(9, 7, 3)} if task == "pairs" else {})
    x, maps = uniform("x", 12, 9, 7, 3), Stream(0, "maps").integers(3, (12, 9, 7))
    found = []
    for device in ("cpu", cuda):
        random.seed(0)
        model = UNetTranslator(UNetTranslator.Config(**FEW, task=task), Spec("pairs", fields), device)
        split = Split(fields, {"x": x} | ({"target": maps} if task == "pairs" else {}))
        batches = model.source(split, seed=0)
        losses = [float(loss) for _ in range(3) for loss in model.training_step(next(batches).to(device)).values()]
        found.append((losses, model.translate(x), model.evaluate(split, seed=0)))
    assert_same(found[1], found[0], 1e-3)
