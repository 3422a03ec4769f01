"""Text to image: wrong captions, the text encoder's matching loss, samples for captions, and what is refused."""

import numpy as np
import pytest

import tinygen as tg
from tests.comparison import assert_same
from tinygen import models, random
from tinygen.autograd import no_grad
from tinygen.data import Dataset, Image, Spec, Split, Tokens
from tinygen.data.batch import Padded
from tinygen.errors import DataError, UsageError
from tinygen.models import TextGAN
from tinygen.models.adversarial import text_gan
from tinygen.random import Stream

FIELDS = {"x": Image(8, 8, 1, "grey"), "caption": Tokens(("black", "white", "wide"), 2, " ")}
SMALL = {"latent": 2, "word_embedding": 4, "caption_embedding": 8, "caption_features": 4, "channels": 4}


def black_and_white(n=60):
    """Pictures of one shade, with the caption "black" or "white"."""
    is_white = Stream(0, "shades").integers(2, n)
    noise = 0.1 * Stream(0, "noise").uniform((n, 8, 8, 1))
    x = np.where(is_white[:, None, None, None] == 1, 1 - noise, noise).astype(np.float32)
    return Split(FIELDS, {"x": x, "caption": np.stack([is_white, np.full(n, -1)], axis=1).astype(np.int32)})


def small_model(steps=30, **config):
    split = black_and_white()
    random.seed(0)
    model = TextGAN(TextGAN.Config(**SMALL | {"encoder_steps": steps} | config), Spec("shades", FIELDS))
    model.prepare(Dataset(model.spec, split, split, split), seed=0)
    return model, split


def test_wrong_pairs_are_those_whose_captions_differ_from_the_next_one():
    captions = Padded(np.array([[0, 1], [0, 1], [0, 0], [2, 0]]), np.array([2, 2, 1, 1]))
    np.testing.assert_array_equal(text_gan.differ(captions), [False, True, True, True])
    alike = Padded(captions.values[:2], captions.length[:2])
    assert not text_gan.differ(alike).any()


def test_equal_captions_are_told_from_others_by_words_and_length():
    captions = Padded(np.array([[0, 0], [0, 0], [0, 0], [1, 0]]), np.array([1, 2, 1, 1]))
    expected = np.zeros((4, 4))
    expected[0, 2] = expected[2, 0] = 1
    np.testing.assert_array_equal(text_gan.same_captions(captions), expected)


def test_the_matching_loss_is_the_cross_entropy_of_both_directions_without_equal_captions():
    images, captions = (Stream(0, name).normal((5, 3)) for name in ("images", "captions"))
    same = np.zeros((5, 5), np.float32)
    same[1, 4] = same[4, 1] = 1
    nats = []
    for i in range(5):
        others = [j for j in range(5) if not same[i, j]]
        for scores in (images[i] @ captions[others].T, captions[i] @ images[others].T):
            nats.append(np.log(np.exp(scores).sum()) - scores[others.index(i)])
    assert float(text_gan.matching_nats(tg.tensor(images), tg.tensor(captions), same)) == pytest.approx(
        np.mean(nats), rel=1e-5
    )


def test_a_minibatch_of_equal_captions_has_no_wrong_pairs():
    model, split = small_model(wrong_weight=1.0)
    batch = split.rows(np.flatnonzero(split.columns["caption"][:, 0] == 1)[:8]).batch(slice(None))
    with no_grad():
        logits = model.discriminator(batch.x, model.encoder(batch.caption)).numpy().astype(np.float64)
    scalars = model.training_step(batch)
    assert float(scalars["discriminator_nats"]) == pytest.approx(np.log1p(np.exp(-logits)).mean(), rel=1e-5)


def test_the_encoder_learns_in_prepare_and_never_in_a_training_step():
    before, split = small_model(steps=1)
    model, _ = small_model(steps=60)
    embedded = [each.embed(split.take(2000).values("caption")) for each in (before, model)]
    is_white = split.columns["caption"][:, 0] == 1
    distances = [np.linalg.norm(e[is_white][0] - e[~is_white][0]) for e in embedded]
    assert distances[1] > 2 * distances[0]
    weights = {name: array.copy() for name, array in model.encoder.state_dict().items()}
    for _ in range(3):
        model.training_step(split.batch(slice(16)))
    for name, array in model.encoder.state_dict().items():
        np.testing.assert_array_equal(array, weights[name])
    assert not any(name.startswith("encoder") for name in model.generator_optimizer.parameters)


def test_preparing_leaves_the_streams_as_they_were():
    split = black_and_white()
    random.seed(3)
    model = TextGAN(TextGAN.Config(**SMALL | {"encoder_steps": 2}), Spec("shades", FIELDS))
    before = random.get_state()
    shown = []
    model.prepare(Dataset(model.spec, split, split, split), seed=0, show=shown.append)
    assert random.get_state() == before
    assert shown == ["a text encoder learns the captions of shades, 2 steps"]


def test_samples_have_remembered_captions_unless_others_are_given():
    model, split = small_model(steps=3)
    model.training_step(split.batch(slice(16)))
    remembered = split.columns["caption"][np.arange(64) % len(split)]
    in_turn = remembered[np.arange(70) % 64]
    samples = model.sample(70, seed=1)
    np.testing.assert_array_equal(samples, model.sample(70, seed=1, given={"caption": in_turn}))
    other = in_turn.copy()
    other[5] = 2, -1
    changed = (model.sample(70, seed=1, given={"caption": other}) != samples).any(axis=(1, 2, 3))
    np.testing.assert_array_equal(np.flatnonzero(changed), [5])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"y": [1, 2]}, "^given has y; samples can be given captions, as caption$"),
        ({"caption": np.zeros((3, 1), np.int64)}, "^there are 3 captions; give one for each of 2 samples$"),
        ({"caption": np.full((2, 1), 9)}, "tokens reach from 9 to 9; the model knows 0 to 2"),
        ({"caption": np.zeros((2, 5), np.int64)}, "a sentence has 5 tokens; the model was made for at most 2"),
    ],
)
def test_other_conditions_are_refused(given, message):
    model, _ = small_model(steps=1)
    with pytest.raises(tg.errors.TinygenError, match=message):
        model.sample(2, seed=0, given=given)


