"""`tinygen score`: models that are scored by their samples, others by their own evaluation, and refusals."""

import functools
import json
from pathlib import Path

import numpy as np
import pooch
import pytest

from tests.models.cases import every_model, make, split_for
from tinygen import data, models
from tinygen.cli import main
from tinygen.metrics import reference
from tinygen.metrics.catalogue import format_number
from tinygen.metrics.judge import Judge, JudgeConfig
from tinygen.models import System
from tinygen.score import Scorer, of_samples
from tinygen.train import Run


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    """Work in a folder of its own, with an empty cache and judges that are trained for 10 steps."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / "cache")
    monkeypatch.setattr(reference, "JudgeConfig", functools.partial(JudgeConfig, steps=10))


def train(model: str, *words: str) -> None:
    assert main(["train", model, "--data", "digits8x8", "--steps", "2", "--out", model, "--hidden", "8", *words]) == 0


def test_a_gan_is_scored_by_its_samples_and_a_vae_by_its_bound(capsys):
    train("gan", "--latent", "3", "--seed", "4")
    train("vae", "--latent", "3", "--importance-samples", "2")
    capsys.readouterr()
    assert main(["score", "gan", "vae", "--json"]) == 0
    gan, vae = json.loads(capsys.readouterr().out)
    dataset = data.load("digits8x8")
    reference_of_digits = reference.Reference(dataset)
    assert (gan["model"], gan["data"], gan["seed"], gan["step"]) == ("gan", "digits8x8", 4, 2)
    assert (gan["samples"], gan["judges"]) == (
        len(dataset.test) // 2,
        [judge.digest for judge in reference_of_digits.judges],
    )
    assert gan["real"] == {name: reference_of_digits.of_real[name] for name in gan["metrics"]}
    assert gan["metrics"]["frechet"] > reference_of_digits.floor
    assert vae["metrics"] == json.loads(Path("vae/summary.json").read_text())["test"]
    assert (vae["real"], vae["samples"], vae["judges"]) == ({}, 0, [])

    assert main(["score", "gan", "vae"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("gan: gan on digits8x8, seed 4, ")
    lines = [line.rsplit(maxsplit=2) for line in printed.splitlines()]
    assert ["coverage", *(format_number(gan[side]["coverage"]) for side in ("metrics", "real"))] in lines
    assert ["-ELBO,", "nats", format_number(vae["metrics"]["neg_elbo_nats"])] in lines


def test_a_conditional_vae_is_scored_by_its_bound_and_by_its_samples(capsys):
    train("cvae", "--latent", "3", "--importance-samples", "2")
    capsys.readouterr()
    assert main(["score", "cvae", "--json"]) == 0
    (score,) = json.loads(capsys.readouterr().out)
    assert score["test"] == json.loads(Path("cvae/summary.json").read_text())["test"]
    assert score["metrics"].keys() == score["real"].keys() >= {"label_agreement", "coverage"}
    assert main(["score", "cvae"]) == 0
    printed = capsys.readouterr().out
    assert "-ELBO, nats" in printed and "asked label" in printed


def test_an_unfinished_run_is_scored_with_its_last_checkpoint(tmp_path, capsys):
    train("vae", "--latent", "3", "--importance-samples", "2")
    metrics = json.loads((tmp_path / "vae/summary.json").read_text())["test"]
    (tmp_path / "vae/summary.json").unlink()
    capsys.readouterr()
    assert main(["score", "vae", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["metrics"] == metrics


def test_models_of_points_are_scored_by_their_own_evaluation(capsys):
    words = "train gan --data ring8 --steps 1 --out ring --hidden 8 --latent 2".split()
    assert main(words) == 0
    capsys.readouterr()
    assert main(["score", "ring", "--json"]) == 0
    (score,) = json.loads(capsys.readouterr().out)
    assert {"modes_count", "high_quality_rate"} < score["metrics"].keys()
    assert score["real"] == {}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["score"], "name the folders of the runs to score"),
        (["score", "nowhere"], "nowhere is not a run: it has no config.json"),
    ],
)
def test_a_folder_that_is_no_run_is_refused(words, message, capsys):
    assert main(words) == 2
    assert message in capsys.readouterr().err


def test_samples_of_unlabelled_data_cannot_be_scored(capsys):
    np.savez("plain.npz", x_train=np.zeros((40, 8, 8), np.uint8) + np.arange(40, dtype=np.uint8)[:, None, None])
    assert main("train gan --data plain.npz --steps 1 --batch-size 9 --out run --hidden 8 --latent 2".split()) == 0
    capsys.readouterr()
    assert main(["score", "run"]) == 2
    assert "a judge needs labels as y, and 'plain' has only x: add y_train" in capsys.readouterr().err


def test_a_score_keeps_the_error_rate_that_the_model_measured_on_all_of_test(monkeypatch):
    """The few examples that are classified for a score have another one."""
    assert main("train features --data digits8x8 --steps 3 --out run".split()) == 0
    run = Run.open("run")
    monkeypatch.setattr("tinygen.score.SCORED_EXAMPLES", 7)
    assert Scorer().score(run).test["error_rate"] == run.summary()["test"]["error_rate"] != 0


def test_a_conditional_model_samples_the_classes_of_the_real_images():
    digits = data.load("digits8x8")
    judges = tuple(Judge.of(digits, JudgeConfig(seed=seed, steps=10)) for seed in (0, 1))
    reference_of_digits = reference.Reference(digits, judges)

    class RealImages(System):
        """A system whose samples are the real images."""

        conditions = ("y",)

        def sample(self, n, *, seed, given=None):
            assert (n, seed, given["y"].tolist()) == (reference_of_digits.n, 7, reference_of_digits.real.y.tolist())
            return reference_of_digits.real.x

    assert of_samples(RealImages(None, digits.spec), reference_of_digits, 7) == reference_of_digits.of_real


def test_reconstructions_are_scored_by_the_class_that_a_judge_gives_them():
    digits = data.load("digits8x8")
    judges = (Judge.of(digits, JudgeConfig(steps=80)),) * 2
    reference_of_digits = reference.Reference(digits, judges)

    class Shifts(System):
        """A system that rebuilds every second image as another one, of the next class."""

        def sample(self, n, *, seed):
            return reference_of_digits.real.x

        def encode(self, x):
            return np.arange(len(x))[:, None]

        def decode(self, codes):
            x, y = reference_of_digits.real.x.copy(), reference_of_digits.real.y
            x[::2] = [x[np.flatnonzero(y == (label + 1) % 10)[0]] for label in y[::2]]
            return x

    rebuilt = Shifts(None, digits.spec).decode(np.zeros(reference_of_digits.n))
    predicted = judges[0].classes(judges[0].features(rebuilt))
    kept = of_samples(Shifts(None, digits.spec), reference_of_digits, 7)["class_kept_rate"]
    assert kept == (predicted == reference_of_digits.real.y).mean()
    assert 0.3 < kept < 0.6 < reference_of_digits.of_real["label_agreement"]


def test_a_model_with_codes_is_scored_beside_real_images(capsys):
    train("aae", "--latent", "3")
    capsys.readouterr()
    assert main(["score", "aae", "--json"]) == 0
    (score,) = json.loads(capsys.readouterr().out)
    assert 0 <= score["metrics"]["class_kept_rate"] <= 1
    digits = reference.Reference(data.load("digits8x8"))
    assert score["real"]["class_kept_rate"] == digits.of_real["label_agreement"]


@every_model
def test_a_model_without_likelihood_bound_or_error_is_implicit(name):
    """Implicit models are scored by their samples.

    One that is trained against a discriminator may measure an error too: of reconstructions, classes or held-out pairs.
    """
    likelihoods = {"neg_elbo_nats", "neg_elbo_density_nats", "nll_nats", "nll_density_nats", "nats_per_sample"}
    likelihoods |= {"neg_pseudo_log_likelihood_nats"}
    errors = {"squared_error_per_pixel", "psnr_db", "error_rate", "prediction_error"}
    model = make(name, models.get(name).tiny[0])
    measured = model.evaluate(split_for(model), seed=0, thorough=False).keys()
    if model.implicit:
        assert not likelihoods & measured
        assert not errors & measured or hasattr(model, "discriminator_optimizer")
    else:
        assert (likelihoods | errors) & measured
