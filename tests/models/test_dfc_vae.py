"""The DFC-VAE: its loss for known activations, its frozen network, and runs that need nothing but their folder."""

import shutil

import numpy as np
import pytest

import tinygen as tg
from tinygen import models, random, train
from tinygen.cli import main
from tinygen.data import Batch, Dataset, Image, Labels, Spec, Split
from tinygen.errors import DataError, RunError, UsageError
from tinygen.models import DFCVAE, Features, check_data
from tinygen.models.features.frozen import FrozenConfig, FrozenFeatures
from tinygen.random import Stream
from tinygen.serialization import load
from tinygen.train import Run
from tinygen.train.loading import model_of

SMALL = {"latent": 3, "hidden": 6, "channels": 2, "batch_size": 8, "feature_steps": 3}


def shades(n=60, labels=True):
    """Images of 8x8 pixels whose brightness depends on their class."""
    y = np.arange(n) % 3
    x = (60 * y[:, None, None] + 50 * Stream(0, "noise").uniform((n, 8, 8))).astype(np.uint8)
    fields = {"x": Image()} | ({"y": Labels(3)} if labels else {})
    return Dataset.from_fields("shades", fields, {"x": x} | ({"y": y} if labels else {}))


def small_model(data=None, **config):
    random.seed(0)
    data = data or shades()
    return DFCVAE(DFCVAE.Config(**SMALL | config), data.spec)


@pytest.fixture(scope="module")
def network_run(tmp_path_factory):
    """A run of `features`."""
    data, folder = shades(), tmp_path_factory.mktemp("runs") / "net"
    random.seed(5)
    train.fit(Features(Features.Config(channels=2, batch_size=9), data.spec), data, steps=3, out=folder, quiet=True)
    return folder


def bytes_of(folder):
    return {name: array.tobytes() for name, array in load(folder / "checkpoint.safetensors")[0].items()}


def test_distances_are_mean_squared_differences_of_each_layer(monkeypatch):
    frozen = small_model().features
    frozen.ready += 1
    of_x, of_y = (Stream(i, "a").normal((2, 3, 4, 5)) for i in range(2))
    layers = iter([{"relu1_1": tg.tensor(each), "relu2_1": tg.tensor(2 * each[:, :2]), "relu3_1": tg.tensor(each)}
                   for each in (of_x, of_y)])  # fmt: skip
    monkeypatch.setattr(frozen.network, "activations", lambda x, names: next(layers))
    found = frozen.distances(None, None)
    expected = [((k * (of_x - of_y)[:, :rows]) ** 2).mean(axis=(1, 2, 3)) for k, rows in ((1, 3), (2, 2), (1, 3))]
    np.testing.assert_allclose([each.numpy() for each in found.values()], expected, rtol=1e-5)


def test_pixels_are_not_compared():
    """If all activations are equal, the loss is the KL term alone."""
    data, model = shades(), small_model()
    model.prepare(data, seed=0)
    for parameter in model.features.network.parameters():
        parameter.assign(0.0)
    metrics = model.evaluate(data.test, seed=0)
    assert metrics["feature_distance"] == 0
    assert metrics["squared_error_per_pixel"] > 0
    assert metrics["feature_loss"] == pytest.approx(3e-4 * metrics["kl_nats"], rel=1e-5)


def test_the_feature_network_learns_before_the_first_step_and_never_again():
    data, model = shades(), small_model()
    first = {name: array.copy() for name, array in model.features.state_dict().items()}
    streams = random.get_state()
    model.prepare(data, seed=0)
    assert random.get_state() == streams
    prepared = {name: array.copy() for name, array in model.features.state_dict().items()}
    assert any((prepared[name] != first[name]).any() for name in first)
    for _ in range(3):
        model.training_step(data.train.take(8).batch(slice(None)))
    model.prepare(data, seed=0)
    for name, array in model.features.state_dict().items():
        np.testing.assert_array_equal(array, prepared[name], err_msg=name)
    assert all(parameter.grad is None for parameter in model.features.network.parameters())


def test_the_own_network_is_that_of_a_classifier_trained_alone():
    data, model = shades(), small_model(feature_layers=("relu1_1", "relu2_1"))
    model.prepare(data, seed=3)
    random.seed(3)
    classifier = Features(Features.Config(blocks=2, batch_size=len(data.train)), data.spec)
    classifier.plan.steps = 3
    loader = classifier.source(data.train, seed=3)
    for _ in range(3):
        classifier.training_step(next(loader))
    own = model.features.network.state_dict()
    assert "features.7.weight" not in own, "layers after relu2_1 are left out"
    for name, array in own.items():
        np.testing.assert_array_equal(array, classifier.network.state_dict()[name], err_msg=name)


def test_steps_before_the_network_is_there_are_refused():
    with pytest.raises(UsageError, match=r"there is no feature network yet: call the system's prepare\(data"):
        small_model().training_step(Batch(x=np.zeros((2, 8, 8, 1), np.float32)))


