"""The doctor: faults of a training are reported with a remedy, and healthy trainings have none."""

import json

import numpy as np
import pytest

from tinygen import models, random, train
from tinygen.data import Dataset, load
from tinygen.errors import NonFiniteError
from tinygen.random import Stream
from tinygen.train import Run, doctor
from tinygen.train.doctor import Doctor, diagnose, variety, variety_given

SMALL = {"hidden": 32, "latent": 2, "batch_size": 32}


def small_dataset(name: str) -> Dataset:
    """A data set with few examples to evaluate."""
    data = load(name)
    return Dataset(data.spec, data.train.take(1600), data.valid.take(100), data.test.take(100))


def fit_briefly(name, data, out=None, *, steps, **config):
    """Train briefly from seed 0 and return the summary."""
    model_class = models.get(name)
    data = models.check_data(model_class, data)
    random.seed(0)
    return train.fit(model_class(model_class.Config(**config), data.spec), data, steps=steps, out=out, quiet=True)


def finding_names(summary) -> set[str]:
    return {each["name"] for each in summary["findings"]}


# Faults are found


def test_a_collapsed_generator_is_found(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "FIRST_STEP_FOR_SAMPLES", 200)
    summary = fit_briefly("gan", small_dataset("ring8"), steps=250, **SMALL | {"learning_rate": 0.02, "beta1": 0.9})
    assert "generator collapsed" in finding_names(summary)
    reported = capsys.readouterr().err
    assert "of pairs of them are nearly the same" in reported
    assert "change to a Wasserstein model" in reported


def test_a_saturated_discriminator_is_found(capsys):
    config = SMALL | {"learning_rate": 3e-3, "discriminator_steps": 50}
    assert "discriminator saturated" in finding_names(
        fit_briefly("gan", small_dataset("digits8x8"), steps=300, **config)
    )
    assert "let it take fewer steps" in capsys.readouterr().err


def test_an_exploding_penalty_is_found(capsys):
    config = SMALL | {"learning_rate": 1.0, "penalty": 100.0}  # with a tenth of this, only four of five widths explode
    summary = fit_briefly("wgan-gp", small_dataset("ring8"), steps=100, **config)
    assert "penalty exploded" in finding_names(summary)
    assert "lower the learning rate of critic" in capsys.readouterr().err


def test_a_conditional_generator_that_ignores_its_noise_is_found(monkeypatch, capsys):
    """Samples of the ten classes differ, so that fewer than an eighth of all pairs are alike."""
    data = small_dataset("digits8x8")
    x, y = data.train.values("x"), data.train.values("y")
    means = np.stack([x[y == label].mean(axis=0) for label in range(10)])

    def sample(self, n, *, seed, given=None):
        return means[np.arange(n) % 10 if given is None else given["y"]]

    monkeypatch.setattr(models.get("cdcgan"), "sample", sample)
    monkeypatch.setattr(doctor, "FIRST_STEP_FOR_SAMPLES", 1)
    assert finding_names(fit_briefly("cdcgan", data, steps=1, channels=2)) == {"noise ignored"}
    assert "the generator ignores its noise: 9" in capsys.readouterr().err


def test_a_collapsed_posterior_is_found(capsys):
    summary = fit_briefly(
        "vae",
        small_dataset("digits8x8"),
        steps=200,
        **SMALL | {"beta": 50.0, "importance_samples": 1, "cosine_steps": 0},
    )
    assert finding_names(summary) == {"posterior collapsed"}
    assert "lower the weight of the KL term" in capsys.readouterr().err


def test_diverged_chains_are_found(capsys):
    summary = fit_briefly("rbm", small_dataset("digits8x8"), steps=100, hidden=8, learning_rate=200.0, sampling_steps=3)
    assert finding_names(summary) == {"chains diverged"}
    assert "let the chains take more Gibbs steps" in capsys.readouterr().err


def test_a_loss_that_is_not_finite_ends_training_with_a_remedy(data, make_model):
    with np.errstate(all="ignore"), pytest.raises(NonFiniteError) as error:
        train.fit(make_model(learning_rate=1e3), data, steps=50, quiet=True)
    message = str(error.value)
    for part in ("training diverged at step ", "the loss is ", "smaller learning_rate (now 1000) may help"):
        assert part in message


@pytest.mark.parametrize("value", [np.nan, np.inf, None])
def test_a_metric_that_is_not_finite_is_found(value):
    """None is what the log has for such a number."""
    assert [finding.sentence for finding in diagnose(1, {"kl_nats": 1.0}, {"kl_nats": value})] == [
        "KL on validation examples is not a finite number"
    ]


