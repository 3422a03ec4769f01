"""CycleGAN: the pool of fake images, unpaired batches, one optimiser of both generators, cycles that hide something."""

import numpy as np
import pytest

from tests.comparison import assert_same
from tests.models.cases import make, state_bytes
from tinygen import random
from tinygen.data import Image, Spec, Split
from tinygen.errors import UsageError
from tinygen.metrics.images import psnr
from tinygen.models.translation import cyclegan
from tinygen.models.translation.cyclegan import CycleGAN
from tinygen.models.translation.pool import ImagePool
from tinygen.random import Stream
from tinygen.train.doctor import diagnose

SMALL = {"channels": 2, "blocks": 1, "batch_size": 3, "pool": 4}
FIELDS = {"x": Image(8, 8, 3, "rgb"), "target": Image(8, 8, 3, "rgb")}


def uniform(name, *shape):
    return Stream(0, name).uniform(shape)


def split_of(n=12, fields=FIELDS):
    return Split(fields, {name: uniform(name, n, *field.shape) for name, field in fields.items()})


def model_of(fields=FIELDS, **config):
    return make("cyclegan", SMALL | config, Spec("two", fields))


# The pool


def test_the_pool_keeps_images_until_it_is_full_and_then_exchanges_half_of_them():
    """Followed by hand with the same random numbers."""
    random.seed(0)
    pool, stream, kept, exchanged = ImagePool((2, 1, 1), 5), Stream(0, "train"), [], 0
    for start in range(0, 200, 4):
        given = np.arange(start, start + 4, dtype=np.float32)[:, None, None, None].repeat(2, axis=1)
        expected = []
        for value, (chance, place) in zip(given[:, 0, 0, 0], stream.uniform((4, 2)).tolist(), strict=True):
            if len(kept) < 5:
                kept.append(value)
                expected.append(value)
            elif chance < 0.5:
                expected.append(kept[int(5 * place)])
                kept[int(5 * place)] = value
                exchanged += 1
            else:
                expected.append(value)
        shown = pool.exchange(given)
        assert shown.shape == given.shape
        np.testing.assert_array_equal(shown[:, 0, 0, 0], expected)
    assert 0.35 < exchanged / 195 < 0.65
    np.testing.assert_array_equal(pool.images[:, 0, 0, 0], kept)


def test_the_pool_is_part_of_the_state_and_its_fakes_train_the_discriminators():
    model = model_of()
    batches = model.source(split_of(), seed=0)
    for _ in range(4):
        model.training_step(next(batches))
    state, streams, batch = model.state_dict(), random.get_state(), next(batches)
    assert int(state["pool.count"]) == int(state["reverse_pool.count"]) == 4
    assert np.ptp(state["pool.images"], axis=0).max() > 0
    copied = {name: array.copy() for name, array in state.items()}
    model.training_step(batch)
    results = []
    for images in (copied["pool.images"], 1 - copied["pool.images"]):
        other = model_of()
        other.load_state_dict(copied | {"pool.images": images})
        random.set_state(streams)
        other.training_step(batch)
        results.append(state_bytes(other))
    own = state_bytes(model)
    assert results[0] == own
    differs = {name.split(".")[0] for name in own if results[1][name] != own[name]}
    assert differs == {"pool", "discriminator", "discriminator_optimizer"}


# Training


def test_one_optimiser_updates_both_generators_and_one_both_discriminators():
    model = model_of()
    for optimizer, networks in (
        (model.generator_optimizer, (model.generator, model.reverse_generator)),
        (model.discriminator_optimizer, (model.discriminator, model.reverse_discriminator)),
    ):
        owned = {id(parameter) for network in networks for parameter in network.parameters()}
        assert {id(parameter) for parameter in optimizer.parameters.values()} == owned


def test_batches_are_not_pairs():
    split = Split(FIELDS, {"x": (same := uniform("same", 12, 8, 8, 3)), "target": same})
    batches = model_of().source(split, seed=0)
    assert any((batch.x != batch.target).any(axis=(1, 2, 3)).all() for batch in (next(batches) for _ in range(4)))


def test_the_identity_loss_needs_as_many_channels_in_both_domains():
    grey = {"x": Image(8, 8, 1, "grey"), "target": FIELDS["target"]}
    model = model_of(grey)
    scalars = model.training_step(next(model.source(split_of(fields=grey), seed=0)))
    assert "identity_error_per_pixel" not in scalars
    assert model.translate(uniform("x", 2, 5, 7, 1)).shape == (2, 5, 7, 3)
    assert model.translate_back(uniform("x", 2, 5, 7, 3)).shape == (2, 5, 7, 1)
    numbers = model.evaluate(split_of(fields=grey), seed=0)
    assert not [name for name in numbers if name.startswith("copy_")]