def test_unlabelled_images_need_a_network_from_outside(network_run):
    data = shades(labels=False)
    with pytest.raises(DataError, match=r"^model 'dfc-vae' needs labels as y, and 'shades' has only x: add y_train"):
        check_data(DFCVAE, data)
    config = DFCVAE.Config(**SMALL, features=str(network_run))
    assert check_data(DFCVAE, data, config) is data
    summary = train.fit(DFCVAE(config, data.spec), data, steps=2, quiet=True)
    assert summary["test"]["feature_loss"] > 0
    with pytest.raises(UsageError, match=r"'shades' has no labels that a feature network could learn: give --features"):
        DFCVAE(DFCVAE.Config(**SMALL), data.spec)


def test_a_run_with_a_network_from_outside_needs_it_only_once(network_run, tmp_path):
    net, data = shutil.copytree(network_run, tmp_path / "net"), shades()

    def model():
        return small_model(features=str(net))

    train.fit(model(), data, steps=4, out=tmp_path / "whole", quiet=True)
    train.fit(model(), data, steps=2, out=tmp_path / "cut", quiet=True)
    recorded = Run.open(tmp_path / "cut").config["config"]["features"]
    assert recorded.startswith(f"{net}: 2,2,M,4,4,M,8, weights ")
    shutil.rmtree(net)
    train.resume(model_of(Run.open(tmp_path / "cut")), data, tmp_path / "cut", steps=4, quiet=True)
    assert bytes_of(tmp_path / "cut") == bytes_of(tmp_path / "whole")


def test_a_run_without_a_checkpoint_is_started_again(network_run):
    recorded = small_model(features=str(network_run)).config.features
    with pytest.raises(RunError, match="the run has no checkpoint, which would hold its feature network: start it"):
        small_model(features=recorded).prepare(shades(), seed=0)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--features gone.npz", "--features: there is no file gone.npz"),
        ("--features gone", "--features: gone is not a run of `tinygen train features` or a file of VGG-19"),
        ("--feature-layers relu1_1 conv2_1", "no layer 'conv2_1'; layers are named relu1_1, relu1_2, relu2_1"),
        ("--feature-layers relu5_1", "images of 8x8 are too small for relu5_1: the last possible block is 4, see"),
        ("--feature-steps 0", "feature_steps is 0; it must be at least 1"),
    ],
)
def test_impossible_networks_are_refused_before_the_run_begins(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(f"train dfc-vae --data digits8x8 --steps 1 --out run {words}".split()) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_a_run_of_another_model_is_no_feature_network(tmp_path):
    data = shades()
    system = models.get("ae")
    config = system.Config(hidden=3, latent=2, batch_size=8)
    train.fit(system(config, data.spec), data, steps=1, out=tmp_path / "ae", quiet=True)
    with pytest.raises(UsageError, match="ae is a run of ae; give one of `tinygen train features`"):
        small_model(features=str(tmp_path / "ae"))


def test_no_layers_are_refused():
    with pytest.raises(UsageError, match="feature_layers is empty; name at least one"):
        FrozenConfig(feature_layers=())


def test_a_network_made_from_its_record_has_its_layers(network_run):
    given = small_model(features=str(network_run)).features
    made = FrozenFeatures(FrozenConfig(features=given.recorded), Spec("x", {"x": Image(8, 8, 1)}), "cpu")
    assert {name: array.shape for name, array in made.state_dict().items()} == {
        name: array.shape for name, array in given.state_dict().items()
    }


def test_evaluation_matches_its_formulas():
    data, model = shades(), small_model(kl_weight=0.01)
    model.prepare(data, seed=0)
    x, y = data.test.values("x"), data.test.values("y")
    metrics = model.evaluate(Split(data.spec.fields, {"x": x, "y": y}), seed=4)
    with tg.no_grad():
        q = model.posterior(x)
        noise = Stream(4, "eval").normal((len(x), 4))[:, :3]
        rebuilt = model.decoded(q.mean + (0.5 * q.log_var).exp() * noise)
        pairs = [model.features.network.activations(each, model.config.feature_layers) for each in (x, rebuilt)]
        kl = q.kl().sum(axis=1).numpy().mean()
    distance = sum(((pairs[0][name].numpy() - pairs[1][name].numpy()) ** 2).mean() for name in pairs[0])
    assert metrics["feature_distance"] == pytest.approx(distance, rel=1e-4)
    assert metrics["kl_nats"] == pytest.approx(kl, rel=1e-4)
    assert metrics["feature_loss"] == pytest.approx(0.5 * distance + 0.01 * kl, rel=1e-4)
    assert metrics["squared_error_per_pixel"] == pytest.approx(((rebuilt.numpy() - x) ** 2).mean(), rel=1e-4)
    assert 0 <= metrics["probe_error_rate"] <= 1
