"""`tinygen score`: models that are scored by their samples, others by their own evaluation, and refusals."""

import functools
import json
from pathlib import Path

import numpy as np
import pooch
import pytest

from tinygen import data, models
from tinygen.cli import main
from tinygen.data import Spec
from tinygen.metrics import reference
from tinygen.metrics.catalogue import format_number
from tinygen.metrics.judge import Judge, JudgeConfig
from tinygen.models import System
from tinygen.score import of_samples


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


def test_an_unfinished_run_is_scored_with_its_last_checkpoint(tmp_path, capsys):
    train("vae", "--latent", "3", "--importance-samples", "2")
    whole = json.loads((tmp_path / "vae/summary.json").read_text())["test"]
    (tmp_path / "vae/summary.json").unlink()
    capsys.readouterr()
    assert main(["score", "vae", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["metrics"] == whole


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


def test_models_without_likelihood_bound_or_reconstruction_are_implicit():
    """Implicit models are scored by their samples; the AAE is one although it has reconstructions."""
    own = {"neg_elbo_nats", "nll_nats", "neg_pseudo_log_likelihood_nats", "squared_error_per_pixel", "psnr_db"}
    of_images = [name for name in models.names() if models.get(name).needs["x"] != data.Points()]
    for name in of_images:
        model_class = models.get(name)
        small = {"hidden": 6, "latent": 2, "blocks": 1, "head": 4, "first_kernel": 3, "importance_samples": 2}
        fields = {field: value for field, value in small.items() if field in model_class.Config.__dataclass_fields__}
        spec = Spec("noise", {"x": data.Image(8, 8, 1, "binary"), "y": data.Labels(2)})
        model = model_class(model_class.Config(**fields), spec)
        split = data.Split(spec.fields, {"x": np.zeros((3, 8, 8, 1), np.uint8), "y": np.zeros(3, np.int64)})
        explicit = own & model.evaluate(split, seed=0, thorough=False).keys()
        assert model.implicit is not bool(explicit) or name == "aae", name