def test_data_without_captions_and_impossible_weights_are_refused():
    plain = Dataset.from_fields("plain", {"x": Image()}, {"x": np.zeros((9, 4, 4), np.uint8)})
    with pytest.raises(DataError, match="needs tokens as caption, and 'plain' has only x: add caption_train"):
        models.check_data(TextGAN, plain)
    with pytest.raises(UsageError, match=r"^wrong_weight is 2; as a share of the loss it must be at most 1$"):
        TextGAN.Config(wrong_weight=2.0)


def test_effects_are_0_for_what_the_generator_ignores():
    model, split = small_model(steps=2)
    caption_alone, noise_alone = np.zeros((10, 64), np.float32), np.zeros((10, 64), np.float32)
    caption_alone[2:], noise_alone[:2] = (
        Stream(0, name).uniform(shape) for name, shape in (("c", (8, 64)), ("n", (2, 64)))
    )
    for matrix, (caption, noise) in ((caption_alone, (1, 0)), (noise_alone, (0, 1))):
        model.generator = tg.nn.Sequential(lambda z, m=matrix: tg.tensor(z) @ m, tg.nn.Reshape(8, 8, 1))
        metrics = model.evaluate(split, seed=0)
        assert metrics["caption_effect"] == pytest.approx(caption, abs=1e-5)
        assert metrics["noise_effect"] == pytest.approx(noise, abs=1e-5)


def test_interpolated_embeddings_are_half_way_and_only_the_generator_learns_from_them(monkeypatch):
    model, split = small_model(steps=2, interpolation=0.5)
    inputs, pairs = [], []
    forward, judge = model.generator.forward, model.discriminator.forward
    monkeypatch.setattr(model.generator, "forward", lambda x: inputs.append(x.numpy()) or forward(x))
    monkeypatch.setattr(model.discriminator, "forward", lambda x, e: pairs.append(len(x)) or judge(x, e))
    batch = split.batch(slice(12))
    model.training_step(batch)
    embeddings = model.embed(batch.caption)
    (given,) = inputs
    np.testing.assert_allclose(given[:12, 2:], embeddings, atol=1e-6)
    np.testing.assert_allclose(given[12:, 2:], (embeddings + np.roll(embeddings, -1, axis=0)) / 2, atol=1e-6)
    assert pairs == [12, 24]


def test_figures_show_captions_beside_true_pictures_and_samples():
    model, split = small_model(steps=2)
    streams = random.get_state()
    samples, walks = model.figures(Dataset(model.spec, split, split, split), seed=1)
    assert random.get_state() == streams
    assert samples.svg.count("<image ") == 10
    words = [model.spec.caption.draw(each) for each in split.take(10).values("caption")]
    assert [samples.svg.count(f">{word}<") for word in ("black", "white")] == [
        words.count("black"),
        words.count("white"),
    ]
    assert f">{words[0]} → {words[1]}<" in walks.svg


def test_the_discriminator_adds_an_inner_product_to_the_logit_of_the_image():
    model, split = small_model(steps=2)
    batch = split.batch(slice(4))
    embeddings = model.embed(batch.caption)
    head = model.discriminator.logits
    with model.evaluating():
        features = model.discriminator.features(batch.x)
        image, caption = head.image(features.reshape(4, -1)).numpy(), head.caption(embeddings).numpy()
        expected = head.alone(features).numpy()[:, 0] + (image * caption).sum(axis=1)
    np.testing.assert_allclose(model.discriminate(batch.x, embeddings), expected, rtol=1e-4, atol=1e-6)


def test_a_joint_discriminator_sees_the_caption_at_every_place():
    model, split = small_model(steps=2, condition="joint")
    batch = split.batch(slice(4))
    embeddings = Stream(0, "embeddings").normal((4, 8))
    head, seen = model.discriminator.logits, []
    head.joint = lambda x: seen.append(x.numpy()) or x[:, 0, 0]
    model.discriminate(batch.x, embeddings)
    with model.evaluating():
        captions = head.caption(embeddings).numpy()
    np.testing.assert_allclose(seen[0][:4, ..., -4:], np.broadcast_to(captions[:, None, None], (4, 4, 4, 4)), atol=1e-6)


def trained_on(device):
    """Scalars of two steps, an evaluation and samples of a model on a device."""
    split = black_and_white()
    random.seed(0)
    config = TextGAN.Config(**SMALL | {"encoder_steps": 2, "interpolation": 0.5})
    model = TextGAN(config, Spec("shades", FIELDS), device)
    model.prepare(Dataset(model.spec, split, split, split), seed=0)
    scalars = [model.training_step(split.batch(slice(12)).to(device)) for _ in range(2)]
    numbers = model.evaluate(split, seed=0)
    return [value for each in scalars for value in each.values()], numbers, model.sample(3, seed=1)


def test_a_model_on_the_gpu_agrees_with_the_cpu(cuda):
    assert_same(trained_on(cuda), trained_on("cpu"), 2e-4)
