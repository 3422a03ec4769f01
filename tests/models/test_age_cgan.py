"""Age-cGAN: synthetic pairs for the encoder, codes refined at the present age, and ages that are replaced last."""

import numpy as np
import pytest

import tinygen as tg
from tinygen import random
from tinygen.data import Batch, Dataset, Image, Labels, Spec, Split
from tinygen.models import get
from tinygen.random import Stream

AgeCGAN = get("age-cgan")
SPEC = Spec("noise", {"x": Image(8, 8, 1, "grey"), "y": Labels(3), "identity": Labels(4)})
NETWORKS = ("generator", "discriminator", "encoder", "identity", "witness")


def batch(n=12):
    y, identity = (Stream(0, name).integers(size, n) for name, size in (("y", 3), ("identity", 4)))
    return Batch(x=Stream(0, "images").uniform((n, *SPEC.x.shape)), y=y, identity=identity)


def small_model(steps=0, **config):
    random.seed(0)
    model = AgeCGAN(AgeCGAN.Config(**{"latent": 4, "channels": 4, "features": 6, "averaging": 0.0} | config), SPEC)
    for _ in range(steps):
        model.training_step(batch())
    return model


def test_the_encoder_sees_the_generators_images_and_their_noise_alone(monkeypatch):
    model, seen, drawn = small_model(), [], []
    forward, generate = model.encoder.forward, model.generator.forward
    monkeypatch.setattr(model.encoder, "forward", lambda x: seen.append(x) or forward(x))
    monkeypatch.setattr(model.generator, "forward", lambda z: drawn.append((z, generate(z))) or drawn[-1][1])
    scalars = model.training_step(batch())
    (images,), (inputs, last) = seen, drawn[-1]
    np.testing.assert_array_equal(images.numpy(), last.numpy())
    noise, ages = np.split(np.asarray(inputs), [4], axis=1)
    np.testing.assert_array_equal(ages, np.eye(3)[batch().y])
    random.seed(0)
    first, second = (random.stream("train").normal((12, 4)) for _ in range(2))
    assert (first != second).any()
    np.testing.assert_array_equal(noise, second)
    assert float(scalars["code_squared_error"]) > 0


def test_each_network_learns_from_its_own_loss_alone(monkeypatch):
    model = small_model()
    before = {name: array.copy() for name, array in model.state_dict().items()}
    for name in ("generator", "discriminator", "encoder", "witness"):
        getattr(model, f"{name}_optimizer").lr = 0.0
    model.training_step(batch())
    changed = {name.split(".")[0] for name, p in model.named_parameters().items() if (p.numpy() != before[name]).any()}
    assert changed == {"identity"}


def test_refined_codes_keep_the_features_of_the_models_own_images():
    model = small_model(steps=5, evaluations=60)
    ages, true = batch().y, Stream(3, "codes").normal((12, 4))
    x = model.aged(true, ages)
    rough = model.encode_roughly(x)
    codes = model.refined(rough, x, ages)

    def distances(codes):
        with tg.no_grad(), model.evaluating():
            features = [model.identity.features(each).numpy() for each in (x, model.aged(codes, ages))]
        return ((features[0] - features[1]) ** 2).sum(axis=1)

    assert (distances(codes) <= distances(rough)).all()
    assert distances(codes).mean() < 0.05 * distances(rough).mean()
    np.testing.assert_array_equal(model.refined(rough[3:4], x[3:4], ages[3:4]), codes[3:4])


def test_the_age_is_replaced_after_the_code_was_found_at_the_present_one(monkeypatch):
    model, present, target = small_model(steps=2), np.array([0, 1, 2]), np.array([1, 2, 0])
    seen, given = [], model.generator_input
    monkeypatch.setattr(model, "generator_input", lambda z, y: seen.append(np.unique(y)) or given(z, y))
    x = batch().x[:3]
    codes = model.refined(model.encode_roughly(x[:1]), x[:1], present[1:2])
    assert all(set(each) <= {0, 1} for each in seen), "the present age, and that of the padding"
    model.aged(codes, target[1:2])
    assert set(seen[-1]) <= {0, 2}
    with tg.no_grad(), model.evaluating():
        expected = model.generator(np.concatenate([codes, np.eye(3, dtype="f")[target[1:2]]], axis=1)).numpy()
    np.testing.assert_allclose(model.aged(codes, target[1:2]), expected, rtol=1e-5, atol=1e-7)


def test_evaluation_counts_asked_ages_and_kept_identities(monkeypatch):
    model = small_model(steps=2, evaluations=3)
    examples = batch(30)
    split = Split(SPEC.fields, {name: examples[name] for name in SPEC.fields})
    numbers = model.evaluate(split, seed=0)
    present, _ = model.age_and_identity(examples.x)
    rough = model.encode_roughly(examples.x)
    target = np.array([(y + 1 + i % 2) % 3 for i, y in enumerate(examples.y)])
    for prefix, codes in (("encoder_", rough), ("", model.refined(rough, examples.x, present))):
        ages, identities = model.age_and_identity(model.aged(codes, target))
        assert numbers[f"{prefix}age_rate"] == pytest.approx((ages == target).mean())
        assert numbers[f"{prefix}identity_rate"] == pytest.approx((identities == examples.identity).mean())
    with tg.no_grad(), model.evaluating():
        logits = model.witness(examples.x).numpy()
    np.testing.assert_array_equal(present, logits[:, :3].argmax(axis=1))


def test_the_figure_of_ageing_has_a_column_for_each_age():
    model = small_model(steps=2, evaluations=2)
    examples = batch(20)
    split = Split(SPEC.fields, {name: examples[name] for name in SPEC.fields})
    figure = next(iter(model.figures(Dataset(SPEC, split, split, split), seed=0)))
    tiles = figure.images.reshape(8, figure.columns, 8, 8, 1)
    assert figure.columns == 3 + 3
    np.testing.assert_array_equal(tiles[:, 0], examples.x[:8])
    present, _ = model.age_and_identity(examples.x[:8])
    rows = np.arange(8)
    np.testing.assert_array_equal(tiles[rows, 2], tiles[rows, 3 + present])


def test_a_gpu_gives_the_results_of_the_cpu(cuda):
    results, examples = [], batch(20)
    split = Split(SPEC.fields, {name: examples[name] for name in SPEC.fields})
    for device in ("cpu", cuda):
        random.seed(0)
        model = AgeCGAN(AgeCGAN.Config(latent=4, channels=2, features=6, evaluations=3), SPEC, device)
        scalars = [model.training_step(examples.to(device)) for _ in range(2)]
        numbers = [float(each[name]) for each in scalars for name in each]
        results.append((numbers, model.refined(model.encode_roughly(examples.x), examples.x, examples.y)))
        model.evaluate(split, seed=0)
    for on_cpu, on_gpu in zip(*results, strict=True):
        np.testing.assert_allclose(on_gpu, on_cpu, rtol=2e-3, atol=1e-4)