def test_domains_of_two_sizes_are_refused():
    with pytest.raises(UsageError, match=r"^x are 8×8 rgb images and target 9×8 rgb images: bring both to one size"):
        model_of({"x": FIELDS["x"], "target": Image(9, 8, 3, "rgb")})


def test_results_do_not_depend_on_the_device(cuda):
    """The pools are full after two steps."""
    split, found = split_of(), []
    for device in ("cpu", cuda):
        random.seed(0)
        model = CycleGAN(CycleGAN.Config(**SMALL | {"pool": 3}), Spec("two", FIELDS), device)
        batches = model.source(split, seed=0)
        losses = [float(loss) for _ in range(3) for loss in model.training_step(next(batches).to(device)).values()]
        x = split.values("x")
        translated = model.translate(x), model.translate_back(x)
        found.append((losses, translated, model.evaluate(split, seed=0, thorough=False)))
    assert_same(found[1], found[0], 1e-3)


# Evaluation


class Lookup:
    """Stands for a generator: a function of images."""

    def __init__(self, function):
        self.function = function

    def __call__(self, images):
        return self.function(np.asarray(images))


def with_generators(there, back):
    model = model_of()
    vars(model).update(generator=Lookup(there), reverse_generator=Lookup(back))
    return model


def test_metrics_of_generators_that_are_known():
    """x becomes x / 2 and comes back as it was."""
    model, split = with_generators(lambda x: x / 2, lambda y: 2 * y), split_of()
    numbers, (x, y) = model.evaluate(split, seed=0), (split.columns[name] for name in ("x", "target"))
    assert numbers["psnr_db"] == pytest.approx(psnr(((x / 2 - y) ** 2).mean()), rel=1e-5)
    assert numbers["reverse_psnr_db"] == pytest.approx(psnr(((2 * y - x) ** 2).mean()), rel=1e-5)
    assert numbers["cycle_error_per_pixel"] == pytest.approx(0, abs=1e-6)
    assert numbers["copy_distance"] == pytest.approx((x / 2).mean(), rel=1e-5)
    assert numbers["cycle_noise_gain"] == pytest.approx(2, rel=1e-3)
    assert not list(diagnose(5000, {}, numbers)), "a way back to twice the contrast is no fault"


def test_a_cycle_that_hides_its_input_is_found():
    """The translation is flat but for a hundredth of the input, which the way back reads."""
    model = with_generators(lambda x: 0.5 + 0.01 * x, lambda y: 100 * (y - 0.5))
    numbers = model.evaluate(split_of(), seed=0)
    assert numbers["cycle_error_per_pixel"] == pytest.approx(0, abs=1e-4)
    assert numbers["cycle_noise_gain"] == pytest.approx(100, rel=1e-3)
    (finding,) = diagnose(5000, {}, numbers)
    assert "hide their inputs" in finding.sentence
    assert list(diagnose(10, {}, numbers)) == []


def test_copies_are_found():
    numbers = with_generators(lambda x: x + 0.001, lambda y: y).evaluate(split_of(), seed=0)
    assert numbers["copy_distance"] == pytest.approx(0.001, rel=1e-3)
    (finding,) = diagnose(5000, {}, numbers)
    assert finding.name == "input copied"


def test_domains_without_hidden_pairs_are_judged_by_their_cycles_alone():
    fields = FIELDS | {"target": Image(8, 8, 3, "rgb", unpaired="b of target has no partner in x")}
    numbers = model_of(fields).evaluate(split_of(fields=fields), seed=0)
    assert numbers.keys() == {"cycle_error_per_pixel", "cycle_noise_gain", "copy_distance"}


def test_noise_does_not_depend_on_the_chunks(monkeypatch):
    model = model_of()
    whole = model.evaluate(split_of(), seed=0)
    monkeypatch.setattr(cyclegan, "CHUNK", 5)
    assert model.evaluate(split_of(), seed=0) == pytest.approx(whole, rel=1e-5)


def test_a_translation_is_bit_identical_whatever_is_translated_beside_it():
    model, x = model_of(), uniform("x", 60, 8, 8, 3)
    whole = model.translate(x)
    for n in (1, 7, 51):
        assert model.translate(x[:n]).tobytes() == whole[:n].tobytes()
