"""The example of a user's own system with the commands train, resume, sample, report and score."""

import json
from pathlib import Path

import numpy as np
from PIL import Image as PictureFile

from tinygen import data, registry
from tinygen.cli import main
from tinygen.train import Run

EXAMPLE = Path(__file__).parents[1] / "examples" / "own_model.py"


def test_the_example_is_one_short_file():
    assert len(EXAMPLE.read_text(encoding="utf-8").splitlines()) <= 60


def test_the_example_is_trained_resumed_sampled_reported_and_scored(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "--model", f"{EXAMPLE}:PPCA", "--data", "digits8x8", "--epochs", "2", "--out", "run"]) == 0
    assert main("resume run --epochs 12".split()) == 0
    assert main("sample run --n 9".split()) == 0
    assert main("report run".split()) == 0
    assert "<h2>Probabilities</h2>" in Path("run/report.html").read_text()
    capsys.readouterr()
    assert main("score run --json".split()) == 0
    (score,) = json.loads(capsys.readouterr().out)
    assert score["metrics"] == json.loads(Path("run/summary.json").read_text())["test"]
    model, dataset = Run.open("run").load()
    assert type(model) is registry.get(f"{EXAMPLE}:PPCA")
    assert score["metrics"]["nll_nats"] < 0.8 * independent_pixels(dataset)


def independent_pixels(dataset):
    """-log p of test in nats, for independent normal pixels with the means and the common variance of train."""
    train, test = (
        split.values("x").reshape(len(split), -1).astype("float64") for split in (dataset.train, dataset.test)
    )
    mean, variance = train.mean(axis=0), ((train - train.mean(axis=0)) ** 2).mean()
    return (0.5 * ((test - mean) ** 2 / variance + np.log(2 * np.pi * variance)).sum(axis=1)).mean()


def test_its_log_probability_is_that_of_a_normal_distribution(tmp_path):
    """The density of very small images, by the integral over codes."""
    x = (255 * np.random.default_rng(0).uniform(size=(40, 1, 2))).astype(np.uint8)
    own = data.Dataset.from_fields("own", {"x": data.Image()}, {"x": x})
    system = registry.get(f"{EXAMPLE}:PPCA")
    model = system(system.Config(latent=1), own.spec)
    images = own.test.values("x")
    codes = np.linspace(-8, 8, 4001)
    means = codes[:, None] * model.decoder.weight.numpy() + model.decoder.bias.numpy()
    variance = float(np.exp(model.log_var.numpy()))
    distance = ((images.reshape(-1, 1, 2) - means) ** 2).sum(axis=2)
    density = np.exp(-0.5 * distance / variance) / (2 * np.pi * variance)
    prior = np.exp(-0.5 * codes**2) / np.sqrt(2 * np.pi)
    exact = np.log((density * prior).sum(axis=1) * (codes[1] - codes[0]))
    np.testing.assert_allclose(model.log_prob(images), exact, rtol=1e-4)


def test_data_and_networks_of_one_s_own(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    script = EXAMPLE.with_name("own_data.py")
    source = script.read_text(encoding="utf-8")
    shortened = source.replace("EPOCHS, BATCH, LATENT, SIDE = 30,", "EPOCHS, BATCH, LATENT, SIDE = 2,")
    assert shortened != source
    namespace = {"__name__": "__main__"}
    exec(compile(shortened, script, "exec"), namespace)
    assert "test -ELBO" in capsys.readouterr().out
    assert namespace["data"].spec.x.kind == "binary"
    assert np.bincount(namespace["data"].test.values("y")).min() > 100
    assert namespace["model"].encoder is namespace["encoder"]
    with PictureFile.open("own_data.png") as picture:
        assert picture.getextrema()[1] > 64