# Healthy trainings have no findings

HEALTHY = {
    "ae": ("fashion-mnist-7k", {}),
    "dae": ("fashion-mnist-7k", {}),
    "vae": ("fashion-mnist-7k", {"importance_samples": 1}),
    "aae": ("digits8x8", {"hidden": 100}),
    "gan": ("fashion-mnist-7k", {}),
    "dcgan": ("digits8x8", {"channels": 8}),
    "cdcgan": ("digits8x8", {"channels": 8}),
    "wgan": ("ring8", {"hidden": 128}),
    "wgan-gp": ("ring8", {"hidden": 64}),
    "improved-gan": ("digits8x8", {"hidden": 32, "generator_hidden": 16, "batch_size": 32, "labelled": 30}),
    "text-gan": ("captioned-shapes", {"channels": 4, "caption_embedding": 16, "encoder_steps": 3, "batch_size": 16}),
    "gmm": ("ring8", {"components": 8}),
    "rbm": ("digits8x8", {"hidden": 8, "sampling_steps": 10}),
    "dbm": ("digits8x8", {"hidden": 8, "above": 8, "sampling_steps": 10}),
    "gsn": ("digits8x8", {"hidden": 16, "sampling_steps": 10}),
    "made": ("digits8x8", {"hidden": 16}),
    "vq-vae": ("digits8x8", {"hidden": 8, "codes": 16, "prior_hidden": 8, "prior_blocks": 1, "warmup_steps": 0}),
    "pixelcnn": ("digits8x8", {"hidden": 8, "blocks": 1, "head": 8}),
    "gated-pixelcnn": ("digits8x8", {"hidden": 8, "blocks": 1, "head": 8}),
    "pixelcnn-pp": ("coloured-digits8x8", {"hidden": 8, "blocks": 1}),
    "row-lstm": ("digits8x8", {"hidden": 8, "layers": 1, "head": 8}),
    "diagonal-bilstm": ("digits8x8", {"hidden": 8, "layers": 1, "head": 8}),
    "vpn": ("bouncing-digit", {"hidden": 8, "encoder_blocks": 1, "decoder_blocks": 1, "head": 8}),
    "cyclegan": ("cooled-digits8x8", {"channels": 8, "halvings": 1, "blocks": 1, "batch_size": 8}),
    "shape-transfer": ("textured-silhouettes", {"channels": 4, "patch": 16, "batch_size": 4}),
    "pose-transfer": ("stick-figures", {"channels": 4, "patch": 16, "batch_size": 4}),
    "age-cgan": ("ageing-digits", {"latent": 8, "channels": 4, "batch_size": 16, "evaluations": 3}),
    "wavenet": ("tones", {"channels": 4, "skip": 8, "doublings": 4, "stacks": 1, "crop": 100, "batch_size": 8}),
}


@pytest.mark.parametrize("name", models.names())
def test_default_configurations_have_no_findings(name, capsys):
    trial = models.get(name).trials[0]
    data, config = HEALTHY.get(name) or (trial.data, trial.config)
    assert fit_briefly(name, small_dataset(data), steps=110, **config)["findings"] == []
    assert capsys.readouterr().err == ""


def test_a_healthy_gan_that_trains_long_enough_for_its_samples_to_be_examined_has_no_findings():
    config = {"hidden": 64, "latent": 2, "batch_size": 128, "learning_rate": 1e-3, "averaging": 0.99}
    assert fit_briefly("gan", small_dataset("ring8"), steps=1100, **config)["findings"] == []


@pytest.mark.parametrize("name", ["ring8", "digits8x8"])
def test_variety_counts_pairs_that_are_more_alike_than_real_ones(name):
    """Real examples show hardly any alike pairs; 2 examples repeated 50 times each show half of all pairs."""
    x = load(name).valid.take(150).batch(slice(None)).x
    assert variety(x[50:], x[:100])["alike_pairs_rate"] < 0.03
    few = np.repeat(x[:2], 50, axis=0) + 0.001 * Stream(0, "t").normal((100, *x.shape[1:]))
    assert variety(few, x)["alike_pairs_rate"] == pytest.approx(0.5, abs=0.14)
    assert variety(x[:1], x) == {}


