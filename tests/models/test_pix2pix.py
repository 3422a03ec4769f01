"""pix2pix: which loss changes which network, the noise of translations, segment maps, metrics, and its errors."""

import numpy as np
import pytest

from tests.comparison import assert_same
from tinygen import data, random
from tinygen.data import Batch, Dataset, Image, SegmentMap, Spec, Split
from tinygen.errors import UsageError
from tinygen.metrics.images import psnr, ssim
from tinygen.models.base import LinearDecay, Plan
from tinygen.models.translation.pix2pix import Pix2Pix
from tinygen.models.translation.targets import ColourTable, Scores
from tinygen.random import Stream

SMALL = {"channels": 2, "levels": 2, "batch_size": 4}
PAIRS = {"x": Image(12, 14, 3, "rgb"), "target": Image(12, 14, 3, "rgb")}
MAPS = {"x": SegmentMap(12, 14, 3), "target": Image(12, 14, 1, "grey")}


def uniform(name, *shape):
    return Stream(0, name).uniform(shape)


def model_of(fields=PAIRS, **config):
    random.seed(0)
    return Pix2Pix(Pix2Pix.Config(**SMALL | config), Spec("pairs", fields))


def split_of(fields, n=9):
    columns = {"target": uniform("target", n, *fields["target"].shape)}
    maps = isinstance(fields["x"], SegmentMap)
    columns["x"] = Stream(0, "x").integers(3, (n, 12, 14)) if maps else uniform("x", n, *fields["x"].shape)
    return Split(fields, {name: columns[name] for name in ("x", "target")})


def weights(model):
    return {name: p.numpy().copy() for name, p in model.named_parameters().items()}


def test_the_weight_of_the_absolute_error_changes_the_generator_alone():
    few, many = (model_of(l1=weight) for weight in (1.0, 100.0))
    for model in (few, many):
        random.seed(3)
        model.training_step(split_of(PAIRS).batch(slice(None)))
    few, many = weights(few), weights(many)
    assert {name.split(".")[0] for name in few if (few[name] != many[name]).any()} == {"generator"}


def test_the_discriminator_sees_the_input_beside_the_output():
    model = model_of().eval()
    x, y = uniform("a", 2, 12, 14, 3), uniform("b", 2, 12, 14, 3)
    both = model.discriminate(x, y).numpy()
    assert model.discriminator.layers[0].weight.shape[2] == 6
    for other in (model.discriminate(y, y), model.discriminate(x, x)):
        assert (other.numpy() != both).any()


def test_without_the_adversarial_term_there_is_no_discriminator():
    model = model_of(adversarial=0.0)
    assert not hasattr(model, "discriminator")
    assert list(model.training_step(split_of(PAIRS).batch(slice(None)))) == ["absolute_error_per_pixel"]


def test_segment_maps_reach_the_network_as_one_hot_vectors():
    model, split = model_of(MAPS), split_of(MAPS)
    x = split.batch(slice(2)).x
    np.testing.assert_array_equal(model.network_input(x), np.eye(3, dtype=np.float32)[x])
    model.training_step(split.batch(slice(4)))
    assert model.translate(x, seed=0).shape == (2, 12, 14, 1)
    assert model.translate(x[:, :5, :7], seed=0).shape == (2, 5, 7, 1)
    assert "table_psnr_db" in model.evaluate(split, seed=0)
    assert "copy_psnr_db" not in model.evaluate(split, seed=0), "a map is no translation"


def test_the_noise_of_a_translation_is_dropout_that_the_seed_decides():
    model, x = model_of(), uniform("x", 60, 12, 14, 3)
    first = model.translate(x, seed=0)
    assert (model.translate(x, seed=1) != first).any()
    for n in (1, 7, 51):
        np.testing.assert_array_equal(model.translate(x[:n], seed=0), first[:n])
    quiet = model_of(dropout=0.0)
    np.testing.assert_array_equal(quiet.translate(x, seed=0), quiet.translate(x, seed=1))


def test_colourisation_makes_grey_inputs_of_the_images():
    model = model_of({"x": PAIRS["x"]}, task="colourise")
    x = uniform("x", 4, 12, 14, 3)
    pairs = model.pairs(Batch(x=x), seed=0)
    np.testing.assert_allclose(pairs.x, (x @ [0.299, 0.587, 0.114])[..., None].repeat(3, axis=3), atol=1e-6)
    np.testing.assert_array_equal(pairs.target, x)


def test_metrics_are_those_of_pairs_and_trivial_translations():
    model, split = model_of(), split_of(PAIRS)
    model.prepare(Dataset(model.spec, split, split, split), seed=0)
    x, target = split.columns["x"], split.columns["target"]
    numbers = model.evaluate(split, seed=0)
    guesses = {"copy_": x, "position_": np.broadcast_to(target.mean(axis=0), target.shape)}
    guesses["constant_"] = np.broadcast_to(target.mean(axis=(0, 1, 2)), target.shape)
    for prefix, guess in guesses.items():
        assert numbers[f"{prefix}psnr_db"] == pytest.approx(psnr(((guess - target) ** 2).mean()), rel=1e-5)
        assert numbers[f"{prefix}absolute_error_per_pixel"] == pytest.approx(np.abs(guess - target).mean(), rel=1e-5)
        assert numbers[f"{prefix}ssim"] == pytest.approx(ssim(guess, target).mean(), abs=1e-5)


def test_the_table_of_a_segment_map_has_a_row_for_each_class():
    x, values = np.array([[[0, 1], [1, 2]]]), np.array([[[[0.0], [0.5]], [[1.0], [0.25]]]])
    table = ColourTable(SegmentMap(2, 2, 4), (2, 2, 1))
    table.add(x, values)
    np.testing.assert_allclose(table.of_colour(x)[0, ..., 0], [[0, 0.75], [0.75, 0.25]])
    np.testing.assert_allclose(table.of_colour(np.array([[[3]]])), table.constant(np.array([[[3]]])))


def test_small_images_have_no_structural_similarity():
    fields = {name: Image(8, 8, 3, "rgb") for name in ("x", "target")}
    scores = Scores(model_of(fields).target)
    scores.add({"": uniform("a", 2, 8, 8, 3)}, uniform("b", 2, 8, 8, 3))
    assert scores.metrics().keys() == {"psnr_db", "absolute_error_per_pixel"}


def test_the_learning_rate_falls_in_the_last_part_of_a_training():
    plan = Plan(steps=100)
    rate = LinearDecay(Pix2Pix.Config(learning_rate=2.0, decay_share=0.25), plan)
    assert [rate(step) for step in (0, 75, 80, 99, 100, 150)] == pytest.approx([2, 2, 1.6, 0.08, 0, 0])
    plan.steps = None
    assert rate(1000) == 2.0
    assert LinearDecay(Pix2Pix.Config(learning_rate=2.0, decay_share=0.0), Plan(steps=10))(9) == 2.0


def test_figures_show_the_same_inputs_under_other_noise():
    split = split_of(PAIRS)
    model = model_of()
    (figure,) = model.figures(Dataset(model.spec, split, split, split), seed=0)
    assert figure.columns == 8
    assert len(figure.images) == 4 * 8
    assert (figure.images[8:16] != figure.images[16:24]).any()
    assert list(model_of(dropout=0.0).figures(Dataset(model.spec, split, split, split), seed=0)) == []


@pytest.mark.parametrize(
    ("fields", "config", "message"),
    [
        (
            PAIRS | {"target": Image(24, 14, 3, "rgb")},
            {},
            r"^x are 12×14 rgb images and target 24×14 rgb images: bring",
        ),
        (
            PAIRS | {"target": Image(12, 14, 3, "rgb", unpaired="a of x has no partner in maps")},
            {},
            r"^x and target are no pairs: a of x has no partner in maps; pairs have the same names",
        ),
        (PAIRS, {"patch": 20}, r"^patch is 20; use one of 16, 34, 70, or leave it out$"),
        (PAIRS, {"dropout": 1.0}, r"^dropout is 1.0; as a probability of being dropped it must be below 1$"),
    ],
)
def test_impossible_pairs_are_refused(fields, config, message):
    with pytest.raises(UsageError, match=message):
        Pix2Pix(Pix2Pix.Config(**SMALL | config), Spec("pairs", fields))


@pytest.mark.parametrize("fields", [PAIRS, MAPS])
def test_results_do_not_depend_on_the_device(fields, cuda):
    split, found = split_of(fields), []
    for device in ("cpu", cuda):
        random.seed(0)
        model = Pix2Pix(Pix2Pix.Config(**SMALL), Spec("pairs", fields), device)
        model.prepare(Dataset(model.spec, split, split, split), seed=0)
        batches = model.source(split, seed=0)
        losses = [float(loss) for _ in range(2) for loss in model.training_step(next(batches).to(device)).values()]
        found.append((losses, model.translate(split.values("x"), seed=0), model.evaluate(split, seed=0)))
    assert_same(found[1], found[0], 1e-3)


def test_pairs_are_mirrored_together():
    pairs = data.load("shadowed-digits8x8")
    x = pairs.train.columns["x"]
    same = Dataset.from_fields("same", pairs.spec.fields, {"x": x, "target": x})
    batch = next(Pix2Pix(Pix2Pix.Config(**SMALL), same.spec).source(same.augmented("flip").train, seed=0))
    np.testing.assert_array_equal(batch.x, batch.target)