def test_variety_given_a_condition_is_compared_with_real_examples_of_it():
    x, y = (load("digits8x8").valid.take(150).values(name) for name in ("x", "y"))
    same = y == y[0]
    assert same.sum() > 5
    assert variety_given(x[same], x, same)["alike_pairs_given_rate"] == 0
    constant = np.repeat(x[:1], 50, axis=0)
    assert variety_given(constant, x, same)["alike_pairs_given_rate"] > 0.9
    assert variety_given(constant, constant, np.ones(50, bool))["alike_pairs_given_rate"] == 0
    assert variety_given(x[:1], x, same) == {}
    only_itself = np.arange(150) == 0
    assert variety_given(x[50:], x, only_itself)["alike_pairs_given_rate"] < 0.03


def test_noise_is_not_said_to_be_ignored_where_all_samples_have_collapsed():
    names = [
        [finding.name for finding in diagnose(2000, {}, {"alike_pairs_given_rate": 0.9, "alike_pairs_rate": rate})]
        for rate in (0.1, 0.8)
    ]
    assert names == [["noise ignored"], ["generator collapsed"]]


def test_the_remedy_for_alike_samples_names_a_discriminator_only_where_there_is_one():
    names = "discriminator_nats", "discriminator_cost", "critic_distance"
    for metrics, named in (({}, False), *(({name: 1.0}, True) for name in names)):
        (finding,) = diagnose(2000, metrics, {"alike_pairs_rate": 0.5})
        assert ("discriminator" in finding.remedy) is named


def test_a_generator_that_ignores_its_caption_is_found():
    for effect, names in ((0.02, ["caption ignored"]), (0.8, [])):
        assert [finding.name for finding in diagnose(1000, {}, {"caption_effect": effect})] == names
        assert list(diagnose(999, {}, {"caption_effect": effect})) == [], (
            "an untrained generator hardly knows its caption"
        )


def test_a_steep_critic_under_a_weak_penalty_is_no_fault():
    """At the best slope the penalty stays below half of the critic's distance, so a steep slope alone is no fault."""
    metrics = {"critic_distance": 24.0, "gradient_norm": 12.0, "gradient_penalty": 11.0}
    assert list(diagnose(100, metrics, {})) == []
    assert len(list(diagnose(100, metrics | {"gradient_penalty": 49.0}, {}))) == 1
    of_classifier = {"discriminator_nats": 1.0, "gradient_norm": 12.0, "gradient_penalty": 2.0}
    assert list(diagnose(100, of_classifier, {})) == []
    assert len(list(diagnose(100, of_classifier | {"gradient_penalty": 720.0}, {}))) == 1


# A finding is reported once, and kept


def test_a_finding_is_reported_when_it_appears_and_when_it_reappears():
    doctor, reported = Doctor(), []
    for step, rate in enumerate([0.0, 0.9, 0.8, 0.0, 0.7], start=1001):
        reported.append([each.name for each in doctor.examine(step, {}, {"alike_pairs_rate": rate})])
    assert reported == [[], ["generator collapsed"], [], [], ["generator collapsed"]]
    assert [(each["first_step"], each["last_step"]) for each in doctor.findings] == [(1002, 1003), (1005, 1005)]
    assert "90%" in doctor.findings[0]["sentence"]


def test_findings_are_kept_and_not_reported_again_by_a_resumed_run(tmp_path, data, make_model, capsys):
    folder = tmp_path / "run"
    summary = train.fit(make_model(beta=1e3, learning_rate=0.01), data, steps=140, out=folder, quiet=True)
    assert capsys.readouterr().err.count("posterior has collapsed") == 1
    findings = json.loads((folder / "summary.json").read_text())["findings"]
    assert findings == summary["findings"] == Doctor.from_history(Run.open(folder).history()).findings
    assert (findings[0]["first_step"], findings[0]["last_step"]) == (105, 140)
    html = (folder / "report.html").read_text()
    assert "What went wrong" in html
    assert "From step 105 to 140: the posterior has collapsed" in html
    longer = train.resume(make_model(beta=1e3, learning_rate=0.01), data, folder, steps=154, quiet=True)
    assert capsys.readouterr().err == ""
    assert [(each["first_step"], each["last_step"]) for each in longer["findings"]] == [(105, 154)]


def test_a_healthy_report_has_no_such_section(tmp_path, data, make_model):
    train.fit(make_model(), data, steps=7, out=tmp_path / "run", quiet=True)
    assert "What went wrong" not in (tmp_path / "run" / "report.html").read_text()
